"""Threads that make requests: as many as there is work for, up to a number, and none before there is any."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable


class Couriers:
    """Daemon threads: at the end of the program the producer waits for what is under way, not the interpreter."""

    def __init__(self, count_max: int, name: str) -> None:
        self.count_max = count_max
        self._name = name
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._waiting = 0  # jobs that were given out and are not done, which the sender alone counts up
        self._lock = threading.Lock()

    def give(self, job: Callable[[], None]) -> None:
        """Have a job done soon. It raises nothing."""
        with self._lock:
            self._waiting += 1
            if self._waiting > len(self._threads) < self.count_max:
                thread = threading.Thread(target=self._run, name=f"{self._name}-{len(self._threads)}", daemon=True)
                self._threads.append(thread)
                thread.start()
        self._jobs.put(job)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            with self._lock:
                self._waiting -= 1

    def stop(self) -> None:
        """Let the threads end once every job is done, and wait for it."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()
