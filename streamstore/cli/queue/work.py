"""`queue work -- CMD`: run a command for each message, several at a time, until told to stop.

The body goes to the command's stdin. Exit code 0 acknowledges; anything else, and a timeout, gives the message back
with a growing delay, until it becomes a dead letter. SIGTERM and Ctrl-C end it once the running commands have ended; a
second one kills those. A command is killed with all that it started and that stayed in its process group.
"""

from __future__ import annotations

import contextlib
import os
import queue as std
import shutil
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import click

from streamstore.cli.arguments import directory_argument, open_to_write
from streamstore.cli.exits import USAGE, VerbError
from streamstore.cli.output import note
from streamstore.errors import StaleReceiptError, StreamStoreError
from streamstore.queue import Message, Queue
from streamstore.queue.settings import check_name

_LOOK_SECONDS = 0.5
_BACK_OFF_MAX_SECONDS = 900.0
_ERROR_CHARACTERS = 200


class _Workers:
    """The running commands, and how they are told to end."""

    def __init__(self, queue: Queue, command: tuple[str, ...], timeout: float | None, back_off: float) -> None:
        self.queue = queue
        self.stopping = threading.Event()
        self.done = self.failed = 0
        self.broken: StreamStoreError | None = None
        self._command = command
        self._timeout = timeout
        self._back_off = back_off
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()

    def stop(self, *_: Any) -> None:
        """Take no more messages; the second time, kill what runs."""
        if self.stopping.is_set():
            for process in list(self._running):
                _kill(process)
        self.stopping.set()

    def run(self, exit_when_empty: bool) -> None:
        """Work until stopped; what the queue itself refuses stops all of them, and is `broken`."""
        try:
            self._work(exit_when_empty)
        except StreamStoreError as error:
            self.broken = error
            self.stopping.set()

    def _work(self, exit_when_empty: bool) -> None:
        while not self.stopping.is_set():
            try:
                message = self.queue.get(timeout=_LOOK_SECONDS)
            except std.Empty:
                if exit_when_empty and self.queue.join(timeout=0):
                    return
                continue
            self.queue.heart.watch(message)
            try:
                problem = self._execute(message)
                self._settle(message, problem)
            finally:
                self.queue.heart.forget(message)

    def _execute(self, message: Message) -> str:
        """Run the command; "" where it succeeded, else what went wrong."""
        environment = {
            **os.environ,
            "STREAMSTORE_MESSAGE_ID": message.id,
            "STREAMSTORE_RECEIVE_COUNT": str(message.receive_count),
            "STREAMSTORE_KEY": message.key or "",
        }
        try:
            process = subprocess.Popen(self._command, stdin=subprocess.PIPE, env=environment, start_new_session=True)
        except OSError as error:
            return f"{self._command[0]}: {error.strerror}"
        with self._lock:
            self._running.add(process)
        try:
            process.communicate(_input(message), timeout=self._timeout)
        except subprocess.TimeoutExpired:
            _kill(process)
            process.wait()
            return f"killed after {self._timeout:g} s"
        except BrokenPipeError:
            process.wait()
        finally:
            with self._lock:
                self._running.discard(process)
        return "" if process.returncode == 0 else f"exit code {process.returncode}"

    def _settle(self, message: Message, problem: str) -> None:
        try:
            if not problem:
                message.ack()
                self.done += 1
                return
            self.failed += 1
            most = self.queue.settings.max_receive_count
            note(f"message {message.id}, receive {message.receive_count}: {problem}")
            if most and message.receive_count >= most:
                message.dead(problem[:_ERROR_CHARACTERS])
            else:
                delay = min(self._back_off * 2 ** (message.receive_count - 1), _BACK_OFF_MAX_SECONDS)
                message.nack(0 if self.stopping.is_set() else delay)
        except StaleReceiptError:
            note(f"message {message.id} was given to another worker meanwhile")


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a command and what it started: it leads a process group of its own."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _input(message: Message) -> bytes:
    import json

    if message.queue.codec.name in ("bytes", "json", ""):
        return message.data
    try:
        body = message.body
    except Exception:  # whatever the codec raises: the command may know better
        return message.data
    return body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False, default=str).encode()


@click.command(context_settings={"ignore_unknown_options": True})
@directory_argument
@click.argument("name")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("-j", "--jobs", type=click.IntRange(1, 256), default=1, show_default=True, help="Commands at a time.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    help="Seconds after which a command is killed and its message given back.",
)
@click.option(
    "--back-off",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="Seconds before the first retry; doubles.",
)
@click.option("--exit-when-empty", is_flag=True, help="End once nothing is waiting or in flight.")
def work(
    directory: Path,
    name: str,
    command: tuple[str, ...],
    jobs: int,
    timeout: float | None,
    back_off: float,
    exit_when_empty: bool,
) -> None:
    """Run COMMAND for each message of the queue NAME, with the body on its stdin.

    \b
    Example:
      streamstore queue work data/ jobs --jobs 4 --timeout 60 -- ./handle.sh
    """
    check_name(name)
    if shutil.which(command[0]) is None:  # else every message would fail until it is a dead letter
        raise VerbError(f"{command[0]}: there is no such command", USAGE)
    with open_to_write(directory, create=True) as store:
        workers = _Workers(store.queue(name), command, timeout, back_off)
        before = {number: signal.signal(number, workers.stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            threads = [threading.Thread(target=workers.run, args=(exit_when_empty,)) for _ in range(jobs)]
            for thread in threads:
                thread.start()
            for thread in threads:
                while thread.is_alive():
                    thread.join(_LOOK_SECONDS)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    note(f"{workers.done} done, {workers.failed} failed")
    if workers.broken is not None:
        raise workers.broken
