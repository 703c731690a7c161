"""Capture: records of a source into a stream, each exactly once. Knows ledgers and puts, no source in particular."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, NamedTuple

from streamstore.capture import ledger
from streamstore.capture.addresses import as_source
from streamstore.capture.mirroring import Mirror
from streamstore.capture.source import Lag, Source, Taken
from streamstore.errors import ClosedError, InvalidArgumentError, PartialPutError
from streamstore.source_lock import SourceLock
from streamstore.stream import Stream

# A checkpoint is made after so many records, or so many seconds with any; reading up to there is what a resume costs.
CHECKPOINT_RECORDS = 100_000
CHECKPOINT_SECONDS = 30.0


class Captured(NamedTuple):
    """What a run did: records and bytes of data put, and seconds."""

    records: int
    bytes: int
    seconds: float


class Capture:
    """Takes the records of a source into a stream, each exactly once, whatever ends it. A context manager.

    `source` is an address (docs/capture.md), a Stream of another store, or a source that was made by hand. Where a
    record comes from is its `source`: `from`, `stream`, `shard_id`, `sequence_number`, `arrival_us`, `parents` of the
    shard; of files `file`, `path`, `position`. With `mirror_shards` the stream is split and merged as its source was:
    each shard there has one of its own here, with the same hash keys. One capture of a source into a stream at a time.
    Raises InvalidArgumentError (also where another runs, or the source has no shards), and what the source raises.
    """

    def __init__(self, stream: Stream, source: Any, *, mirror_shards: bool = False, **options: Any) -> None:
        self.stream = stream
        self.source: Source = as_source(source, **options)
        self._mirror = _mirror(stream, self.source) if mirror_shards else None
        try:
            self._lock = SourceLock(f"{stream.attachment.path}/manifest", stream.name, self.source.id)
        except BlockingIOError:
            self.source.close()
            raise InvalidArgumentError(f"another capture of {self.source.name} into {stream.name!r} runs") from None
        self._stop = threading.Event()
        self._closed = self._ran = self._under_way = False
        self._records_since = 0
        self._checkpoint_at = time.monotonic()
        self._notes: dict[str, Any] = {}
        self.records = self.bytes = 0
        try:
            self.source.fit(stream.info.max_record_size)
            self.resumed = ledger.resume(stream, self.source)
            self.checkpoint()
        except BaseException:
            self.source.close()
            self._lock.close()
            raise

    def run(self, *, follow: bool = True, progress: Callable[[Capture], None] | None = None) -> Captured:
        """Take what there is, and with `follow` what comes, until `stop` or the end of the source.

        Each batch is as durable as the stream makes it before the next is taken. `progress` is called at least twice a
        second. A checkpoint is left at the end and at Ctrl-C. Raises ClosedError for a second run, and what the source
        and the stream raise.
        """
        if self._closed or self._ran:
            raise ClosedError("a capture runs once: make another one, which goes on where this one was")
        self._ran = True
        began = time.monotonic()
        try:
            for batch in self.source.batches(follow=follow):
                self.take(batch)
                if progress is not None:
                    progress(self)
                if self._stop.is_set():
                    break
            self.checkpoint()
        except KeyboardInterrupt:
            self.checkpoint()
            raise
        finally:
            self.source.close()
        return Captured(self.records, self.bytes, time.monotonic() - began)

    def take(self, batch: Sequence[Taken]) -> None:
        """Put one batch of the source, for those who ask it for batches themselves; a checkpoint where one is due."""
        if self._is_due():
            self.checkpoint()
        if batch:
            self._put(batch)

    def _put(self, batch: Sequence[Taken]) -> None:
        self._under_way = True
        try:
            for part in self._parts(batch):
                self.stream.put_records([taken.entry for taken in part])
        except PartialPutError as error:
            raise next((each for each in error.results if isinstance(each, BaseException)), error) from error
        self.source.took(batch)
        self._under_way = False
        self.records += len(batch)
        self.bytes += sum([len(taken.entry.data) for taken in batch])
        self._records_since += len(batch)

    def _parts(self, batch: Sequence[Taken]) -> Iterable[Sequence[Taken]]:
        return [batch] if self._mirror is None else self._mirror.parts(batch)

    def _is_due(self) -> bool:
        late = time.monotonic() - self._checkpoint_at >= CHECKPOINT_SECONDS
        many = self._records_since >= CHECKPOINT_RECORDS
        # What people should hear of is counted in the checkpoint, and would be forgotten.
        return many or (late and self._records_since > 0) or self.source.notes() != self._notes

    def checkpoint(self) -> None:
        """Note in the stream's catalog how far the source is in, so that a resume has less to read.

        Nothing while records are in that the source's state does not cover, of a batch that failed half-way or of a
        capture that was killed: a resume that reads on from the checkpoint before finds them, and one that began behind
        them would take them again.
        """
        if not self._under_way and self.source.is_settled():
            ledger.checkpoint(self.stream, self.source)
            self._records_since = 0
            self._checkpoint_at = time.monotonic()
            self._notes = self.source.notes()

    def lag(self) -> Lag:
        """How far behind the source it is."""
        return self.source.lag()

    def stop(self) -> None:
        """End a run that another thread is in, within about half a second, behind what it has taken."""
        self._stop.set()

    def close(self) -> None:
        """Let go of the source."""
        if not self._closed:
            self._closed = True
            self.source.close()
            self._lock.close()

    def __enter__(self) -> Capture:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _mirror(stream: Stream, source: Source) -> Mirror:
    keys_of = getattr(source, "hash_keys", None)
    if keys_of is None:
        source.close()
        raise InvalidArgumentError(f"{source.name} has no shards that could be mirrored")
    return Mirror(stream, keys_of)
