"""What the kernel knows of a connection that the HTTP library keeps to itself: how much the other end has taken.

That is true for HTTP/1.1 and for HTTP/2, where a stream whose window is used up sends nothing, with TLS or without.
"""

from __future__ import annotations

import os
import socket
import struct
from contextlib import suppress

_BYTES_ACKED = 120  # its place in the kernel's struct tcp_info
_INFO_SIZE = _BYTES_ACKED + 8


class Descriptors:
    """Our connections by their peers, as they were when one was looked for that was not known."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], int] = {}

    def find(self, peer: tuple[str, int], *, anew: bool) -> int:
        """The descriptor of the connection with that peer, or -1."""
        if anew or peer not in self._known:
            self._known = _all()
        return self._known.get(peer, -1)


class Connection:
    """One connection of ours by its peer, found among our descriptors when it is asked about."""

    def __init__(self, peer: str, descriptors: Descriptors | None = None) -> None:
        self._peer = _address(peer)
        self._descriptors = descriptors or Descriptors()
        self._descriptor = -1

    def taken(self) -> int | None:
        """The bytes that the peer has acknowledged since it came; None where the connection is gone."""
        known = self._acknowledged()
        for anew in (False, True):
            if known is None:
                self._descriptor = self._descriptors.find(self._peer, anew=anew)
                known = self._acknowledged()
        return known

    def end(self) -> None:
        """Have the library find it closed, in the middle of what it sends."""
        with suppress(OSError), _borrowed(self._descriptor) as connection:
            if _plain(connection.getpeername()) == self._peer:
                connection.shutdown(socket.SHUT_RDWR)

    def _acknowledged(self) -> int | None:
        if self._descriptor < 0:
            return None
        with suppress(OSError), _borrowed(self._descriptor) as connection:
            # The number may be another connection's by now.
            if _plain(connection.getpeername()) == self._peer:
                info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_SIZE)
                if len(info) == _INFO_SIZE:
                    return int(struct.unpack_from("=Q", info, _BYTES_ACKED)[0])
        self._descriptor = -1
        return None


def _address(peer: str) -> tuple[str, int]:
    host, _, port = peer.rpartition(":")
    return _plain((host.strip("[]"), int(port) if port.isdigit() else -1))


def _plain(name: tuple[object, ...]) -> tuple[str, int]:
    return str(name[0]).removeprefix("::ffff:"), int(str(name[1]))


def _all() -> dict[tuple[str, int], int]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError, ValueError, IndexError), _borrowed(int(name)) as connection:
            if connection.family in (socket.AF_INET, socket.AF_INET6):
                found[_plain(connection.getpeername())] = int(name)
    return found


def _borrowed(descriptor: int) -> socket.socket:
    """A socket that is open already, by a descriptor of our own. Raises OSError for what is none."""
    copy = os.dup(descriptor)
    try:
        return socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        raise
