"""Targets that are files or pipes: raw lines, JSON lines, Parquet."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Sequence
from typing import Any, BinaryIO, cast

from streamstore import attributes, clock
from streamstore.archive.parquet import ParquetSink
from streamstore.archive.rows import Row
from streamstore.errors import InvalidArgumentError, StorageError
from streamstore.targets.target import Item, Target


class RawTarget(Target):
    """The data of each item and a newline, to a binary file; the file stays open."""

    name = "raw"

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file

    def _send(self, items: Sequence[Item]) -> None:
        self._file.write(b"\n".join([item.data for item in items]) + b"\n" if items else b"")
        self._file.flush()


class JsonLinesTarget(Target):
    """A JSON object a line: keys, times, where it came from, and `data`, or `data_base64` where that is no UTF-8.

    To a binary file, which stays open, or to a path, which must not exist.
    """

    name = "jsonl"

    def __init__(self, file: BinaryIO | str | os.PathLike[str]) -> None:
        super().__init__()
        self._owned = not hasattr(file, "write")
        self._file = _created(os.fspath(cast(Any, file))) if self._owned else cast(BinaryIO, file)
        self._encode = json.JSONEncoder(ensure_ascii=False, default=_plain).encode

    def _send(self, items: Sequence[Item]) -> None:
        self._file.write("".join([self._encode(document(item)) + "\n" for item in items]).encode())
        self._file.flush()

    def close(self) -> None:
        if self._owned:
            self._file.close()


class ParquetTarget(Target):
    """A Parquet file (extra `arrow`) with the columns of an export; it has its name once it is closed and durable."""

    name = "parquet"

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        self._path = os.path.abspath(os.fspath(path))
        if os.path.lexists(self._path):
            raise InvalidArgumentError(f"{self._path} exists already")
        self._file = _created(self._path + ".partial", replace=True)
        self._done = False
        self._sink: ParquetSink | None = None
        try:
            self._sink = ParquetSink(self._file, None)
        except BaseException:
            self.abort()
            raise

    def _send(self, items: Sequence[Item]) -> None:
        assert self._sink is not None
        self._sink.rows([row_of(item) for item in items])

    def close(self) -> None:
        if self._done:
            return
        self._done = True
        assert self._sink is not None
        self._sink.end()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.rename(self._path + ".partial", self._path)

    def abort(self) -> None:
        if not self._done:
            self._done = True
            if self._sink is not None:
                self._sink.end()  # pyarrow's writer would write its end to a closed file
            self._file.close()
            os.unlink(self._path + ".partial")


def document(item: Item) -> dict[str, Any]:
    """An item as what JSON carries."""
    found: dict[str, Any] = {}
    if (arrival_us := getattr(item, "arrival_us", None)) is not None:
        found["shard_id"] = cast(Any, item).shard_id
        found["sequence_number"] = cast(Any, item).sequence_number
        found["arrival_time"] = _iso(arrival_us)
    found["partition_key"] = item.partition_key
    if item.explicit_hash_key is not None:
        found["explicit_hash_key"] = str(item.explicit_hash_key)
    if item.event_time is not None:
        found["event_time"] = _iso(attributes.event_us(item.event_time))
    if item.attributes:
        found["attributes"] = item.attributes
    if item.source:
        found["source"] = item.source
    try:
        found["data"] = bytes(item.data).decode()
    except UnicodeDecodeError:
        found["data_base64"] = base64.b64encode(item.data).decode()
    return found


def row_of(item: Item) -> Row:
    """An item as a row of a table."""
    block = getattr(item, "attribute_block", None)
    if block is None:
        block = attributes.encode(item.attributes or None, item.event_time, item.source) or b""
    return Row(
        getattr(item, "shard_id", ""),
        getattr(item, "sequence_number", ""),
        getattr(item, "arrival_us", 0),
        item.partition_key,
        item.explicit_hash_key,
        block,
        bytes(item.data),
    )


def _iso(us: int) -> str:
    return clock.to_datetime(us).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _plain(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"$base64": base64.b64encode(value).decode()}
    raise InvalidArgumentError(f"an attribute of type {type(value).__name__} has no JSON form")


def _created(path: str, *, replace: bool = False) -> BinaryIO:
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_TRUNC if replace else os.O_EXCL)
        return os.fdopen(os.open(path, flags, 0o600), "wb", buffering=1 << 20)
    except FileExistsError:
        raise InvalidArgumentError(f"{path} exists already") from None
    except OSError as error:
        failure = StorageError(f"{path}: {error.strerror}")
        failure.errno = error.errno or 0
        raise failure from None
