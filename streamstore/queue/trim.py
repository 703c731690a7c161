"""Giving space back: what a queue with a stream of its own does not need any more leaves the disk.

Segments before the oldest message that is not settled go. Where a few such messages hold many bytes they are copied
into a side log first, under their old names, and the segments go all the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from streamstore import clock, limits, native, routing
from streamstore.catalog import Catalog
from streamstore.errors import StoreFullError, TailMismatchError, TrimmedError
from streamstore.events import StreamInfo
from streamstore.queue import events
from streamstore.queue.events import FoldedDeliveries
from streamstore.queue.state import Moved, name_of, position_of, shard_of
from streamstore.stream import Stream

if TYPE_CHECKING:
    from streamstore.queue.engine import Engine

_log = logging.getLogger("streamstore")
_LOOK_EVERY = 4_096
_COPY_SHARE = 4  # a segment is emptied where a quarter of it or less is still needed
_COPY_BATCH = 256
_SIDE = -1  # the side log, beside the shards
_ENTRY_SIZE_MAX = 2_200  # of a message in a snapshot: most of it is the reason of a dead letter
_ROLL_SIZE = 64 * limits.KIB  # where maintenance cuts short what would be cut later
_Fetch = Callable[[int], "native.Record | None"]


class Trimmer:
    """Trims one queue's stream and its side log."""

    def __init__(
        self, engine: Engine, stream: Stream, side_log: Callable[[], native.Log], inner: StreamInfo, catalog: Catalog
    ) -> None:
        self._engine = engine
        self._stream = stream
        self._side_log = side_log
        self._inner = inner
        self._catalog = catalog
        self._count = 0
        # By shard: where it began, and number and size of the records, when they were too many to copy.
        self._heavy: dict[int, tuple[int, int, int]] = {}

    def fetch(self, name: int, moved: Moved) -> native.Record | None:
        """The record of a message that was copied, as it was; None where the copy is gone or damaged."""
        copy = self._copy(moved.place)
        if copy is None:
            return None
        return native.make_record(
            routing.shard_id(shard_of(name)),
            shard_of(name),
            moved.epoch,
            position_of(name),
            moved.next_position,
            moved.ordinal,
            moved.arrival_us,
            copy.data,
            copy.partition_key,
            copy.explicit_hash_key,
            copy.attribute_block,
        )

    def settled(self, count: int) -> None:
        """Messages were settled: look whether a segment can go, every few thousand."""
        self._count += count
        if self._count >= _LOOK_EVERY and self._engine.settings.owned:
            self._count = 0
            for shard in self._engine.source.shards():
                self._trim(shard)

    def trim(self) -> None:
        """Give back all that can be given back now: for maintenance."""
        engine = self._engine
        with engine.journal.lock:
            engine.state()
            engine.journal.refresh()
            engine.sweep()
        if engine.settings.owned:
            for shard in engine.source.shards():
                with suppress(StoreFullError):  # what takes space is for later; what has no use any more goes
                    self._roll(shard)
                    self._copy_out(shard)
                self._trim(shard)
            with suppress(StoreFullError):
                self._tidy_side_log()
        with engine.journal.lock, suppress(StoreFullError):
            now = engine.journal.open().state()
            size, state = now.tail - now.start, engine.journal.state
            entries = len(state.live) + len(state.dead) + len(state.moved) + len(state.cursors)
            # The last snapshot may be of a time when far more was in flight.
            if engine.journal.is_long(size, _ROLL_SIZE) or size > max(_ROLL_SIZE, 4 * _ENTRY_SIZE_MAX * entries):
                engine.journal.roll()

    def relieve(self) -> None:
        """The disk is full: give back what takes no space to give back."""
        engine = self._engine
        if engine.settings.owned:
            for shard in engine.source.shards():
                self._trim(shard)
        with engine.journal.lock:
            engine.journal.shrink()

    def _floor(self, shard: int) -> int:
        engine = self._engine
        with engine.journal.lock:
            engine.journal.refresh()
            floor, tail = engine.journal.state.floor(shard), engine.journal.tail
        if engine.settings.dedup_us:
            log = engine.source.log(shard)
            floor = min(floor, log.seek_time(max(0, clock.now_us() - engine.settings.dedup_us)))
        # An acknowledgement that a power cut takes back must find its record.
        engine.journal.sync(tail)
        return floor

    def _trim(self, shard: int) -> None:
        log = self._engine.source.log(shard)
        bases = [item.base for item in log.segments() if item.live]
        floor = self._floor(shard)
        start = max((base for base in bases if base <= floor), default=0)
        if len(bases) < 2 or start <= bases[0]:
            return
        self._catalog.publish("trim", self._stream.info, starts={shard: start})
        log.trim(start)

    def _roll(self, shard: int) -> None:
        """Begin a new segment where all before it could go."""
        log = self._engine.source.log(shard)
        state = log.state()
        if state.tail > state.segment_base and state.tail - state.segment_base > _ROLL_SIZE:
            try:
                log.roll(state.tail)
            except TailMismatchError:
                return  # somebody puts: the next pass is not far

    def _copy_out(self, shard: int) -> None:
        """Copy what holds sealed segments that are otherwise empty."""
        engine = self._engine
        log = engine.source.log(shard)
        base = log.state().segment_base
        floor = self._floor(shard)
        low, high = name_of(shard, 0), name_of(shard, base)
        with engine.journal.lock:
            state = engine.journal.state
            held = [
                name
                for part in (state.live, state.dead)
                for name in part
                if low <= name < high and name not in state.moved
            ]
            cursor = state.cursors.get(shard)
        if not held or cursor is None or cursor.position < base:
            return
        # What goes then are whole segments: also what stands before the first message that is held in its own.
        start = max((item.base for item in log.segments() if item.live and item.base <= floor), default=floor)
        held.sort()
        if self._is_light(shard, held, engine.source.fetch, start, base):
            self._park(held, engine.source.fetch)

    def _is_light(self, shard: int, names: Sequence[int], fetch: _Fetch, start: int, end: int) -> bool:
        """Do these records take a quarter of what stands from `start` to `end`, or less? Reads no more of them than it
        takes to tell, and none where the last look told: maintenance comes every minute, and this may be all there is.
        """
        seen_start, seen_count, seen_size = self._heavy.get(shard, (0, 0, 0))
        if seen_start == start and len(names) >= seen_count and seen_size * _COPY_SHARE > end - start:
            return False
        size = 0
        for name in names:
            record = fetch(name)
            size += record.size if record is not None else 0
            if size * _COPY_SHARE > end - start:
                self._heavy[shard] = start, len(names), size
                return False
        return True

    def _park(self, names: Sequence[int], fetch: _Fetch) -> None:
        """Copy these into the side log, some at a time, durable before anybody is told."""
        side = self._side_log()
        for records in _batches(names, fetch):
            part, copied = list(records), list(records.values())
            entries = [(record.data, record.partition_key, record.explicit_hash_key) for record in copied]
            # Under the stream's own key: a copy must not say in plain what its record does not.
            done = self._stream.append(side, entries, [record.attribute_block or None for record in copied])
            side.sync(done.end_position)
            moved = [
                (
                    shard_of(name),
                    position_of(name),
                    place,
                    item.epoch,
                    item.next_position,
                    item.ordinal,
                    item.arrival_us,
                )
                for name, place, item in zip(part, done.positions, copied, strict=True)
            ]
            self._engine.change(partial(_parked, moved))

    def _tidy_side_log(self) -> None:
        """Move the copies on where most of what stands before them is not needed any more; nothing where there are
        none.
        """
        engine = self._engine
        side = self._side_log()
        state = side.state()
        if state.tail == state.start:
            return
        with engine.journal.lock:
            moved = dict(engine.journal.state.moved)

        def fetch(name: int) -> native.Record | None:
            return self.fetch(name, moved[name])

        if not self._is_light(_SIDE, list(moved), fetch, state.start, state.tail):
            return
        try:
            side.roll(state.tail)
            self._park(list(moved), fetch)
            engine.journal.sync(engine.journal.tail)
            # From where it was rolled here: another process may have rolled it since.
            self._catalog.publish("trim", self._inner, starts={side.shard_index: state.tail})
            side.trim(state.tail)
        except (TailMismatchError, TrimmedError):
            return  # another process is at it

    def _copy(self, place: int) -> native.Record | None:
        side = self._side_log()
        side.opener = self._stream.keys.open
        found = side.read(place, 0, 1, 4 * limits.KIB)[0]
        return found[0] if found and found[0].position == place else None


def _batches(names: Sequence[int], fetch: _Fetch) -> Iterator[dict[int, native.Record]]:
    """What there is of these, in parts that fit into memory."""
    part: dict[int, native.Record] = {}
    size = 0
    for name in names:
        record = fetch(name)
        if record is None:
            continue
        part[name] = record
        size += record.size
        if len(part) >= _COPY_BATCH or size >= limits.READ_BATCH_SIZE:
            yield part
            part, size = {}, 0
    if part:
        yield part


def _parked(moved: Sequence[tuple[int, ...]], state: FoldedDeliveries) -> bytes:
    return events.other("park", moved)
