"""How a message's body becomes bytes and back: by name, or a callable pair. Never pickle unless a caller brings it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import msgpack

from streamstore.errors import InvalidArgumentError, InvalidTypeError


class Codec(NamedTuple):
    """A name (of the codecs kept with a queue; "" for a caller's own), and the two ways."""

    name: str
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]


def _to_bytes(body: Any) -> bytes:
    if type(body) is bytes:
        return body
    if not isinstance(body, (bytes, bytearray, memoryview)):
        raise InvalidTypeError(f"a queue with codec 'bytes' takes bytes, not {type(body).__name__}")
    return bytes(body)


def _to_json(body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


_CODECS = {
    "msgpack": Codec("msgpack", msgpack.packb, msgpack.unpackb),
    "json": Codec("json", _to_json, json.loads),
    "bytes": Codec("bytes", _to_bytes, bytes),
}


def codec_of(codec: Any) -> Codec:
    """The codec of a name or a pair (encode, decode). Raises InvalidArgumentError, InvalidTypeError."""
    if isinstance(codec, str):
        try:
            return _CODECS[codec]
        except KeyError:
            raise InvalidArgumentError(f"codec is one of {', '.join(_CODECS)} or a pair of callables") from None
    try:
        encode, decode = codec
    except (TypeError, ValueError):
        raise InvalidTypeError("codec is a name or a pair (encode, decode)") from None
    if not callable(encode) or not callable(decode):
        raise InvalidTypeError("codec is a name or a pair (encode, decode) of callables")
    return Codec("", encode, decode)


def encode(codec: Codec, body: Any) -> bytes:
    """The body as bytes. Raises InvalidArgumentError or InvalidTypeError where the codec cannot take it."""
    try:
        data = codec.encode(body)
    except (InvalidTypeError, InvalidArgumentError):
        raise
    except (TypeError, OverflowError) as error:
        raise InvalidTypeError(f"the codec {codec.name or 'given'} cannot take this body: {error}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidArgumentError(f"the codec {codec.name or 'given'} cannot take this body: {error}") from error
    if not isinstance(data, bytes):
        raise InvalidTypeError(f"the codec gave {type(data).__name__}, not bytes")
    return data


def encode_all(codec: Codec, bodies: Iterable[Any]) -> list[bytes]:
    """`encode` of each. The first that cannot be taken raises."""
    bodies = list(bodies)
    try:
        encoded = [codec.encode(body) for body in bodies]
    except Exception:
        return [encode(codec, body) for body in bodies]  # raises what says which it was
    if set(map(type, encoded)) - {bytes}:
        return [encode(codec, body) for body in bodies]
    return encoded
