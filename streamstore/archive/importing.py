"""`import_stream`: the records of an exported file into a stream, each exactly once, also by a second try.

Records are put chunk by chunk, the next one only when all of a chunk stands. So after a kill, of each source shard all
records up to some chunk are there, and of that chunk any; to tell which, it is enough to remember the highest numbers
of each source shard, one more than a chunk has.
"""

from __future__ import annotations

import fcntl
import heapq
import io
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple, Protocol, cast

import xxhash

from streamstore import limits
from streamstore.archive import rows
from streamstore.archive.blocks import MAGIC, BlockSource
from streamstore.archive.jsonlines import LineSource
from streamstore.archive.parquet import ParquetSource
from streamstore.archive.rows import Origin, Row
from streamstore.errors import InvalidArgumentError, InvalidTypeError, StorageError, StreamStoreError
from streamstore.stream import Stream

Progress = Callable[[int, int], None]
"""Called with (bytes of data, records) so far, those included that were there already."""

_CHUNK_RECORDS = 1000
_CHUNK_SIZE = 16 * limits.MIB
_LOCK_BYTE_FIRST = 1 << 32


class ImportResult(NamedTuple):
    """What was put, and how many records of the file were there already."""

    records: int
    bytes: int
    present: int


class _Source(Protocol):
    origin: Origin

    def batches(self) -> Iterator[list[Row]]: ...


def import_stream(
    stream: Stream,
    source: str | os.PathLike[str] | BinaryIO,
    *,
    form: str | None = None,
    progress: Progress | None = None,
) -> ImportResult:
    """Put the records of an exported file into a stream: keys, attributes, event times and data as they were.

    They get numbers and arrival times of their own; where each came from is its `source` (`sequence_number`,
    `arrival_us`, `shard_id`, `stream`, `from`), and by that each is put exactly once: run it again after a failure and
    it goes on. `form` is found out where None. Durable at return as the stream's durability says. Raises
    InvalidArgumentError where it is no such file or an import of it is under way, StorageError where it is damaged or
    cut off (what stands before that was put), RecordTooLargeError, and what put_records raises.
    """
    with _opened(source) as file:
        reading = _reading(file, form)
        with _alone(stream, reading.origin):
            return _run(stream, reading, progress)


def _run(stream: Stream, reading: _Source, progress: Progress | None) -> ImportResult:
    taken = _Taken(stream, reading.origin)
    records = size = present = 0
    for chunk in _chunks(reading.batches()):
        fresh = [row for row in chunk if not taken.has(row)]
        present += len(chunk) - len(fresh)
        if fresh:
            stream.put_records([rows.to_entry(row, reading.origin) for row in fresh])
            records += len(fresh)
            size += sum(len(row.data) for row in fresh)
        if progress is not None:
            progress(size, records + present)
    return ImportResult(records, size, present)


def _chunks(batches: Iterator[list[Row]]) -> Iterator[list[Row]]:
    chunk: list[Row] = []
    size = 0
    for batch in batches:
        for row in batch:
            if chunk and (len(chunk) == _CHUNK_RECORDS or size + len(row.data) > _CHUNK_SIZE):
                yield chunk
                chunk, size = [], 0
            chunk.append(row)
            size += len(row.data)
    if chunk:
        yield chunk


class _Taken:
    """Which records of one origin the stream has: of each source shard the highest numbers, one more than a chunk."""

    def __init__(self, stream: Stream, origin: Origin) -> None:
        self._highest: dict[str, list[int]] = {}
        with stream.read("TRIM_HORIZON", on_trimmed="skip") as reader:
            for batch in reader.batches():
                for record in batch:
                    said = record.source
                    if said is not None and said.get("from") == origin.token and "sequence_number" in said:
                        self._add(str(said["shard_id"]), int(said["sequence_number"]))
        self._known = {shard_id: set(highest) for shard_id, highest in self._highest.items()}

    def _add(self, shard_id: str, number: int) -> None:
        highest = self._highest.setdefault(shard_id, [])
        if len(highest) <= _CHUNK_RECORDS:
            heapq.heappush(highest, number)
        else:
            heapq.heappushpop(highest, number)

    def has(self, row: Row) -> bool:
        highest = self._highest.get(row.shard_id)
        if highest is None:
            return False
        number = int(row.sequence_number)
        return number in self._known[row.shard_id] or (len(highest) > _CHUNK_RECORDS and number < highest[0])


def _reading(file: BinaryIO, form: str | None) -> _Source:
    if form is not None and form not in rows.FORMS:
        raise InvalidArgumentError(f"form is one of {', '.join(rows.FORMS)}, not {form!r}")
    if not hasattr(file, "peek"):
        file = cast(BinaryIO, io.BufferedReader(cast(Any, file)))
    head = cast(Any, file).peek(8)[:8]
    if form == "archive" or (form is None and head == MAGIC):
        return BlockSource(file)
    if form == "parquet" or (form is None and head[:4] == b"PAR1"):
        return ParquetSource(file)
    return LineSource(file)


@contextmanager
def _opened(source: Any) -> Iterator[BinaryIO]:
    if hasattr(source, "read"):
        yield source
        return
    try:
        path = os.fsdecode(source)
    except TypeError:
        raise InvalidTypeError(f"source is a path or a binary file, not {type(source).__name__}") from None
    try:
        file = open(path, "rb", buffering=1 << 20)  # noqa: SIM115
    except OSError as error:
        failure = StorageError(f"{path}: {error.strerror or error}")
        failure.errno = error.errno or 0
        raise failure from None
    with file:
        yield file


@contextmanager
def _alone(stream: Stream, origin: Origin) -> Iterator[None]:
    """Two imports of one origin into one stream would each put what the other is about to put."""
    number = xxhash.xxh3_64_intdigest(f"{origin.token} {stream.info.id}".encode()) >> 4
    lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, _LOCK_BYTE_FIRST + number, 1, 0)
    try:
        handle = os.open(os.path.join(stream.attachment.path, "manifest"), os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise StreamStoreError(f"{stream.attachment.path}: {error.strerror}") from None
    try:
        try:
            fcntl.fcntl(handle, fcntl.F_OFD_SETLK, lock)
        except (BlockingIOError, PermissionError):
            raise InvalidArgumentError(
                f"another import from {origin.stream!r} into {stream.name!r} is under way"
            ) from None
        yield
    finally:
        os.close(handle)
