"""What a connection was given and has not taken: the HTTP library keeps all of it in memory, and tells nobody how much.

So we ask the kernel how many bytes the other end has acknowledged (`connections`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from streamstore.server.connections import Connection

UNTOLD_MAX = 1 << 20
"""What a connection may be given before it is looked for at all: most subscriptions never come to it."""
BOUNDS = {True: 4 << 20, False: 32 << 20}
"""What may be on its way, by whether the connection carries one response at a time; several share theirs."""
PAUSE_S, PAUSE_MAX_S = 0.005, 0.25


class Outgoing:
    """One connection's account. The loop's thread only."""

    def __init__(self, peer: str, alone: bool) -> None:
        self.users = 0
        self._connection = Connection(peer)
        self._bound = BOUNDS[alone]
        self._given = 0
        self._taken_before: int | None = None

    def give(self, size: int) -> None:
        """Note what the connection was given."""
        self._given += size

    def too_much(self) -> bool:
        """Is so much on its way that more has to wait? No where the connection cannot be found."""
        if self._given <= UNTOLD_MAX:
            return False
        taken = self._connection.taken()
        if taken is None:
            self._taken_before = None
            return False
        if self._taken_before is None:
            self._taken_before = taken
            self._given = UNTOLD_MAX + 1  # what came before is on its way at most, and no more than that
        return self._given - UNTOLD_MAX - (taken - self._taken_before) > self._bound

    async def drained(self, gone: asyncio.Future[None], ended: Callable[[], bool]) -> None:
        """Return once it may be given more, or it is gone, or nothing more will come."""
        pause = PAUSE_S
        while not gone.done() and not ended() and self.too_much():
            await asyncio.wait({gone}, timeout=pause)
            pause = min(pause * 2, PAUSE_MAX_S)


class Accounts:
    """The accounts of all connections that carry subscriptions. The loop's thread only."""

    def __init__(self) -> None:
        self._open: dict[str, Outgoing] = {}

    def enter(self, peer: str, version: str) -> Outgoing:
        """The account of a connection, for one more subscription of it."""
        account = self._open.get(peer)
        if account is None:
            account = self._open[peer] = Outgoing(peer, alone=not version.startswith("2"))
        account.users += 1
        return account

    def leave(self, peer: str) -> None:
        """One subscription of that connection has ended."""
        account = self._open[peer]
        account.users -= 1
        if not account.users:
            del self._open[peer]

    def give(self, peer: str, size: int) -> None:
        """Note an answer to a connection, where it has subscriptions too."""
        if self._open and (account := self._open.get(peer)) is not None:
            account.give(size)
