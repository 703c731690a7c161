"""What a connection was given and has not taken: the HTTP library keeps all of it in memory, and tells nobody how much.

So we ask the kernel how many bytes the other end has acknowledged. That is true for HTTP/1.1 and for HTTP/2, where a
stream whose window is used up sends nothing, with TLS or without.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from contextlib import suppress

UNTOLD_MAX = 1 << 20
"""What a connection may be given before it is looked for at all: most subscriptions never come to it."""
BOUNDS = {True: 4 << 20, False: 32 << 20}
"""What may be on its way, by whether the connection carries one response at a time; several share theirs."""
PAUSE_S, PAUSE_MAX_S = 0.005, 0.25
_BYTES_ACKED = 120  # its place in the kernel's struct tcp_info
_INFO_SIZE = _BYTES_ACKED + 8


class Outgoing:
    """One connection's account. The loop's thread only."""

    def __init__(self, peer: str, alone: bool) -> None:
        self.users = 0
        self._peer = _address(peer)
        self._bound = BOUNDS[alone]
        self._given = 0
        self._descriptor = -1
        self._taken_before = 0

    def give(self, size: int) -> None:
        """Note what the connection was given."""
        self._given += size

    def too_much(self) -> bool:
        """Is so much on its way that more has to wait? No where the connection cannot be found."""
        if self._given <= UNTOLD_MAX:
            return False
        taken = self._taken()
        if taken is None:
            self._descriptor = _find(self._peer)
            taken = self._taken()
            if taken is None:
                return False
            self._taken_before = taken
            self._given = UNTOLD_MAX + 1  # what came before is on its way at most, and no more than that
        return self._given - UNTOLD_MAX - (taken - self._taken_before) > self._bound

    async def drained(self, gone: asyncio.Future[None], ended: Callable[[], bool]) -> None:
        """Return once it may be given more, or it is gone, or nothing more will come."""
        pause = PAUSE_S
        while not gone.done() and not ended() and self.too_much():
            await asyncio.wait({gone}, timeout=pause)
            pause = min(pause * 2, PAUSE_MAX_S)

    def _taken(self) -> int | None:
        """The bytes that the peer has acknowledged; None where the descriptor is no longer this connection's."""
        if self._descriptor < 0:
            return None
        with suppress(OSError), _borrowed(self._descriptor) as connection:
            if _plain(connection.getpeername()) == self._peer:
                info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_SIZE)
                if len(info) == _INFO_SIZE:
                    return int(struct.unpack_from("=Q", info, _BYTES_ACKED)[0])
        self._descriptor = -1
        return None


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


def _address(peer: str) -> tuple[str, int]:
    host, _, port = peer.rpartition(":")
    return _plain((host.strip("[]"), int(port) if port.isdigit() else -1))


def _plain(name: tuple[object, ...]) -> tuple[str, int]:
    return str(name[0]).removeprefix("::ffff:"), int(str(name[1]))


def _find(peer: tuple[str, int]) -> int:
    """The descriptor of our connection with that peer, or -1."""
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError, ValueError, IndexError), _borrowed(int(name)) as connection:
            if connection.family in (socket.AF_INET, socket.AF_INET6) and _plain(connection.getpeername()) == peer:
                return int(name)
    return -1


def _borrowed(descriptor: int) -> socket.socket:
    """A socket that is open already, by a descriptor of our own. Raises OSError for what is none."""
    copy = os.dup(descriptor)
    try:
        return socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        raise
