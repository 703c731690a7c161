"""Where user records wait for the sender, and where callers wait: for room, for a flush, for a future."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from streamstore import BackPressureError, ClosedError, ForkedError

if TYPE_CHECKING:
    from streamstore.producer.future import UserRecordFuture

Entry = tuple[bytes, str, "int | None", "UserRecordFuture"]
"""A user record on its way: data, partition key, explicit hash key, its future."""

NEVER = 1 << 62


class Inbox:
    """The border between callers and the sender. Fields are read and changed under `lock`."""

    __slots__ = (
        "bytes", "bytes_max", "bytes_out", "closed", "entries", "flush", "flushers", "forked", "lock", "log",
        "records_max", "records_out", "settled", "settled_until", "waiters", "wake_at", "work",
    )  # fmt: skip

    def __init__(self, records_max: int, bytes_max: int, wake_at: int) -> None:
        self.forked = False
        self.make_locks()
        self.log = logging.getLogger("streamstore.producer")
        self.entries: list[Entry] = []
        self.bytes = 0  # of data in `entries`
        self.wake_at = wake_at  # the sender is woken when there are so many; NEVER once it was
        self.records_out = self.bytes_out = 0  # put, and not settled
        self.records_max, self.bytes_max = records_max, bytes_max
        self.closed = False
        self.flush = False  # everything is to go now
        self.flushers = 0  # of those that wait below, who wait for a flush
        self.settled_until = 0.0  # all that was put before is settled, as of the last look (while there are flushers)

    def make_locks(self) -> None:
        """Locks that nobody holds: at first, and in a forked child."""
        self.lock = threading.Lock()
        self.work = threading.Condition(self.lock)  # the sender waits for it
        self.settled = threading.Condition(self.lock)  # callers do
        self.waiters = 0

    def make_room(self, timeout: float | None) -> None:
        """Wait until there is room for one more (with the lock held).

        Raises ClosedError, ForkedError, BackPressureError.
        """
        if not self.closed:
            self.work.notify()
        if not self._wait(lambda: self.closed or not self.is_full(), timeout):
            raise BackPressureError(
                f"{self.records_out} user records of {self.bytes_out} bytes are outstanding, as many as may be"
            )
        if self.forked:
            raise ForkedError("this producer belongs to the parent process: make one here")
        if self.closed:
            raise ClosedError("the producer is closed")

    def is_full(self) -> bool:
        """Are as many outstanding as may be?"""
        return self.records_out >= self.records_max or self.bytes_out >= self.bytes_max

    def wait_for(self, said: Callable[[], bool], timeout: float | None) -> bool:
        """Wait until `said()`, which is asked after each settling; False where `timeout` seconds passed first."""
        with self.lock:
            return self._wait(said, timeout)

    def _wait(self, said: Callable[[], bool], timeout: float | None) -> bool:
        until = None if timeout is None else time.monotonic() + timeout
        self.waiters += 1
        try:
            while not said():
                left = None if until is None else until - time.monotonic()
                if left is not None and left <= 0:
                    return False
                self.settled.wait(left)
            return True
        finally:
            self.waiters -= 1

    def wait_for_flush(self, until: float, timeout: float | None) -> bool:
        """Have everything sent, and wait until all that was put before `until` is settled; False on timeout."""
        with self.lock:
            self.flush = True
            self.flushers += 1
            self.settled_until = 0.0
            self.work.notify()
            try:
                return self._wait(lambda: not self.records_out or self.settled_until > until, timeout)
            finally:
                self.flushers -= 1

    def forget(self, records: int, size: int) -> None:
        """So many are outstanding no more; whoever waits looks again."""
        with self.lock:
            self.records_out -= records
            self.bytes_out -= size
            if self.waiters:
                self.settled.notify_all()
