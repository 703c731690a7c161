"""One run: lines in, batches out, nothing twice. Knows lines, fields and what is taken already; prints nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, BinaryIO

from streamstore import errors
from streamstore.cli.exits import VerbError
from streamstore.cli.ingest.lines import Line
from streamstore.cli.ingest.resume import Last, Taken
from streamstore.cli.ingest.source import position_hash
from streamstore.fields import FieldTaker
from streamstore.routing import hash_key as key_hash
from streamstore.stream import Stream
from streamstore.values import PutEntry

# A batch is put when it has so many bytes, however few its records are.
BATCH_SIZE_MAX = 4 * 1024 * 1024


@dataclass
class Tally:
    """What a run did."""

    records: int = 0
    data_bytes: int = 0
    there_already: int = 0
    without_key: int = 0
    without_time: int = 0
    position: int = 0


class Run:
    """Takes lines and puts what the stream does not hold yet, in batches that go into each shard whole and in order."""

    def __init__(
        self,
        stream: Stream,
        source_id: str,
        taker: FieldTaker,
        taken: Taken,
        *,
        batch_records: int,
        sync: bool,
        strict: bool,
    ) -> None:
        self.tally = Tally()
        self._stream = stream
        self._source_id = source_id
        self._taker = taker
        self._taken = taken
        self._batch_records = batch_records
        self._options: dict[str, Any] = {"sync": True} if sync else {}
        self._strict = strict
        self._batch: list[PutEntry] = []
        self._batch_size = 0

    def take(self, lines: Iterable[Line | None], report: Callable[[Tally], None]) -> None:
        """Put all `lines`; None among them means: put what is there now. `report` is called after every batch."""
        looked = 0
        for line in lines:
            if line is None:
                self._put()
                continue
            self._add(line)
            looked += 1
            if len(self._batch) >= self._batch_records or self._batch_size >= BATCH_SIZE_MAX:
                self._put()
                report(self.tally)
            elif looked % 10_000 == 0:
                report(self.tally)
        self._put()
        report(self.tally)

    def _add(self, line: Line) -> None:
        key, time = self._taker.take(line.data)
        hash_key = position_hash(line.position) if key is None else None
        self.tally.position = line.position + len(line.data) + line.terminated
        if line.position <= self._taken.beyond:
            known = hash_key if key is None else key_hash(key)
            assert known is not None
            if self._taken.holds(known, line.position):
                self.tally.there_already += 1
                return
        self._count_missing(line, key is None, time is None)
        source: dict[str, Any] = {"id": self._source_id, "position": line.position, "line": line.number}
        if not line.terminated:
            source["newline"] = False
        self._batch.append(PutEntry(line.data, key, hash_key, None, time, source))
        self._batch_size += len(line.data)

    def _count_missing(self, line: Line, no_key: bool, no_time: bool) -> None:
        no_key = no_key and self._taker.wants_key
        no_time = no_time and self._taker.wants_time
        if self._strict and (no_key or no_time):
            self._put()
            what = "partition key of 1 to 256 characters" if no_key else "event time"
            raise VerbError(
                f"line {line.number} (at byte {line.position}) has no {what}; without --strict it goes in all the same"
            )
        self.tally.without_key += no_key
        self.tally.without_time += no_time

    def _put(self) -> None:
        if not self._batch:
            return
        batch, self._batch = self._batch, []
        self._batch_size, size = 0, self._batch_size
        try:
            self._stream.put_records(batch, **self._options)
        except errors.PartialPutError as error:
            raise next((each for each in error.results if isinstance(each, BaseException)), error) from error
        self.tally.records += len(batch)
        self.tally.data_bytes += size


def check_same(lasts: Iterable[Last], taker: FieldTaker, file: BinaryIO | None) -> None:
    """Refuse to go on where the stream's records of this source do not agree with the options or with the file.

    A replaced file or another key would silently skip lines or take them twice.
    """
    for last in lasts:
        record = last.record
        if taker.take(record.data).key != record.partition_key:
            raise VerbError(
                f"line {last.number} went in with the key {record.partition_key!r}, which these options do not give; "
                "use the options of the first run, or name a new source with --source-id"
            )
        if file is None:
            continue
        file.seek(last.position)
        found = file.read(len(record.data) + 1)
        if found[: len(record.data)] != record.data:
            raise VerbError(
                f"line {last.number} (at byte {last.position}) is no longer what went in: the file was changed "
                "or replaced; name it as a new source with --source-id"
            )
        if found[len(record.data) :] not in (b"", b"\n"):
            raise VerbError(
                f"line {last.number} (at byte {last.position}) was not complete when it went in, and has grown since; "
                "for files that grow use --complete-lines from the first run on, with another --source-id now"
            )
