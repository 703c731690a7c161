"""Shard iterators and page tokens: what they say, under a MAC, so that only what was handed out here is taken back.

An iterator is 8 bytes 00...01, then a multiple of 16 bytes, in base64, as the service's:

    stream id (8)  shard index (4)  kind and nonce (4)  value (8)  epoch (8)  made, in ms (8)  MAC (24)
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import random
import struct
from typing import Any, NamedTuple

POSITION, AT, AFTER = 0, 1, 2

_HEAD = b"\0\0\0\0\0\0\0\1"
_BODY = struct.Struct(">QIIQQQ")
_MAC_SIZE = 24
_SIZE = len(_HEAD) + _BODY.size + _MAC_SIZE


class Cursor(NamedTuple):
    """What an iterator says: in which shard, and at a position, or at or after the number of (epoch, position)."""

    stream_id: int
    shard_index: int
    kind: int
    position: int
    epoch: int
    made_ms: int


def encode(key: bytes, cursor: Cursor) -> str:
    """The iterator for a cursor; another text at every call."""
    marked = cursor.kind << 30 | random.getrandbits(30)
    body = _HEAD + _BODY.pack(
        cursor.stream_id, cursor.shard_index, marked, cursor.position, cursor.epoch, cursor.made_ms
    )
    return base64.b64encode(body + _mac(key, body)).decode()


def decode(key: bytes, text: str) -> Cursor | None:
    """The cursor of an iterator (also in double quotes, as the service takes it); None for what is none of ours."""
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1]
    try:
        data = binascii.a2b_base64(text)
    except (binascii.Error, ValueError):
        return None
    if len(data) != _SIZE or base64.b64encode(data).decode() != text:
        return None
    body = data[:-_MAC_SIZE]
    if not hmac.compare_digest(_mac(key, body), data[-_MAC_SIZE:]):
        return None
    stream_id, shard_index, marked, position, epoch, made_ms = _BODY.unpack_from(body, len(_HEAD))
    return Cursor(stream_id, shard_index, marked >> 30, position, epoch, made_ms)


def encode_page(key: bytes, what: str, values: dict[str, Any]) -> str:
    """A NextToken of the operation `what` that holds plain values."""
    body = json.dumps([what, values], separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(_mac(key, body) + body).decode()


def decode_page(key: bytes, what: str, text: str) -> dict[str, Any] | None:
    """The values of a NextToken of that operation; None for what is none of ours."""
    try:
        data = base64.b64decode(text.encode("ascii"), altchars=b"-_", validate=True)
    except (ValueError, UnicodeEncodeError):
        return None
    body = data[_MAC_SIZE:]
    if not hmac.compare_digest(_mac(key, body), data[:_MAC_SIZE]):
        return None
    operation, values = json.loads(body)
    return values if operation == what else None


def _mac(key: bytes, body: bytes) -> bytes:
    return hashlib.blake2b(body, key=key, digest_size=_MAC_SIZE).digest()
