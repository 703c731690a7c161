"""A stream: putting to its shards, splitting and merging them, reading all of them, clearing it. Knows its own shards
and the catalog.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from streamstore import attributes as blocks
from streamstore import clock, description, events, iterators, limits, native, newest, reshard, retention, routing
from streamstore.block_sealing import unsealer
from streamstore.bounds import bind
from streamstore.catalog import Catalog
from streamstore.compacting import Compacting
from streamstore.cursor import Options
from streamstore.door import CURABLE, Door
from streamstore.encryption import EncryptedStream
from streamstore.errors import (
    InvalidArgumentError,
    InvalidTypeError,
    PartialPutError,
    ReadOnlyError,
    ShardClosedError,
    StoreFullError,
    StreamNotFoundError,
    StreamStoreError,
)
from streamstore.events import StreamInfo
from streamstore.iterators import Place
from streamstore.keeping import Keeping
from streamstore.keys import KeyRing
from streamstore.lineage import Lineage, Node, Step
from streamstore.native import PutResult, PutResults, Record
from streamstore.reader import Reader
from streamstore.sealing import StreamKeys
from streamstore.shard import Shard
from streamstore.user_records import taking_apart
from streamstore.values import HashRange, LogOptions, LogState, PutEntry

if TYPE_CHECKING:
    from streamstore.consumer import Consumer


class StreamHome(Protocol):
    """What a stream asks of its store."""

    attachment: native.Attachment
    catalog: Catalog
    clock: retention.TrustedClock
    key_ring: KeyRing | None

    @property
    def store_id(self) -> str: ...
    def lazy_stream(self, name: str) -> Stream: ...


class Stream(EncryptedStream, Keeping, Compacting):
    """A named stream of a store. Any thread; picklable as store + name; goes on after a fork.

    Made by `store.create_stream` and `store.stream`.
    """

    def __init__(self, home: StreamHome, key: events.Key, info: StreamInfo | None = None) -> None:
        self.name = key[2]
        self.attachment = home.attachment
        self._home = home
        self._key = key
        self._info = info
        self.keys = StreamKeys(self.check, home.key_ring)
        self.horizon = retention.Horizon(home.clock, self.kept_us)
        self._logs: dict[int, native.Log] = {}
        self._door = Door(self)

    def __reduce__(self) -> tuple[Callable[[str], Stream], tuple[str]]:
        return self._home.lazy_stream, (self.name,)

    def __repr__(self) -> str:
        return f"<Stream {self.name!r} of {self.attachment.path}>"

    # --- facts ------------------------------------------------------------------------------------------------------

    @property
    def info(self) -> StreamInfo:
        """What the catalog said when this object last looked; `check` looks."""
        if self._info is None:
            self._info = self._home.catalog.find(self._key)
        return self._info

    @property
    def durability(self) -> str:
        """`sync`, `interval` or `process`: what an acknowledgement waits for."""
        return self.info.durability

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
        return self.check().extra.get(name)

    def annotate(self, name: str, update: Callable[[Any], Any]) -> Any:
        """Keep a plain value with the stream under a name of one's own: what `update` makes of the present one.

        The value is what msgpack carries. Durable at return; atomic against every process: `update` runs again where
        another was faster, and may raise to refuse. Raises StreamNotFoundError, ReadOnlyError, StoreFullError.
        """
        return self._home.catalog.annotate(self.info, name, update)

    def check(self) -> StreamInfo:
        """What the catalog says now. Raises StreamNotFoundError where the stream was deleted (also when a new one has
        its name), ClosedError if closed.
        """
        self._info = self._home.catalog.current(self.info)
        return self._info

    def explain(self, error: StreamStoreError) -> StreamStoreError:
        """The error to raise instead of one of the core's: a stream that was deleted shows as a closed or missing
        log.
        """
        if isinstance(error, (StreamNotFoundError, *CURABLE)) and not self.attachment.closed:
            try:
                self.check()
            except StreamStoreError as better:
                return better
        return error

    # --- shards -----------------------------------------------------------------------------------------------------

    def shards(self) -> list[Shard]:
        """All shards by index, open and closed; closed ones until all their records are past retention."""
        return [self.lazy_shard(index) for index in self.check().lineage.indexes()]

    def shard(self, shard_id: str) -> Shard:
        """The shard of that id. Raises InvalidArgumentError where the stream has none."""
        index = routing.shard_index(shard_id)
        self._node(index)
        return self.lazy_shard(index)

    def _node(self, index: int) -> Node:
        shards = self.check().lineage
        if index not in shards or shards[index].expired:
            newest = routing.shard_id(shards.next_index - 1)
            raise InvalidArgumentError(
                f"stream {self.name!r} has no shard {routing.shard_id(index)}: its last is {newest}"
                if index not in shards
                else f"the records of {routing.shard_id(index)} of stream {self.name!r} are past retention; go on with "
                f"{', '.join(map(routing.shard_id, shards.nearest_living(index)))}"
            )
        return shards[index]

    def lazy_shard(self, index: int) -> Shard:
        return Shard(self, index, routing.shard_id(index))

    def node(self, index: int) -> Node:
        """What the catalog now says of one shard, expired or not."""
        return self.check().lineage[index]

    def children(self, index: int) -> tuple[int, ...]:
        """The shards that went on with a closed one's keys; none where nobody may say so yet.

        Finishes the split or merge where whoever began it died.
        """
        node = self.node(index)
        if not node.children and not self.attachment.read_only:
            with suppress(StoreFullError):  # whoever comes once there is space will do it
                self.finish_closed([index])
            node = self.node(index)
        return node.children

    # --- resharding -------------------------------------------------------------------------------------------------

    @property
    def catalog(self) -> Catalog:
        return self._home.catalog

    def finish_closed(self, indexes: Iterable[int]) -> None:
        """Finish what stands of a split or merge, or what the close frames of these shards say, whoever began it."""
        before = self.check().lineage
        if reshard.finish(self).lineage.open == before.open:
            reshard.finish_closed(self, indexes)

    def finish_reshard(self) -> None:
        """Carry out the split or merge that stands, where whoever began it died."""
        reshard.finish(self)

    def split_shard(self, shard_id: str, new_starting_hash_key: int | None = None) -> list[Shard]:
        """Close a shard and open two that share its hash keys, of which the second begins at `new_starting_hash_key`
        (None: the middle); returns them. Durable at return.

        Writers in every process go on in the children without an error; the closed shard can be read until its
        records are past retention. Raises InvalidArgumentError, StreamNotFoundError, ReadOnlyError, StoreFullError.
        """
        index = routing.shard_index(shard_id)
        if new_starting_hash_key is not None and type(new_starting_hash_key) is not int:
            raise InvalidTypeError(f"a hash key is an int, not {type(new_starting_hash_key).__name__}")

        def choose(shards: Lineage) -> Step:
            if len(shards.open) >= limits.SHARD_COUNT_MAX:
                raise InvalidArgumentError(f"a stream has at most {limits.SHARD_COUNT_MAX} open shards")
            return shards.split(index, new_starting_hash_key)

        return self._reshard(choose)

    def merge_shards(self, shard_id: str, adjacent_shard_id: str) -> Shard:
        """Close two shards whose hash keys adjoin and open one that has those of both; returns it. As split_shard."""
        index, other = routing.shard_index(shard_id), routing.shard_index(adjacent_shard_id)
        return self._reshard(lambda shards: shards.merge(index, other))[0]

    def _reshard(self, choose: Callable[[Lineage], Step]) -> list[Shard]:
        self._check_writable()
        try:
            step = reshard.decide(self, choose)
        except StreamStoreError as error:
            raise self.explain(error) from None
        return [self.lazy_shard(child.index) for child in step.children]

    def update_shard_count(self, count: int, progress: Callable[[int, int], None] | None = None) -> list[Shard]:
        """Split and merge until `count` shards of equal range are open, in the fewest steps; returns the open shards.

        `progress(done, all)` is called after each step. Every state in between is whole, so a call that was
        interrupted is simply made again. Where others reshard the stream at the same time, both are carried out.
        """
        if type(count) is not int:
            raise InvalidTypeError(f"count is an int, not {type(count).__name__}")
        if not 1 <= count <= limits.SHARD_COUNT_MAX:
            raise InvalidArgumentError(f"count is 1 to {limits.SHARD_COUNT_MAX}, not {count}")
        self._check_writable()
        try:
            reshard.to_count(self, count, progress)
        except StreamStoreError as error:
            raise self.explain(error) from None
        return [self.lazy_shard(index) for index in self.check().lineage.open]

    def _check_writable(self) -> None:
        if self.attachment.read_only:
            raise ReadOnlyError(f"{self.attachment.path} is open read-only")

    # --- logs -------------------------------------------------------------------------------------------------------

    def log(self, index: int) -> native.Log:
        """The log of one shard, attached at first use and again after a fork; touches no disk."""
        pointer = self.attachment.pointer
        log = self._logs.get(index)
        if log is None or log.keepalive is not pointer:
            options = self._log_options(index)
            log = self.attachment.log(self.info.id, index, routing.shard_id(index), options, self.horizon)
            log.opener = self.keys.open
            log.describe = partial(self._describe, index)
            self.attachment.unseal_with(self.info.id, unsealer(self.keys))
            self._logs[index] = log
        return log

    def _describe(self, index: int) -> bytes:
        return description.describe(self.check(), index)

    def _log_options(self, index: int) -> LogOptions:
        info = self.info if index in self.info.lineage else self.check()
        node = info.lineage[index]
        return LogOptions(
            info.durability,
            info.segment_size,
            info.max_record_size,
            max(info.epoch_floor, node.epoch_floor),
            info.starts.get(index, 0),
            description.describe(info, index),
            info.extra.get("reserve_size", 0),
            arrival_floor_us=node.arrival_floor_us,
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
            return self._door.put_record(data, partition_key, explicit_hash_key, block, sync)
        except CURABLE as error:
            return self._door.put_record_again(error, data, partition_key, explicit_hash_key, block, sync)

    def try_put_record(
        self, data: bytes, partition_key: str | None = None, explicit_hash_key: int | None = None
    ) -> PutResult | None:
        """Store one record if that takes no waiting at all, for event loops; else None, and nothing is written.

        Always None on a `sync` or an encrypted stream, before the first `put_record`, and wherever a put would fail in
        storage or at a reshard: the put_record that is made then waits, or says why. Raises what put_record raises for
        bad arguments.
        """
        return self._door.try_put_record(data, partition_key, explicit_hash_key)

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

    def _put_all(self, entries: Sequence[Any], blocks: Sequence[Any] | None, sync: bool) -> PutResults:
        try:
            return self._door.put_records(entries, blocks, sync)
        except (*CURABLE, PartialPutError) as error:
            return self._door.put_records_again(error, entries, blocks, sync)

    @staticmethod
    def _listed(entries: Iterable[Any]) -> list[Any]:
        if isinstance(entries, (str, bytes, bytearray, memoryview, Mapping)):
            raise InvalidTypeError(f"entries is a sequence of entries, not {type(entries).__name__}")
        try:
            return list(entries)
        except TypeError:
            raise InvalidTypeError(f"entries is a sequence of entries, not {type(entries).__name__}") from None

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
        on_corruption: str = "raise",
        deaggregate: bool | str = False,
    ) -> Reader:
        """Read all shards from `start`, which is bound now, to `end`: the tails as of this call unless said otherwise.

        `start` and `end`: "TRIM_HORIZON", "LATEST", an aware datetime, seconds since 1970, or a position. A shard that
        came from others is read once they are read to their end, so each key's records come in the order of their puts.
        follow=True waits for more, also in shards that are made later; `timeout` seconds without a record end it.
        merge=True gives all shards in arrival order (ties by shard; with follow: among what is visible).
        on_trimmed="skip" goes on behind what retention took meanwhile instead of raising TrimmedError,
        on_corruption="skip" behind what is damaged instead of raising CorruptRangeError; the reader counts both.
        deaggregate=True gives the user records in KPL aggregates, each with its own data, keys and
        `sub_sequence_number`, and positions between them; where a reshard put some beside others of another shard,
        "strict" leaves out the whole aggregate, as the KCL does, "keep-in-range" the strays; the reader counts them.
        Raises InvalidArgumentError (a naive datetime, a position of another stream), InvalidTypeError,
        StreamNotFoundError.
        """
        for what, value in (("on_trimmed", on_trimmed), ("on_corruption", on_corruption)):
            if value not in ("raise", "skip"):
                raise InvalidArgumentError(f"{what} is 'raise' or 'skip', not {value!r}")
        shards = self.check().lineage
        begin = iterators.parse(start, self.token)
        until = None if end is None else iterators.parse(end, self.token)
        timeout_us = iterators.timeout_us(timeout)
        end_us = -1
        if until is not None and until.kind == "TIME":
            end_us = until.value
            if follow and end_us > clock.now_us():
                until = None  # nobody knows yet where that is
        try:
            bounds = bind(shards, self.log, begin, until, follow)
        except StreamStoreError as error:
            raise self.explain(error) from None
        skip = on_trimmed == "skip", end_us, on_corruption == "skip"
        options = Options(follow, timeout_us, merge, *skip, taking_apart(deaggregate, self.hash_range))
        return Reader(self, bounds, options)

    def hash_range(self, index: int) -> HashRange:
        """The hash keys of the shard with that number."""
        return self.check().lineage[index].hash_range

    def read_failure(self, log: native.Log, place: Place, status: int, begin: int, end: int) -> StreamStoreError:
        return self.lazy_shard(log.shard_index).failure(log, place, status, begin, end)

    def last(self, n: int, *, deaggregate: bool | str = False) -> list[Record]:
        """The newest `n` records of all shards, in arrival order (ties by shard); `deaggregate` as for `read`.

        Raises InvalidArgumentError for a negative n.
        """
        return newest.newest(self, n, taking_apart(deaggregate, self.hash_range))

    def consumer(self, name: str, start: Any = "TRIM_HORIZON", *, deaggregate: bool | str = False) -> Consumer:
        """A member of a named consumer: goes on where that committed, or begins at `start`; members share shards.

        `deaggregate` as for `read`; a commit may then stand between the user records of an aggregate.
        """
        from streamstore import consumer

        apart = taking_apart(deaggregate, self.hash_range)
        return consumer.open_consumer(self._home, self, name, start, apart)  # type: ignore[arg-type]

    # --- clearing ---------------------------------------------------------------------------------------------------

    def written(self) -> list[int]:
        """The indexes of the shards that anybody ever wrote to, looking at directories only."""
        # A copied store may have files of a shard that nobody came to open.
        return [index for index in self.attachment.written_shards(self.info.id) if index in self.info.lineage]

    def _roll(self, index: int) -> LogState:
        log = self.log(index)
        with suppress(ShardClosedError):  # its close frame stands in a segment of its own
            log.roll()
        return log.state()

    def highest_epoch(self, indexes: Iterable[int]) -> int:
        """The highest epoch in these shards; recovers each."""
        return max((self.log(index).state().epoch for index in indexes), default=0)

    def clear(self) -> None:
        """Remove every record; sequence numbers go on increasing. Durable at return; readers elsewhere get
        TrimmedError or skip.

        Raises ReadOnlyError, StreamNotFoundError, StoreFullError.
        """
        self._check_writable()
        self.check()
        starts = {}
        epoch = 0
        try:
            for index in self.written():
                state = self._roll(index)
                # What was there when the segment began goes; what others put since stays.
                starts[index] = state.tail if state.closed else state.segment_base
                epoch = max(epoch, state.epoch)
            self.attachment.raise_epoch(epoch)
            self.catalog.publish("clear", self.info, starts=starts, epoch=epoch)
            for index, position in starts.items():
                self.log(index).trim(position)
        except StreamStoreError as error:
            raise self.explain(error) from None

    def retire(self, info: StreamInfo) -> int:
        """Let nobody write to the shards any more, in any process; returns an epoch that none of them ever reached.

        `info` is what the catalog knew of the stream when it was deleted.
        """
        self._info = info
        epoch = max(self.highest_epoch(self.written()), self.attachment.epoch_counter())
        for index in info.lineage.indexes():
            self.log(index).retire()
        self._door.forget()
        # A first publish that came between the two took at most one more, or the time of the clock.
        now_us = clock.now_us()
        return max(epoch + 1, now_us if now_us < limits.EPOCH_CLOCK_END_US else 0)
