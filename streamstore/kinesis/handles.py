"""What clients hold of queues, under MACs: the identifier in a queue's ARN, and receipt handles. Pure.

identifier      stream number of the queue (12 hex digits), MAC (20 hex digits)
receipt handle  kind (1), stream number of the queue (8), shard (4), position (8), number (8), boot (4), MAC (16);
                in base64
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct
import zlib
from typing import NamedTuple

LIVE, DEAD = 1, 2

_BODY = struct.Struct(">BQIQQI")
_HANDLE_MAC_SIZE = 16
_ID_MAC_SIZE = 10
_ID_DIGITS = 12


class Handle(NamedTuple):
    """One delivery: of a queue's record, or of a dead-letter record. `boot` tells apart what a power cut made one."""

    kind: int
    queue: int
    shard: int
    position: int
    number: int
    boot: int


def queue_id(key: bytes, number: int) -> str:
    """The identifier of the queue of that stream number: the same for ever, and not derived from its name."""
    digits = f"{number:0{_ID_DIGITS}x}"
    return digits + _mac(key, b"queue", digits.encode(), _ID_MAC_SIZE).hex()


def queue_number(key: bytes, text: str) -> int | None:
    """The stream number of an identifier; None for what is none of ours."""
    if len(text) != _ID_DIGITS + 2 * _ID_MAC_SIZE or not text.isascii():
        return None
    try:
        number = int(text[:_ID_DIGITS], 16)
    except ValueError:
        return None
    return number if hmac.compare_digest(queue_id(key, number), text) else None


def encode(key: bytes, handle: Handle) -> str:
    """A handle as clients get it."""
    body = _BODY.pack(*handle)
    return base64.b64encode(body + _mac(key, b"receipt", body, _HANDLE_MAC_SIZE)).decode()


def decode(key: bytes, text: str) -> Handle | None:
    """The handle of a text; None for what is none of ours."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    body, mac = data[: _BODY.size], data[_BODY.size :]
    if len(data) != _BODY.size + _HANDLE_MAC_SIZE or base64.b64encode(data).decode() != text:
        return None
    if not hmac.compare_digest(_mac(key, b"receipt", body, _HANDLE_MAC_SIZE), mac):
        return None
    return Handle(*_BODY.unpack(body))


def boot_tag(boot: str) -> int:
    """What of a boot's id stands in a handle."""
    return zlib.crc32(boot.encode())


def _mac(key: bytes, what: bytes, body: bytes, size: int) -> bytes:
    return hashlib.blake2b(body, key=key, digest_size=size, person=what).digest()
