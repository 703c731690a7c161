"""The framing of event streams (application/vnd.amazon.eventstream): headers and a payload between two checksums."""

from __future__ import annotations

import struct
import zlib

_PRELUDE = struct.Struct(">II")
_CHECK = struct.Struct(">I")
_STRING = 7


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
