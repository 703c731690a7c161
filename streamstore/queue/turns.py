"""Taking turns at waiting: of all that wait in one process one sleeps on the store, the others on their turn alone.

A thousand waiting consumers cost what one costs. Knows nothing of queues; a forked child begins with the turn free.
"""

from __future__ import annotations

import threading
from collections import deque

from streamstore import native


class Turns:
    """One turn, handed on in the order of asking."""

    def __init__(self) -> None:
        self._after_fork()
        native.watch_fork(self)

    def _after_fork(self) -> None:
        # Whoever held it, or waited, in the parent is not there in the child.
        self._turn = threading.Lock()
        self._guard = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()

    def acquire(self, timeout: float | None) -> bool:
        """Wait for the turn, at most `timeout` seconds; False where they passed."""
        if not self._waiting and self._turn.acquire(False):
            return True
        with self._guard:
            if not self._waiting and self._turn.acquire(False):
                return True
            mine = threading.Lock()
            mine.acquire()
            self._waiting.append(mine)
        self._hand_on()  # it may have been given back before this one was seen waiting
        try:
            came = mine.acquire(timeout=-1 if timeout is None else min(timeout, threading.TIMEOUT_MAX))
        except BaseException:  # Ctrl-C: a turn that is being handed over must not be lost
            if not self._withdraw(mine):
                self.release()
            raise
        return came or not self._withdraw(mine)

    def _withdraw(self, mine: threading.Lock) -> bool:
        """Stop waiting; False where the turn came in the same moment."""
        with self._guard:
            if mine in self._waiting:
                self._waiting.remove(mine)
                return True
            return False

    def release(self) -> None:
        """Hand it on."""
        self._turn.release()
        if self._waiting:
            self._hand_on()

    def _hand_on(self) -> None:
        """Give the turn, where nobody has it, to the one who waits longest."""
        with self._guard:
            if self._waiting and self._turn.acquire(False):
                self._waiting.popleft().release()
