"""The JSON form: an object a line, that other programs read and write. Bytes that are no text stand as base64."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any, BinaryIO

import msgpack

from streamstore import clock
from streamstore.archive.rows import Origin, Row, unpack_block
from streamstore.errors import InvalidArgumentError

_BATCH = 1000
_LINE_SIZE_MAX = 3 << 29


class LineSink:
    """Writes JSON lines."""

    def __init__(self, file: BinaryIO, origin: Origin) -> None:
        self._file = file
        self._origin = origin
        self._encode = json.JSONEncoder(ensure_ascii=False, default=_encode_bytes).encode

    def rows(self, rows: list[Row]) -> None:
        self._file.write("".join([self._encode(self._document(row)) + "\n" for row in rows]).encode())

    def _document(self, row: Row) -> dict[str, Any]:
        said = unpack_block(row.block)
        document: dict[str, Any] = {
            "from": self._origin.token,
            "stream": self._origin.stream,
            "shard_id": row.shard_id,
            "sequence_number": row.sequence_number,
            "arrival_time": clock.to_datetime(row.arrival_us).isoformat(timespec="microseconds"),
            "arrival_us": row.arrival_us,
            "partition_key": row.partition_key,
        }
        if row.explicit_hash_key is not None:
            document["explicit_hash_key"] = str(row.explicit_hash_key)
        if said:
            document["attributes"] = said
        try:
            document["data"] = row.data.decode()
        except UnicodeDecodeError:
            document["data_base64"] = base64.b64encode(row.data).decode()
        return document

    def end(self) -> None:
        self._file.flush()


def _encode_bytes(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"$base64": base64.b64encode(value).decode()}
    raise InvalidArgumentError(f"an attribute of type {type(value).__name__} has no JSON form: export an archive")


class LineSource:
    """Reads JSON lines as LineSink writes them. Raises InvalidArgumentError with the line's number."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._first = self._line()
        self._number = 1
        self.origin = Origin("", "")
        if self._first:
            document = self._parse(self._first)
            self.origin = Origin(str(document.get("from", "")), str(document.get("stream", "")))
            if not self.origin.token:
                raise InvalidArgumentError(
                    'line 1 says nothing of where it is from: these are not lines of an export ("from", '
                    '"sequence_number"); `streamstore ingest` takes any lines'
                )

    def _line(self) -> bytes:
        line = self._file.readline(_LINE_SIZE_MAX)
        if len(line) == _LINE_SIZE_MAX:
            raise InvalidArgumentError("a line is longer than any record")
        return line

    def batches(self) -> Iterator[list[Row]]:
        """The records, some lines at a time."""
        line, rows = self._first, []
        while line:
            if line.strip():
                rows.append(self._row(line))
            if len(rows) == _BATCH:
                yield rows
                rows = []
            line = self._line()
            self._number += 1
        if rows:
            yield rows

    def _parse(self, line: bytes) -> dict[str, Any]:
        try:
            document = json.loads(line, object_hook=_decode_bytes)
        except (ValueError, TypeError, RecursionError) as error:
            raise InvalidArgumentError(f"line {self._number} is no JSON ({error})") from None
        if not isinstance(document, dict):
            raise InvalidArgumentError(f"line {self._number} is no JSON object")
        return document

    def _row(self, line: bytes) -> Row:
        document = self._parse(line)
        try:
            if document["from"] != self.origin.token:
                raise InvalidArgumentError(f"line {self._number} is of another stream than line 1: import them apart")
            text = document.get("data")
            data = text.encode() if text is not None else base64.b64decode(document["data_base64"], validate=True)
            attributes = document.get("attributes")
            hash_key = document.get("explicit_hash_key")
            return Row(
                str(document["shard_id"]),
                str(document["sequence_number"]),
                int(document["arrival_us"]),
                document["partition_key"],
                None if hash_key is None else int(hash_key),
                msgpack.packb(attributes) if attributes else b"",
                data,
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            if isinstance(error, InvalidArgumentError):
                raise
            raise InvalidArgumentError(f"line {self._number} is no record of an export ({error!r})") from None


def _decode_bytes(value: dict[str, Any]) -> Any:
    if value.keys() == {"$base64"}:
        return base64.b64decode(value["$base64"])
    return value
