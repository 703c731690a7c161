"""The second process: lives long, does what it is told through a pipe, and may be killed in the middle of it.

`python -m oracle.child` is its end of the pipe; `Child` is the parent's.
"""

from __future__ import annotations

import logging
import os
import pickle
import subprocess
import sys
from typing import Any, BinaryIO

from oracle.actions import ACTIONS, open_store

Command = tuple[str, tuple[Any, ...], dict[str, Any]]


class Child:
    """A process that performs actions on a store of its own."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "oracle.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._to: BinaryIO = self.process.stdin  # type: ignore[assignment]
        self._from: BinaryIO = self.process.stdout  # type: ignore[assignment]

    def send(self, commands: list[Command]) -> None:
        """Tell it what to do, without waiting for it."""
        for command in commands:
            pickle.dump(command, self._to)
        self._to.flush()

    def take(self) -> Any:
        """What the next command gave: its value, or raises its error. EOFError where the process is gone."""
        fine, value = pickle.load(self._from)
        if not fine:
            raise value
        return value

    def do(self, name: str, *arguments: Any, **options: Any) -> Any:
        """Perform one action and wait for what it gives."""
        self.send([(name, arguments, options)])
        return self.take()

    def kill(self) -> None:
        """SIGKILL; what it had said before can still be taken."""
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """Let go of the pipes, which ends the process too."""
        try:
            self._to.close()
        except BrokenPipeError:
            pass  # killed over commands that it had not read
        self._from.close()
        self.process.wait()


def main() -> None:
    """Serve until the pipe ends. `open PATH` and `close` are commands of their own."""
    import streamstore

    logging.getLogger("streamstore").setLevel(logging.ERROR)  # reads are told to skip what was trimmed, and say so
    store: streamstore.Store | None = None
    told = os.fdopen(os.dup(1), "wb")
    while True:
        try:
            name, arguments, options = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            if name == "open":
                store, value = open_store(*arguments), None
            elif name == "close":
                assert store is not None
                value = store.close()
            else:
                value = ACTIONS[name](store, *arguments, **options)
            answer = (True, value)
        except Exception as error:
            answer = (False, error)
        pickle.dump(answer, told)
        told.flush()


if __name__ == "__main__":
    main()
