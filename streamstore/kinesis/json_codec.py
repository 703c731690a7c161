"""JSON 1.1: base64 for blobs, seconds for times; records are written as one text, as there are thousands of them."""

from __future__ import annotations

import json
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable
from json.encoder import encode_basestring_ascii as quote
from typing import Any, NoReturn

from streamstore.kinesis import errors
from streamstore.kinesis.validation import SHOWN_MAX, wrong_type
from streamstore.kinesis.values import Moment, RecordList, ResultList

CONTENT_TYPE = "application/x-amz-json-1.1"
_MOMENT_MAX_MS = 1 << 52


class JsonCodec:
    """The Wire and the encoder of JSON."""

    content_type = CONTENT_TYPE

    def __init__(self) -> None:
        self._loads: Callable[[bytes], Any] = _fast_loads() or _loads

    def decode(self, body: bytes) -> Any:
        """The value of a body; SerializationException for what is no JSON."""
        try:
            return self._loads(body)
        except (ValueError, RecursionError):
            raise errors.serialization() from None

    def encode(self, value: Any) -> bytes:
        """A response's body."""
        records = value.get("Records")
        if not isinstance(records, (RecordList, ResultList)):
            return _encode(value).encode()
        rest = {name: item for name, item in value.items() if name != "Records"}
        written = _records(records) if isinstance(records, RecordList) else [_results(records)]
        written[0] = '{"Records":[' + written[0]
        written[-1] += f"]{',' if rest else ''}{_encode(rest)[1:]}"
        text = ",".join(written)
        del written  # of megabytes: no more copies of it than must be at a time
        return text.encode()

    def blob(self, value: Any) -> bytes:
        if not isinstance(value, str):
            raise wrong_type(value, "a Blob")
        prefix = f"'{value[:SHOWN_MAX]}' can not be converted to a Blob: "
        if len(value) % 4:
            length = f"Base64 encoded length is expected a multiple of 4 bytes but found: {len(value)}"
            raise errors.serialization(prefix + length)
        try:
            data = a2b_base64(value)
        except (Base64Error, ValueError):
            raise errors.serialization(f"{prefix}Invalid Base64 character") from None
        # What is no base64 was skipped: with all of it read, the text made of the bytes is as long as it was.
        if len(data) != len(value) // 4 * 3 - value[-2:].count("="):
            raise errors.serialization(f"{prefix}Invalid Base64 character")
        return data

    def moment(self, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise wrong_type(value, "milliseconds since epoch")
        if not -_MOMENT_MAX_MS < value < _MOMENT_MAX_MS:
            raise errors.serialization("a number can not be converted to milliseconds since epoch")
        return round(value * 1000)


def _fast_loads() -> Callable[[bytes], Any] | None:
    try:
        import orjson
    except ImportError:  # the extra `server` is not installed
        return None
    return orjson.loads


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _loads(body: bytes) -> Any:
    return json.loads(body.decode("utf-8"), parse_constant=_no_number)


def _plain(value: Any) -> Any:
    if isinstance(value, Moment):
        return value.ms / 1000
    if isinstance(value, bytes):
        return b2a_base64(value, newline=False).decode()
    raise TypeError(f"{type(value).__name__} has no JSON")


_encode = json.JSONEncoder(default=_plain, separators=(",", ":")).encode


def _results(results: ResultList) -> str:
    try:
        return ",".join(
            [f'{{"SequenceNumber":"{item.sequence_number}","ShardId":"{item.shard_id}"}}' for item in results]
        )
    except AttributeError:  # some of them failed
        return _encode(list(results.maps()))[1:-1]


def _records(records: RecordList) -> list[str]:
    """Each as a text; one empty text for none."""
    suffix = ',"EncryptionType":"KMS"}' if records.encrypted else "}"
    written = []
    shown_ms, shown = -1, ""  # records of one batch came in one moment
    for record in records:
        ms = record.arrival_us // 1000
        if ms != shown_ms:
            shown_ms, shown = ms, f"{ms // 1000}.{ms % 1000:03d}"
        data = b2a_base64(record.data, newline=False).decode()
        key = record.partition_key
        named = "" if key is None else f',"PartitionKey":{quote(key)}'
        written.append(
            f'{{"SequenceNumber":"{record.sequence_number}","ApproximateArrivalTimestamp":{shown},'
            f'"Data":"{data}"{named}{suffix}'
        )
    return written or [""]
