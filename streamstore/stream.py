"""A stream: routing puts to its shards, reading all of them, clearing it. Knows its own shards and the catalog.

The fast door for puts (`_hot.Target`) is bound at the first put and again when it fails in a way that a new binding
may cure: a shard closed, the store forked. Everything else passes straight through.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import msgpack

from streamstore import attributes as blocks
from streamstore import clock, events, iterators, limits, native, retention, routing, settings
from streamstore.catalog import Catalog
from streamstore.errors import (
    ClosedError,
    ForkedError,
    InvalidArgumentError,
    InvalidTypeError,
    PartialPutError,
    ReadOnlyError,
    ShardClosedError,
    StaleHandleError,
    StreamNotFoundError,
    StreamStoreError,
)
from streamstore.events import StreamInfo
from streamstore.iterators import Place, Start
from streamstore.native import PutResult, PutResults, Record
from streamstore.reader import Options, Reader
from streamstore.shard import Shard
from streamstore.values import HashRange, LogOptions, PutEntry, ShardFacts

_CURABLE = (ShardClosedError, StaleHandleError, ForkedError, ClosedError)


class StreamHome(Protocol):
    """What a stream asks of its store."""

    attachment: native.Attachment
    catalog: Catalog
    clock: retention.TrustedClock

    @property
    def store_id(self) -> str: ...
    def lazy_stream(self, name: str) -> Stream: ...


class Stream:
    """A named stream of a store. Any thread; picklable as store + name; goes on after a fork.

    Made by `store.create_stream` and `store.stream`.
    """

    def __init__(self, home: StreamHome, key: events.Key, info: StreamInfo | None = None) -> None:
        self.name = key[2]
        self.attachment = home.attachment
        self._home = home
        self._key = key
        self._info = info
        self.horizon = retention.Horizon(home.clock, self._kept_us)
        self._ranges: list[HashRange] = []
        self._logs: dict[int, native.Log] = {}
        self._lock = threading.RLock()
        self._put: Callable[..., PutResult] = self._first_put
        self._put_many: Callable[..., PutResults] = self._first_put_many
        native.watch_fork(self)

    def __reduce__(self) -> tuple[Callable[[str], Stream], tuple[str]]:
        return self._home.lazy_stream, (self.name,)

    def __repr__(self) -> str:
        return f"<Stream {self.name!r} of {self.attachment.path}>"

    def _after_fork(self) -> None:
        self._lock = threading.RLock()

    # --- facts ------------------------------------------------------------------------------------------------------

    @property
    def info(self) -> StreamInfo:
        """What the catalog said when this object was made (or first used)."""
        if self._info is None:
            self._info = self._home.catalog.find(self._key)
        return self._info

    @property
    def durability(self) -> str:
        """`sync`, `interval` or `process`: what an acknowledgement waits for."""
        return self.info.durability

    @property
    def retention_hours(self) -> int:
        """How long records can be read, as the catalog says now."""
        return self._settings().retention_hours

    def _settings(self) -> StreamInfo:
        # What anybody may have changed since `info` was looked up.
        found = self._home.catalog.refresh().streams.get(self.info.key)
        return found if found is not None and found.id == self.info.id else self.info

    def _kept_us(self) -> int:
        info = self._settings()
        return retention.retention_us(info.retention_hours, info.retention_us)

    def set_retention(self, hours: int) -> None:
        """Keep records for so many hours from now on, 24 to 8,760; durable at return.

        What falls out is gone for every reader within a second. When the time is raised, records that had fallen out
        come back as far as their files were not dropped yet. Raises InvalidArgumentError, InvalidTypeError,
        StreamNotFoundError, ReadOnlyError, StoreFullError.
        """
        settings.check_int("hours", hours, limits.RETENTION_HOURS_MIN, limits.RETENTION_HOURS_MAX)
        self._home.catalog.publish("alter", self.info, set={"retention_hours": hours, "retention_us": 0})
        self.horizon.forget()

    @property
    def arn(self) -> str:
        """The stream's name in AWS's form."""
        return f"arn:aws:kinesis:{self._key[1]}:{self._key[0]}:stream/{self.name}"

    @property
    def token(self) -> str:
        """Store id and stream number: what a position belongs to."""
        return f"{self._home.store_id}/{self.info.id}"

    def annotation(self, name: str) -> Any:
        """The value that `annotate` last gave that name, in any process; None where none did. Not to be changed.

        Raises StreamNotFoundError.
        """
        self.check()
        return self._home.catalog.find(self._key).extra.get(name)

    def annotate(self, name: str, update: Callable[[Any], Any]) -> Any:
        """Keep a plain value with the stream under a name of one's own: what `update` makes of the present one.

        The value is what msgpack carries. Durable at return; atomic against every process: `update` runs again where
        another was faster, and may raise to refuse. Raises StreamNotFoundError, ReadOnlyError, StoreFullError.
        """
        return self._home.catalog.annotate(self.info, name, update)

    def check(self) -> None:
        """Raise StreamNotFoundError where the stream was deleted (also when a new one has its name), ClosedError if
        closed.
        """
        if not self._home.catalog.is_current(self.info):
            raise StreamNotFoundError(f"the stream {self.name!r} was deleted")

    def explain(self, error: StreamStoreError) -> StreamStoreError:
        """The error to raise instead of one of the core's: a stream that was deleted shows as a closed or missing
        log.
        """
        if isinstance(error, (ShardClosedError, StreamNotFoundError, *_CURABLE)) and not self.attachment.closed:
            try:
                self.check()
            except StreamStoreError as better:
                return better
        return error

    # --- shards -----------------------------------------------------------------------------------------------------

    def shards(self) -> list[Shard]:
        """All shards, by index."""
        self.check()
        return [self.lazy_shard(index) for index in range(self.info.uniform)]

    def shard(self, shard_id: str) -> Shard:
        """The shard of that id. Raises InvalidArgumentError where the stream has none."""
        index = routing.shard_index(shard_id)
        self.check()
        if index >= self.info.uniform:
            raise InvalidArgumentError(
                f"stream {self.name!r} has no shard {shard_id}: its last is {routing.shard_id(self.info.uniform - 1)}"
            )
        return self.lazy_shard(index)

    def lazy_shard(self, index: int) -> Shard:
        return Shard(self, index, routing.shard_id(index))

    def shard_facts(self, index: int) -> ShardFacts:
        return ShardFacts(self._hash_ranges()[index], (), self.info.epoch_floor, self.info.max_record_size)

    def _hash_ranges(self) -> list[HashRange]:
        if not self._ranges:
            self._ranges = routing.uniform_ranges(self.info.uniform)
        return self._ranges

    def log(self, index: int) -> native.Log:
        """The log of one shard, attached at first use and again after a fork; touches no disk."""
        pointer = self.attachment.pointer
        log = self._logs.get(index)
        if log is None or log.keepalive is not pointer:
            options = self._log_options(index)
            log = self.attachment.log(self.info.id, index, routing.shard_id(index), options, self.horizon)
            self._logs[index] = log
        return log

    def _log_options(self, index: int) -> LogOptions:
        info = self.info
        start, end = self._hash_ranges()[index]
        # So that the catalog can be made again from the segments alone.
        description: bytes = msgpack.packb(
            {
                "name": info.name,
                "account": info.account,
                "region": info.region,
                "id": info.id,
                "shard": index,
                "hash_start": start.to_bytes(16, "big"),
                "hash_end": end.to_bytes(16, "big"),
                "parents": [],
                "retention_hours": info.retention_hours,
                "durability": info.durability,
                "max_record_size": info.max_record_size,
                "segment_size": info.segment_size,
                "uniform": info.uniform,
                "created_us": info.created_us,
            }
        )
        return LogOptions(
            info.durability,
            info.segment_size,
            info.max_record_size,
            info.epoch_floor,
            info.starts.get(index, 0),
            description,
        )

    # --- writing ----------------------------------------------------------------------------------------------------

    def put_record(
        self,
        data: bytes,
        partition_key: str | None = None,
        *,
        explicit_hash_key: int | None = None,
        attributes: Mapping[str, Any] | None = None,
        event_time: datetime | int | float | None = None,
        sync: bool = False,
    ) -> PutResult:
        """Store one record and say where it stands. Durable at return as the stream's durability says; `sync=True`
        waits for the disk.

        Data (bytes, bytearray or memoryview) and key together: at most the stream's max_record_size. The key: 1 to
        256 characters, or None with an explicit hash key (0 to 2**128 - 1) or in a stream of one shard. Attributes:
        a dict, at most 4 KiB encoded. Event time: an aware datetime or seconds since 1970. Raises
        InvalidArgumentError, InvalidTypeError and RecordTooLargeError before a byte moves; StoreFullError,
        ReadOnlyError, DurabilityUnknownError, StreamNotFoundError, ClosedError, StaleHandleError.
        """
        block = None if attributes is None and event_time is None else blocks.encode(attributes, event_time)
        try:
            return self._put(data, partition_key, explicit_hash_key, block, sync)
        except _CURABLE as error:
            return self._rebind(error).put_record(data, partition_key, explicit_hash_key, block, sync)

    def put_records(self, entries: Iterable[Any], *, sync: bool = False) -> PutResults:
        """Store many records in one call, in order within each shard, and say where each stands (one result an entry).

        An entry is (data, partition_key[, explicit_hash_key]), a dict or a PutEntry with any of data,
        partition_key, explicit_hash_key, attributes, event_time, source. A batch is atomic to readers per shard,
        not across shards. Bad entries raise InvalidArgumentError, InvalidTypeError or RecordTooLargeError before a
        byte moves; a failure in storage raises PartialPutError, whose `results` tell record by record. Durable at
        return as for put_record.
        """
        if not isinstance(entries, (list, tuple)):
            entries = self._listed(entries)
        try:
            return self._put_all(entries, None, sync)
        except (InvalidArgumentError, InvalidTypeError):
            if not any(isinstance(entry, (dict, PutEntry)) for entry in entries):
                raise
        pairs = [blocks.normalize(entry, index) for index, entry in enumerate(entries)]
        return self._put_all([entry for entry, _ in pairs], [block for _, block in pairs], sync)

    def _put_all(self, *arguments: Any) -> PutResults:
        try:
            return self._put_many(*arguments)
        except _CURABLE as error:
            return self._rebind(error).put_records(*arguments)
        except PartialPutError as error:
            return self._rebind(self._curable(error)).put_records(*arguments)

    @staticmethod
    def _curable(error: PartialPutError) -> StreamStoreError:
        """What a new binding may cure: nothing was written, anywhere. Otherwise raises the error itself."""
        for result in error.results:
            if not isinstance(result, _CURABLE):
                raise error
        cause: StreamStoreError = error.results[0]
        return cause

    @staticmethod
    def _listed(entries: Iterable[Any]) -> list[Any]:
        if isinstance(entries, (str, bytes, bytearray, memoryview, Mapping)):
            raise InvalidTypeError(f"entries is a sequence of entries, not {type(entries).__name__}")
        try:
            return list(entries)
        except TypeError:
            raise InvalidTypeError(f"entries is a sequence of entries, not {type(entries).__name__}") from None

    def _first_put(self, *arguments: Any) -> PutResult:
        return self._bind().put_record(*arguments)

    def _first_put_many(self, *arguments: Any) -> PutResults:
        return self._bind().put_records(*arguments)

    def _bind(self) -> native.Target:
        if self.attachment.read_only:
            raise ReadOnlyError(f"{self.attachment.path} is open read-only")
        with self._lock:
            self.check()
            logs = [self.log(index) for index in range(self.info.uniform)]
            target = native.make_target(
                logs,
                self._hash_ranges(),
                record_size_max=self.info.max_record_size,
                sync=self.info.durability == "sync",
            )
            self._put, self._put_many = target.put_record, target.put_records
            return target

    def _rebind(self, error: StreamStoreError) -> native.Target:
        """A new door after a failure that may only mean that the old one is out of date; otherwise the error that
        says why.
        """
        if isinstance(error, (ClosedError, StaleHandleError)) or self.attachment.read_only:
            self._forget_target()
            raise self.explain(error) from None
        return self._bind()

    def _forget_target(self) -> None:
        self._put, self._put_many = self._first_put, self._first_put_many

    # --- reading ----------------------------------------------------------------------------------------------------

    def read(
        self,
        start: Any = "TRIM_HORIZON",
        *,
        end: Any = None,
        follow: bool = False,
        timeout: float | None = None,
        merge: bool = False,
        on_trimmed: str = "raise",
    ) -> Reader:
        """Read all shards from `start`, which is bound now, to `end`: the tails as of this call unless said otherwise.

        `start` and `end`: "TRIM_HORIZON", "LATEST", an aware datetime, seconds since 1970, or a position.
        follow=True waits for more, `timeout` seconds without a record end it. merge=True gives all shards in
        arrival order (ties by shard; with follow: among what is visible). on_trimmed="skip" goes on behind what
        retention took meanwhile instead of raising TrimmedError. Raises InvalidArgumentError (a naive datetime, a
        position of another stream), InvalidTypeError, StreamNotFoundError.
        """
        if on_trimmed not in ("raise", "skip"):
            raise InvalidArgumentError(f"on_trimmed is 'raise' or 'skip', not {on_trimmed!r}")
        self.check()
        begin = iterators.parse(start, self.token)
        until = None if end is None else iterators.parse(end, self.token)
        timeout_us = iterators.timeout_us(timeout)
        end_us = -1
        if until is not None and until.kind == "TIME":
            end_us = until.value
            if follow and end_us > clock.now_us():
                until = None  # nobody knows yet where that is
        try:
            indexes = self._read_indexes(begin)
            bound = [self._bound(index, begin, until, follow) for index in indexes]
        except StreamStoreError as error:
            raise self.explain(error) from None
        return Reader(self, bound, Options(follow, timeout_us, merge, on_trimmed == "skip", end_us))

    def _read_indexes(self, begin: Start) -> Sequence[int]:
        if begin.kind != "POSITION":
            return range(self.info.uniform)
        indexes = sorted(routing.shard_index(shard_id) for shard_id in begin.value)
        if not indexes or indexes[-1] >= self.info.uniform:
            raise InvalidArgumentError("this position names a shard that the stream does not have")
        return indexes

    def _bound(self, index: int, begin: Start, until: Start | None, follow: bool) -> tuple[native.Log, Place, int]:
        log = self.log(index)
        # The end first: what arrives between the two questions must not be in neither.
        end = 0
        if until is not None:
            end = iterators.resolve(iterators.place_in(until, log.shard_id), log).position
        if not follow:
            visible = log.visible()
            end = min(end, visible) if end else visible
        return log, iterators.resolve(iterators.place_in(begin, log.shard_id), log), end

    def read_failure(self, log: native.Log, place: Place, status: int, begin: int, end: int) -> StreamStoreError:
        return self.lazy_shard(log.shard_index).failure(log, place, status, begin, end)

    def last(self, n: int) -> list[Record]:
        """The newest `n` records of all shards, in arrival order (ties by shard).

        Raises InvalidArgumentError for a negative n.
        """
        if type(n) is not int:
            raise InvalidTypeError(f"n is an int, not {type(n).__name__}")
        if n < 0:
            raise InvalidArgumentError(f"n is {n}; it must not be negative")
        self.check()
        found: list[Record] = []
        for index in range(self.info.uniform if n else 0):
            log = self.log(index)
            state = log.state()
            if state.record_count > state.start_record_count:
                position = log.seek_ordinal(max(state.record_count - n, state.start_record_count) + 1)
                with Reader(self, [(log, Place(position, 0), state.visible)], Options(skip_trimmed=True)) as reader:
                    found += reader
                found.sort(key=lambda record: record.arrival_us)
                found = found[-n:]
        return found

    # --- clearing ---------------------------------------------------------------------------------------------------

    def written(self) -> list[int]:
        """The indexes of the shards that anybody ever wrote to, looking at directories only."""
        return self.attachment.written_shards(self.info.id)

    def highest_epoch(self, indexes: Iterable[int]) -> int:
        """The highest epoch in these shards; recovers each."""
        return max((self.log(index).state().epoch for index in indexes), default=0)

    def clear(self) -> None:
        """Remove every record; sequence numbers go on increasing. Durable at return; readers elsewhere get
        TrimmedError or skip.

        Raises ReadOnlyError, StreamNotFoundError, StoreFullError.
        """
        if self.attachment.read_only:
            raise ReadOnlyError(f"{self.attachment.path} is open read-only")
        self.check()
        starts = {}
        epoch = 0
        try:
            for index in self.written():
                log = self.log(index)
                log.roll()
                state = log.state()
                # What was there when the segment began goes; what others put since stays.
                starts[index] = state.segment_base
                epoch = max(epoch, state.epoch)
            self.attachment.raise_epoch(epoch)
            self._home.catalog.publish("clear", self.info, starts=starts, epoch=epoch)
            for index, position in starts.items():
                self.log(index).trim(position)
        except StreamStoreError as error:
            raise self.explain(error) from None

    def retire(self) -> int:
        """Let nobody write to the shards any more, in any process; returns an epoch that none of them ever reached."""
        epoch = max(self.highest_epoch(self.written()), self.attachment.epoch_counter())
        for index in range(self.info.uniform):
            self.log(index).retire()
        self._forget_target()
        # A first publish that came between the two took at most one more, or the time of the clock.
        now_us = clock.now_us()
        return max(epoch + 1, now_us if now_us < limits.EPOCH_CLOCK_END_US else 0)
