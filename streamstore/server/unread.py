"""Large answers that clients have not taken yet: a bound for all of them together, whatever the clients do.

The HTTP library keeps an answer in memory until the last byte of it is taken. So few large ones are made at a time,
and while too much is on its way none is: whoever asks for more waits, and whoever takes nothing, or takes too long over
what it was given, is cut off, the longest first.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from streamstore.server.connections import Connection, Descriptors

COUNTED_MIN = 64 << 10
"""Answers of less are not counted: they may stay in memory, and are no more than the connections there may be."""
UNREAD_MAX = 48 << 20
"""What may be on its way to all clients together before anybody waits."""
MADE_AT_ONCE, LARGE_MADE_AT_ONCE = 8, 2
"""Making one takes several times its size: few at a time where those before were larger than `LARGE`."""
LARGE = 1 << 20
FADING = 0.98
STANDSTILL_S, WHOLE_S = 1.0, 5.0
"""How long a client may take nothing, and how long it may take over all, while others wait."""
PAUSE_S = 0.02
OPERATIONS = frozenset(
    f"Kinesis_20131202.{name}" for name in ("GetRecords", "ReceiveQueueRecords", "ListShards", "DescribeStream")
)
"""Whose answers may be large."""
_T = TypeVar("_T")


class _Given:
    """What one connection was given: `size` bytes since it had taken `before`, the first of them at `since`."""

    __slots__ = ("before", "connection", "moved", "since", "size", "taken")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.size = self.before = self.taken = 0
        self.since = self.moved = 0.0

    def unread(self, now: float) -> int | None:
        """How much of it is on its way; None where the connection is gone, and all of it with it."""
        taken = self.connection.taken()
        if taken is None:
            return None
        if taken != self.taken:
            self.taken, self.moved = taken, now
        left = self.size - (taken - self.before)
        if left <= 0:  # heads and frames count among what is taken: what is even begins anew
            self.size, self.before, self.since, self.moved = 0, taken, now, now
        return max(left, 0)

    def too_slow(self, now: float) -> bool:
        """Does it hold up others?"""
        return now - self.moved > STANDSTILL_S or now - self.since > WHOLE_S


class Unread:
    """The large answers of one server. The loop's thread only."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._given: dict[str, _Given] = {}
        self._descriptors = Descriptors()
        self._makers = asyncio.Semaphore(MADE_AT_ONCE), asyncio.Semaphore(LARGE_MADE_AT_ONCE)
        self._expected = float(UNREAD_MAX)  # the size of the largest of late; carefully at first
        self._most = 0  # what was unread when it was last looked, and what was given since

    async def make(self, answer: Callable[[], Awaitable[_T]]) -> _T:
        """A large answer, once there is room for it."""
        async with self._makers[0]:
            if self._expected <= LARGE and self._most <= UNREAD_MAX:
                return await answer()
            async with self._makers[1]:
                while self._most > UNREAD_MAX and self.look() > UNREAD_MAX:
                    await asyncio.sleep(PAUSE_S)
                return await answer()

    def give(self, peer: str, size: int) -> None:
        """Note an answer that the library is about to be given."""
        self._expected = max(size, self._expected * FADING)
        if size < COUNTED_MIN:
            return
        given = self._given.get(peer)
        if given is None:
            given = self._given[peer] = _Given(Connection(peer, self._descriptors))
        given.unread(self._clock())
        given.size += size
        self._most += size

    def look(self) -> int:
        """What is on its way to all. Forgets who is gone; cuts off who is too slow while there is too much of it."""
        now, slow = self._clock(), []
        self._most = 0
        for peer, given in list(self._given.items()):
            unread = given.unread(now)
            if unread is None:
                del self._given[peer]
            else:
                self._most += unread
                if unread and given.too_slow(now):
                    slow.append((given.since, unread, given))
        excess = self._most - UNREAD_MAX
        for _, unread, given in sorted(slow, key=lambda each: each[0]):
            if excess <= 0:
                break
            given.connection.end()
            excess -= unread
        return self._most
