"""The framing of event streams (application/vnd.amazon.eventstream): headers and a payload between two checksums.

Written by the server, read by load that subscribes to one.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

_PRELUDE = struct.Struct(">II")
_CHECK = struct.Struct(">I")
_HEAD_SIZE = _PRELUDE.size + _CHECK.size
_STRING = 7
_MESSAGE_SIZE_MAX = 32 << 20


def frame(headers: dict[str, str], payload: bytes) -> bytes:
    """One message; all headers are strings."""
    packed = b"".join(
        bytes((len(name),)) + name.encode() + struct.pack(">BH", _STRING, len(value.encode())) + value.encode()
        for name, value in headers.items()
    )
    prelude = _PRELUDE.pack(len(packed) + len(payload) + 16, len(packed))
    message = prelude + _CHECK.pack(zlib.crc32(prelude)) + packed + payload
    return message + _CHECK.pack(zlib.crc32(message))


def event(kind: str, content_type: str, payload: bytes) -> bytes:
    """An event of that type."""
    return frame({":message-type": "event", ":event-type": kind, ":content-type": content_type}, payload)


def exception(kind: str, content_type: str, payload: bytes) -> bytes:
    """An error that the model knows, in the middle of a stream."""
    return frame({":message-type": "exception", ":exception-type": kind, ":content-type": content_type}, payload)


def read_message(read: Callable[[int], bytes]) -> tuple[str, bytes] | None:
    """One message of an event stream as (type, payload); None at its end. Raises ValueError for a broken one."""
    head = read(_HEAD_SIZE)
    if not head:
        return None
    if len(head) < _HEAD_SIZE:
        raise ValueError("an event stream ended in the middle of a message")
    size, header_size = _PRELUDE.unpack_from(head)
    check = _CHECK.pack(zlib.crc32(head[: _PRELUDE.size]))
    if check != head[_PRELUDE.size :] or not header_size + 16 <= size <= _MESSAGE_SIZE_MAX:
        raise ValueError("an event stream has a damaged prelude")
    rest = read(size - _HEAD_SIZE)
    if len(rest) < size - _HEAD_SIZE:
        raise ValueError("an event stream ended in the middle of a message")
    if _CHECK.pack(zlib.crc32(rest[: -_CHECK.size], zlib.crc32(head))) != rest[-_CHECK.size :]:
        raise ValueError("an event stream has a damaged message")
    headers = _headers(rest[:header_size])
    kind = headers.get(":event-type") or headers.get(":exception-type") or headers.get(":error-code") or ""
    return kind, rest[header_size : -_CHECK.size]


def _headers(packed: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    at = 0
    while at < len(packed):
        name_end = at + 1 + packed[at]
        if packed[name_end : name_end + 1] != bytes((_STRING,)):
            raise ValueError("an event stream has a header that is no string")
        name = packed[at + 1 : name_end].decode()
        size = int.from_bytes(packed[name_end + 1 : name_end + 3], "big")
        at = name_end + 3 + size
        if at > len(packed):
            raise ValueError("an event stream has a header that is cut off")
        found[name] = packed[name_end + 3 : at].decode()
    return found
