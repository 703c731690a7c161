"""A child process of the demo and what it said: lines are read by a thread, so that no child ever waits for the
parent.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import NamedTuple

import streamstore
from streamstore.cli.exits import VerbError

WAIT_SECONDS = 60.0


class Ack(NamedTuple):
    """One acknowledged put: `one` or `batch`, when and how long (ns), which events, under which numbers."""

    kind: str
    clock_ns: int
    elapsed_ns: int
    events: list[int]
    sequence_numbers: list[str]


class Child:
    """A module of the demo run as a process of its own."""

    def __init__(self, module: str, *arguments: object) -> None:
        package_parent = str(Path(streamstore.__file__).parent.parent)
        path = os.pathsep.join(filter(None, (package_parent, os.environ.get("PYTHONPATH"))))
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"streamstore.cli.demo.{module}", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C is for the parent, which then ends its children
        )
        self.acked = 0
        self.acks: list[bytes] = []
        self._said: dict[str, list[str]] = {}
        self._json = b""
        self._ended = False
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if not line.endswith(b"\n"):
                break  # cut by the kill: no acknowledgement
            with self._news:
                if line.startswith(b"ack "):
                    self.acks.append(line)
                    self.acked += int(line.split(b" ", 5)[4])
                elif line.startswith(b"{"):
                    self._json = line
                else:
                    word, *rest = line.decode().split()
                    self._said[word] = rest
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def wait_for(self, word: str) -> list[str]:
        """What came with the line that begins with `word`; VerbError where the child ended without it."""
        with self._news:
            self._news.wait_for(lambda: word in self._said or self._ended, WAIT_SECONDS)
            if word not in self._said:
                raise VerbError(f"a process of the demo did not get to {word!r}")
            return self._said[word]

    def wait_for_acks(self, count: int) -> None:
        """Return once so many records are acknowledged, or the child is done."""
        with self._news:
            self._news.wait_for(lambda: self.acked >= count or "bulk" in self._said or self._ended, WAIT_SECONDS)

    def go(self) -> None:
        """Let the child take its next step."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        """SIGKILL, and wait until all that it said has been read."""
        self.process.kill()
        self.end()

    def end(self) -> bytes:
        """Wait for the child's end and return its line of JSON, if it said one."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.wait(WAIT_SECONDS)
        self._thread.join(WAIT_SECONDS)
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        self.process.stdout.close()
        return self._json

    def parsed_acks(self) -> list[Ack]:
        """The acknowledgements, in order."""
        parsed = []
        for line in self.acks:
            _, kind, clock, elapsed, _, events, numbers = line.decode().split()
            parsed.append(
                Ack(kind, int(clock), int(elapsed), [int(each) for each in events.split(",")], numbers.split(","))
            )
        return parsed
