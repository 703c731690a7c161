"""Where user records wait for the sender, and where callers wait: for room, for a flush, for a future."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from streamstore import BackPressureError, ClosedError, ForkedError, native


class Inbox:
    """The border between callers and the sender. What is put goes into the intake; the rest is under `lock`."""

    __slots__ = ("flush", "flushers", "forked", "intake", "lock", "log", "settled", "settled_until", "waiters", "work")

    def __init__(
        self, future_type: type[native.UserPut], records_max: int, bytes_max: int, record_size_max: int
    ) -> None:
        self.forked = False
        self.make_locks()
        self.log = logging.getLogger("streamstore.producer")
        self.intake = native.Intake(future_type, self, self.wake, 0, records_max, bytes_max, record_size_max)
        self.flush = False  # everything is to go now
        self.flushers = 0  # of those that wait below, who wait for a flush
        self.settled_until = 0.0  # all that was put before is settled, as of the last look (while there are flushers)

    def wake(self) -> None:
        """The sender has something to look at."""
        with self.lock:
            self.work.notify()

    def close(self) -> None:
        """Take no more, and have what is there sent."""
        with self.lock:
            self.intake.closed = self.flush = True
            self.work.notify()
            self.settled.notify_all()

    def make_locks(self) -> None:
        """Locks that nobody holds: at first, and in a forked child."""
        self.lock = threading.RLock()  # a signal's handler may log into the stream that its thread just puts to
        self.work = threading.Condition(self.lock)  # the sender waits for it
        self.settled = threading.Condition(self.lock)  # callers do
        self.waiters = 0

    def make_room(self, timeout: float | None) -> None:
        """Wait until there is room for one more (with the lock held).

        Raises ClosedError, ForkedError, BackPressureError.
        """
        intake = self.intake
        if not self._wait(lambda: intake.closed or not self.is_full(), timeout):
            raise BackPressureError(
                f"{intake.records_out} user records of {intake.bytes_out} bytes are outstanding, as many as may be"
            )
        if self.forked:
            raise ForkedError("this producer belongs to the parent process: make one here")
        if intake.closed:
            raise ClosedError("the producer is closed")

    def is_full(self) -> bool:
        """Are as many outstanding as may be?"""
        intake = self.intake
        return intake.records_out >= intake.records_max or intake.bytes_out >= intake.bytes_max

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
                return self._wait(lambda: not self.intake.records_out or self.settled_until > until, timeout)
            finally:
                self.flushers -= 1

    def forget(self, records: int, size: int) -> None:
        """So many are outstanding no more; whoever waits looks again."""
        with self.lock:
            self.intake.forget(records, size)
            if self.waiters:
                self.settled.notify_all()
