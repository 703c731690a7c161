"""One shard: read a batch, get one record, compare-and-append, its facts. Knows one log, and no other shard.

What a shard needs of its stream comes through ShardHome; a Shard is cheap and keeps nothing that a fork would break.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, overload

from streamstore import attributes, clock, iterators, limits, native, routing
from streamstore.errors import (
    CorruptRangeError,
    InvalidArgumentError,
    InvalidTypeError,
    KeyUnavailableError,
    ShardClosedError,
    StreamFullError,
    StreamStoreError,
    TailMismatchError,
    TrimmedError,
)
from streamstore.events import StreamInfo
from streamstore.iterators import Place, Start
from streamstore.lineage import Node
from streamstore.native import PutResult, Record, make_put_result
from streamstore.values import Appended, HashRange, Position, Segment, SequenceRange

if TYPE_CHECKING:
    import pyarrow


class ShardHome(Protocol):
    """What a shard asks of the stream it belongs to."""

    name: str

    @property
    def token(self) -> str: ...
    def log(self, index: int) -> native.Log: ...
    @property
    def info(self) -> StreamInfo: ...
    def node(self, index: int) -> Node: ...
    def children(self, index: int) -> tuple[int, ...]: ...
    def append(
        self, log: native.Log, entries: list[tuple[Any, Any, Any]], attribute_blocks: list[bytes | None], tail: int = 0
    ) -> Appended: ...
    def explain(self, error: StreamStoreError) -> StreamStoreError: ...
    def ensure_limits(self, info: StreamInfo) -> None: ...
    def make_room(self, needs: Mapping[int, int]) -> None: ...
    def lazy_shard(self, index: int) -> Shard: ...


class Batch(Sequence[Record]):
    """What one read of a shard gave: a sequence of records, and how to go on.

    `next_position` is the start of the next read; `millis_behind_latest` is 0 at the tip; `end_of_shard` says that
    a closed shard has been read to its end, and `child_shards` then names those that go on.
    """

    __slots__ = ("_records", "child_shards", "end_of_shard", "millis_behind_latest", "next_position")

    def __init__(
        self,
        records: list[Record],
        next_position: Position,
        millis_behind_latest: int,
        end_of_shard: bool,
        child_shards: tuple[str, ...] = (),
    ) -> None:
        self._records = records
        self.next_position = next_position
        self.millis_behind_latest = millis_behind_latest
        self.end_of_shard = end_of_shard
        self.child_shards = child_shards

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        return self._records[index]

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records)

    def __repr__(self) -> str:
        return f"<Batch of {len(self._records)} records, {self.millis_behind_latest} ms behind>"


class Shard:
    """One shard of a stream. Any thread; picklable; valid after a fork."""

    id: str
    index: int

    def __init__(self, home: ShardHome, index: int, shard_id: str) -> None:
        self.id = shard_id
        self.index = index
        self._home = home
        self._last: tuple[Position, Place] | None = None  # the latest next_position, known to be a boundary

    def __reduce__(self) -> tuple[Callable[[int], Shard], tuple[int]]:
        return self._home.lazy_shard, (self.index,)

    def __repr__(self) -> str:
        return f"<Shard {self._home.name}/{self.id}>"

    def _log(self) -> native.Log:
        return self._home.log(self.index)

    @property
    def hash_range(self) -> HashRange:
        """The hash keys it owns, both ends included."""
        return self._home.node(self.index).hash_range

    @property
    def parents(self) -> tuple[str, ...]:
        """The ids of the shards it came from, as they were named in the split or merge; empty for a first one."""
        return tuple(map(routing.shard_id, self._home.node(self.index).parents))

    @property
    def parent(self) -> str | None:
        """The id of the shard that was split, or that was named first in the merge."""
        return next(iter(self.parents), None)

    @property
    def adjacent_parent(self) -> str | None:
        """The id of the other shard of the merge that made it."""
        return next(iter(self.parents[1:]), None)

    @property
    def children(self) -> tuple[str, ...]:
        """The ids of the shards that went on with its keys; empty while it is open."""
        return tuple(map(routing.shard_id, self._home.node(self.index).children))

    @property
    def is_closed(self) -> bool:
        """Was it ended by a split or merge?"""
        return self._home.node(self.index).closed is not None or bool(self._log().state().closed)

    @property
    def record_count(self) -> int:
        """Records that can be read."""
        state = self._log().state()
        return state.record_count - state.start_record_count

    @property
    def sequence_range(self) -> SequenceRange:
        """The lowest number it may hold, and the highest once it is closed."""
        node = self._home.node(self.index)
        floor = max(self._home.info.epoch_floor, node.epoch_floor)
        first = native.sequence_number(floor + 1, native.FIRST_POSITION, self.index)
        if node.closed is not None:
            return SequenceRange(first, native.sequence_number(node.closed.epoch, node.closed.end, self.index))
        state = self._log().state()
        return SequenceRange(
            first, native.sequence_number(state.epoch, state.tail, self.index) if state.closed else None
        )

    @property
    def tail(self) -> Position:
        """Where the next record goes: what append takes as `expected_tail`, and a start for a read."""
        state = self._log().state()
        return self._position(Place(state.tail, state.epoch))

    def _position(self, place: Place) -> Position:
        return iterators.make_position(self._home.token, {self.id: place})

    def _number(self, sequence_number: str) -> tuple[int, int]:
        epoch, position, index = native.parse_sequence_number(sequence_number)
        if index != self.index:
            raise InvalidArgumentError(
                f"sequence number {sequence_number} belongs to shard index {index}, not to {self.id}"
            )
        return epoch, position

    # --- reading ----------------------------------------------------------------------------------------------------

    def read(
        self,
        start: Any = None,
        *,
        after: str | None = None,
        at: str | None = None,
        limit: int = limits.READ_BATCH_RECORDS,
    ) -> Batch:
        """Read up to `limit` records, and at most about 10 MiB, in order; an empty batch at the tip.

        `start` is "TRIM_HORIZON" (where nothing is given), "LATEST", an aware datetime, seconds since 1970 or a
        position; `after` and `at` are sequence numbers. Raises TrimmedError, CorruptRangeError (once everything
        before the damage was delivered), StreamNotFoundError, InvalidArgumentError, InvalidTypeError.
        """
        if type(limit) is not int:
            raise InvalidTypeError(f"limit is an int, not {type(limit).__name__}")
        if not 1 <= limit <= limits.READ_BATCH_RECORDS:
            raise InvalidArgumentError(f"limit is 1 to {limits.READ_BATCH_RECORDS}, not {limit}")
        place, log = self._place(start, after, at)
        try:
            return self._read(log, place, limit)
        except (CorruptRangeError, TrimmedError):
            raise
        except StreamStoreError as error:
            raise self._home.explain(error) from None

    def _place(self, start: Any, after: str | None, at: str | None) -> tuple[Place, native.Log]:
        if sum(item is not None for item in (start, after, at)) > 1:
            raise InvalidArgumentError("give one of start, after and at")
        log = self._log()
        last = self._last
        if last is not None and start is last[0]:
            return last[1], log
        if after is not None:
            where = Start("AFTER", self._number(after))
        elif at is not None:
            where = Start("AT", self._number(at))
        else:
            parsed = iterators.parse("TRIM_HORIZON" if start is None else start, self._home.token)
            where = iterators.place_in(parsed, self.id)
        try:
            return iterators.resolve(where, log), log
        except StreamStoreError as error:
            raise self._home.explain(error) from None

    def _read(self, log: native.Log, place: Place, limit: int) -> Batch:
        found: list[Record] = []
        position, left = place.position, limits.READ_BATCH_SIZE
        while True:
            visible, closed = log.reach()
            size = max(min(limits.READ_CHUNK_SIZE, visible - position), 4 * limits.KIB)
            try:
                records, following, seen, ended, status, begin, end = log.read(position, 0, limit - len(found), size)
            except KeyUnavailableError:
                if not found:
                    raise
                break  # told by the next read
            found += records
            left -= following - position
            position = following
            if status:
                if not found:
                    raise self.failure(log, place, status, begin, end)
                position = found[-1].next_position  # the next read meets the damage
            ended = ended or (closed and not status and position >= visible)
            if status or ended or not records or position >= seen or len(found) >= limit or left <= 0:
                break
        place = Place(position, found[-1].epoch if found else place.epoch)
        token = self._position(place)
        self._last = (token, place)
        behind = 0 if position >= seen or not found else max(0, (clock.now_us() - found[-1].arrival_us) // 1000)
        children = self._home.children(self.index) if ended else ()
        return Batch(found, token, behind, bool(ended), tuple(map(routing.shard_id, children)))

    def failure(self, log: native.Log, place: Place, status: int, begin: int, end: int) -> StreamStoreError:
        """The error for a read at `place` that ended in TRIMMED or CORRUPT, with what the caller needs to go on."""
        error = native.error_for(status, self.id)
        if isinstance(error, TrimmedError):
            start = log.state().start
            error = TrimmedError(
                f"{self.id}: position {place.position} was trimmed; the oldest record kept is at {start}"
            )
            error.shard_id, error.next_position = self.id, self._position(Place(start, place.epoch))
        elif isinstance(error, CorruptRangeError):
            epoch, epoch_after = log.epochs_around(begin, end)
            first = native.sequence_number(epoch, begin, self.index)
            last = native.sequence_number(epoch_after, max(begin, end - 8), self.index)
            error = CorruptRangeError(
                f"{self.id}: bytes {begin} to {end} are damaged, records {first} to {last}; read on from .next_position"
            )
            error.shard_id, error.first, error.last, error.begin, error.end = self.id, first, last, begin, end
            error.next_position = self._position(Place(end, max(log.epoch_at(end), place.epoch)))
        return error

    def get(self, sequence_number: str) -> Record:
        """The record of that number.

        Raises InvalidArgumentError where the number is none of this shard's or no such record stands there (it was
        never acknowledged, and lost), TrimmedError, CorruptRangeError.
        """
        epoch, position = self._number(sequence_number)
        log = self._log()
        try:
            record = log.get(position, epoch)
        except CorruptRangeError:
            raise self.failure(log, Place(position, epoch), native.CORRUPT, position, position + 8) from None
        except TrimmedError:
            raise self.failure(log, Place(position, epoch), native.TRIMMED, 0, 0) from None
        except StreamStoreError as error:
            raise self._home.explain(error) from None
        if record is None:
            if position < log.state().start:
                raise self.failure(log, Place(position, epoch), native.TRIMMED, 0, 0)
            raise InvalidArgumentError(
                f"{self.id} has no record {sequence_number}: it was never acknowledged, or is another store's"
            )
        return record

    def read_arrow(
        self, start: Any = None, limit: int = 100_000, *, after: str | None = None, at: str | None = None
    ) -> pyarrow.RecordBatch:
        """Up to `limit` records as one pyarrow.RecordBatch, with no Python object per record (needs the extra `arrow`).

        Columns: data (binary_view), partition_key (string_view, nullable), epoch and position (uint64) and shard
        (uint32), which together are the sequence number, ordinal (uint64), arrival (timestamp, µs, UTC), attributes
        (binary_view, nullable: the msgpack block). Views point into one buffer of at most about 256 MiB, which a batch
        keeps whole; only a batch without rows means the tip. The schema's metadata has `next_position`, in JSON. Raises
        what `read` raises.
        """
        from streamstore import arrow

        if type(limit) is not int:
            raise InvalidTypeError(f"limit is an int, not {type(limit).__name__}")
        if not 1 <= limit <= limits.ARROW_RECORDS_MAX:
            raise InvalidArgumentError(f"limit is 1 to {limits.ARROW_RECORDS_MAX}, not {limit}")
        place, log = self._place(start, after, at)
        columns = arrow.read(log, place.position, limit)
        if columns.status and not columns.count:
            raise self.failure(log, place, columns.status, *columns.damage)
        batch = arrow.to_batch(columns)
        epoch = batch.column("epoch")[-1].as_py() if columns.count else place.epoch
        position = self._position(Place(columns.next_position, epoch))
        return batch.replace_schema_metadata({"next_position": json.dumps(position)})

    # --- writing ----------------------------------------------------------------------------------------------------

    def append(self, batch: Sequence[Any], expected_tail: Position | None = None) -> list[PutResult]:
        """Append a batch to this very shard, whatever the keys: all of it at one place, or nothing.

        Entries are as for put_records. With `expected_tail` (a value of `tail`) it is compare-and-append:
        TailMismatchError where anybody appended since. Durable at return in `sync` streams. Raises
        ShardClosedError, StoreFullError, RecordTooLargeError, InvalidArgumentError, InvalidTypeError.
        """
        size_max = self._home.info.max_record_size
        if self._home.node(self.index).closed is not None:
            raise ShardClosedError(f"{self.id} was split or merged and takes no more records: put to its stream")
        entries, blocks = [], []
        for index, item in enumerate(batch):
            entry, block = attributes.normalize(item, index)
            attributes.check(entry, index, size_max)
            entries.append(entry)
            blocks.append(block)
        if not entries:
            return []
        log = self._log()
        tail = self._expected(log, expected_tail)
        try:
            appended = self._append(log, entries, blocks, tail)
            if log.state().durability == 0:
                log.sync(appended.end_position)
        except TailMismatchError:
            raise TailMismatchError(
                f"{self.id}: somebody appended since; nothing was written. Read on from there and decide again"
            ) from None
        except StreamStoreError as error:
            raise self._home.explain(error) from None
        return [
            make_put_result(self.id, self.index, appended.epoch, position, appended.arrival_us)
            for position in appended.positions
        ]

    def _append(self, log: native.Log, entries: list[Any], blocks: list[Any], tail: int) -> Appended:
        self._home.ensure_limits(self._home.info)
        while True:
            try:
                return self._home.append(log, entries, blocks, tail)
            except StreamFullError:
                pairs = zip(entries, blocks, strict=True)
                sizes = [native.frame_size_max(entry[0], (*entry, None)[1], block) for entry, block in pairs]
                self._home.make_room({self.index: sum(sizes)})

    def _expected(self, log: native.Log, expected_tail: Mapping[str, Any] | None) -> int:
        if expected_tail is None:
            return 0
        if not isinstance(expected_tail, Mapping):
            raise InvalidTypeError(
                f"expected_tail is a position, as shard.tail gives it, not {type(expected_tail).__name__}"
            )
        place: Place = iterators.place_in(iterators.parse(expected_tail, self._home.token), self.id).value
        state = log.state()
        # The same byte under a later epoch is another tail: what stood before it was lost and written anew.
        if state.tail != place.position or (place.epoch and state.epoch != place.epoch):
            raise TailMismatchError(f"{self.id}: the tail is {state.tail}, not {place.position}; nothing was written")
        return place.position

    # --- for tools --------------------------------------------------------------------------------------------------

    def segments(self) -> list[Segment]:
        """The segment files, oldest first."""
        return self._log().segments()

    def verify(self) -> tuple[list[dict[str, int]], dict[str, int]]:
        """Check every frame from the files: (damaged ranges, totals)."""
        log = self._log()
        state = log.state()
        return log.verify(state.start, state.visible)

    def recovery(self) -> dict[str, Any]:
        """What recovery found when this process recovered the shard."""
        return self._log().recovery()

    def seek_time(self, when: Any) -> Position:
        """The position of the first record that arrived at or after `when`."""
        us = iterators.time_us(when, "when")
        return self._position(iterators.resolve(Start("TIME", us), self._log()))
