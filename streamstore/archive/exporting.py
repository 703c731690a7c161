"""`export_stream`: the records of a stream into a file, in order of arrival."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, NamedTuple

from streamstore import clock, errors
from streamstore.archive import rows
from streamstore.archive.blocks import BlockSink
from streamstore.archive.jsonlines import LineSink
from streamstore.archive.parquet import ParquetSink
from streamstore.archive.rows import Origin, Row, Sink
from streamstore.errors import InvalidArgumentError, InvalidTypeError, StorageError, StoreFullError
from streamstore.stream import Stream

Progress = Callable[[int, int], None]
"""Called with (bytes of data, records) so far."""


class ExportResult(NamedTuple):
    """What was written: records, bytes of their data, and damaged ranges that were passed over."""

    records: int
    bytes: int
    skipped: list[dict[str, Any]]


def export_stream(
    stream: Stream,
    target: str | os.PathLike[str] | BinaryIO,
    *,
    form: str | None = None,
    start: Any = "TRIM_HORIZON",
    end: Any = None,
    skip_damaged: bool = False,
    progress: Progress | None = None,
) -> ExportResult:
    """Write the records of a stream from `start` to `end` (as for `stream.read`), oldest first over all shards.

    `form` is "archive" (ours: msgpack and lz4 with checks), "jsonl" or "parquet" (extra `arrow`); where None, by the
    target's suffix, .jsonl and .parquet. Each record goes with its sequence number, arrival time, shard, keys, event
    time and attributes. A path must not exist; it has its name once the file is whole and durable. A file object is
    written front to back. Raises InvalidArgumentError, CorruptRangeError (with skip_damaged the range is passed over
    and told in the result), KeyUnavailableError, StoreFullError, StorageError.
    """
    chosen = form or _form_of(target)
    if chosen not in rows.FORMS:
        raise InvalidArgumentError(f"form is one of {', '.join(rows.FORMS)}, not {form!r}")
    origin = Origin(stream.token, stream.name)
    with _opened(target) as file:
        sink = _sink(chosen, file, origin, stream)
        count = size = 0
        skipped: list[dict[str, Any]] = []
        for batch in _batches(stream, start, end, skipped if skip_damaged else None):
            sink.rows(batch)
            count += len(batch)
            size += sum(len(row.data) for row in batch)
            if progress is not None:
                progress(size, count)
        sink.end()
    return ExportResult(count, size, skipped)


def _form_of(target: Any) -> str:
    try:
        suffix = os.path.splitext(os.fsdecode(target))[1].lower()
    except TypeError:
        return "archive"
    return {".jsonl": "jsonl", ".json": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}.get(suffix, "archive")


def _sink(form: str, file: BinaryIO, origin: Origin, stream: Stream) -> Sink:
    if form == "jsonl":
        return LineSink(file, origin)
    if form == "parquet":
        return ParquetSink(file, origin)
    facts = {"arn": stream.arn, "durability": stream.durability, "made_us": clock.now_us()}
    return BlockSink(file, origin, facts)


def _batches(stream: Stream, start: Any, end: Any, skipped: list[dict[str, Any]] | None) -> Iterator[list[Row]]:
    """What a reader gives in order of arrival; it goes on behind damage where that is to be noted in `skipped`."""
    while True:
        with stream.read(start, end=end, merge=True) as reader:
            try:
                for batch in reader.batches():
                    yield [rows.from_record(record) for record in batch]
                return
            except errors.CorruptRangeError as error:
                if skipped is None:
                    raise
                names = ("shard_id", "begin", "end", "first", "last")
                skipped.append({name: getattr(error, name) for name in names})
                start = error.next_position


@contextmanager
def _opened(target: Any) -> Iterator[BinaryIO]:
    """A file object as it is; a path by way of a file beside it, which goes where something fails."""
    if hasattr(target, "write"):
        yield target
        return
    try:
        path = os.path.abspath(os.fsdecode(target))
    except TypeError:
        raise InvalidTypeError(f"target is a path or a binary file, not {type(target).__name__}") from None
    if os.path.lexists(path):
        raise InvalidArgumentError(f"{path} exists already")
    partial = path + ".partial"
    try:
        handle = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "wb", buffering=1 << 20) as file:
            yield file
            file.flush()
            os.fsync(handle)
        os.rename(partial, path)
        directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except BaseException as error:
        with suppress(FileNotFoundError):
            os.unlink(partial)
        if isinstance(error, OSError):
            text = f"{error.filename or path}: {error.strerror or error}"
            if error.errno == 28:
                raise StoreFullError(text) from error
            failure = StorageError(text)
            failure.errno = error.errno or 0
            raise failure from error
        raise
