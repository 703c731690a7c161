"""CBOR 1.1: byte strings for blobs, milliseconds under tag 1 for times. Other tags are refused, nesting is bounded."""

from __future__ import annotations

from functools import cache
from typing import Any, NoReturn

from streamstore import StreamStoreError
from streamstore.kinesis import errors
from streamstore.kinesis.validation import wrong_type
from streamstore.kinesis.values import Moment, RecordList, ResultList

CONTENT_TYPE = "application/x-amz-cbor-1.1"
DEPTH_MAX = 64
_TIME_TAG = 1
# What cbor2 would make other types of: dates, large numbers, expressions, addresses, references.
_REFUSED = (0, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799)
_MOMENT_MAX_MS = 1 << 62


class CborCodec:
    """The Wire and the encoder of CBOR."""

    content_type = CONTENT_TYPE

    def __init__(self) -> None:
        try:
            import cbor2
        except ImportError:
            raise StreamStoreError("cbor2 is not installed: pip install 'streamstore-kinesis[server]'") from None
        self._cbor = cbor2
        self._decoders: dict[int, Any] = dict.fromkeys(_REFUSED, _refuse)
        self._decoders[_TIME_TAG] = _moment

    def decode(self, body: bytes) -> Any:
        """The value of a body; SerializationException for what is no CBOR, or nested too deep."""
        try:
            value = self._cbor.loads(body, semantic_decoders=self._decoders, tag_hook=_refuse, max_depth=DEPTH_MAX)
        except (self._cbor.CBORError, ValueError, TypeError, RecursionError, OverflowError, MemoryError):
            raise errors.serialization() from None
        return value

    def encode(self, value: Any) -> bytes:
        """A response's body."""
        if isinstance(records := value.get("Records"), (RecordList, ResultList)):
            value = {**value, "Records": list(records.maps())}
        encoded: bytes = self._cbor.dumps(value, default=self._plain)
        return encoded

    def _plain(self, encoder: Any, value: Any) -> None:
        if not isinstance(value, Moment):
            raise TypeError(f"{type(value).__name__} has no CBOR")
        encoder.encode(self._cbor.CBORTag(_TIME_TAG, value.ms))

    def blob(self, value: Any) -> bytes:
        if isinstance(value, bytes):
            return value
        raise wrong_type(value, "a Blob")

    def moment(self, value: Any) -> int:
        if isinstance(value, Moment):
            return value.ms
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise wrong_type(value, "milliseconds since epoch")
        return _milliseconds(value)


def _milliseconds(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -_MOMENT_MAX_MS < value < _MOMENT_MAX_MS:
        raise errors.serialization("a number can not be converted to milliseconds since epoch")
    return int(value)


def _moment(value: Any, immutable: bool) -> Moment:
    return Moment(_milliseconds(value))


def _refuse(*arguments: Any) -> NoReturn:
    raise ValueError("a tag that requests do not have")


@cache
def shared() -> CborCodec:
    """The one codec; StreamStoreError where cbor2 is not installed."""
    return CborCodec()
