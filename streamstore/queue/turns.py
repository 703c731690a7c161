"""Taking turns at waiting: of all that wait in one process one sleeps on the store, the others on their turn alone.

A thousand waiting consumers cost what one costs. Knows nothing of queues.
"""

from __future__ import annotations

import threading
from collections import deque


class Turns:
    """One turn, handed on in the order of asking."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._held = False
        self._waiting: deque[threading.Lock] = deque()

    def acquire(self, timeout: float | None) -> bool:
        """Wait for the turn, at most `timeout` seconds; False where they passed."""
        with self._guard:
            if not self._held:
                self._held = True
                return True
            mine = threading.Lock()
            mine.acquire()
            self._waiting.append(mine)
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
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._held = False
