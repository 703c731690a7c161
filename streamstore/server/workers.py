"""Threads for what may wait for a disk or a lock: asyncio's own way there costs more than most requests do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

_Job = tuple[Callable[..., Any], tuple[Any, ...], "asyncio.AbstractEventLoop", "asyncio.Future[Any]"]


class Workers:
    """Up to `most` threads, each started when a job finds none idle. `call` belongs to the loop's thread."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._count = 0
        self._waiting = 0  # jobs that no thread has taken yet, less the threads that wait for one
        self._lock = threading.Lock()

    def call(self, function: Callable[..., Any], *arguments: Any) -> asyncio.Future[Any]:
        """The result of a call made in one of the threads."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        with self._lock:
            self._waiting += 1
            start = self._waiting > 0 and self._count < self._most
            self._count += start
        self._jobs.put((function, arguments, loop, future))
        if start:
            threading.Thread(target=self._run, name="streamstore-http", daemon=True).start()
        return future

    def close(self) -> None:
        """Let the threads end once they have done what they were given."""
        for _ in range(self._count):
            self._jobs.put(None)

    def _run(self) -> None:
        while True:
            with self._lock:
                self._waiting -= 1
            job = self._jobs.get()
            if job is None:
                return
            function, arguments, loop, future = job
            try:
                result, error = function(*arguments), None
            except BaseException as failure:
                result, error = None, failure
            try:
                loop.call_soon_threadsafe(_deliver, future, result, error)
            except RuntimeError:
                return  # the loop is closed: nobody waits for it


def _deliver(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
