"""Giving space back: what a queue with a stream of its own does not need any more leaves the disk.

Segments before the oldest message that is not settled go. Where a few such messages hold many bytes they are copied
into a side log first, under their old names, and the segments go all the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from streamstore import clock, limits, native
from streamstore.catalog import Catalog
from streamstore.errors import TailMismatchError, TrimmedError
from streamstore.queue import events
from streamstore.queue.state import name_of, position_of
from streamstore.stream import Stream

if TYPE_CHECKING:
    from streamstore.queue.engine import Engine

_log = logging.getLogger("streamstore")
_LOOK_EVERY = 4_096
_COPY_SHARE = 4  # a segment is emptied where a quarter of it or less is still needed
_COPY_BATCH = 256


class Trimmer:
    """Trims one queue's stream and its side log."""

    def __init__(self, engine: Engine, stream: Stream, side_log: Callable[[], native.Log], catalog: Catalog) -> None:
        self._engine = engine
        self._stream = stream
        self._side_log = side_log
        self._catalog = catalog
        self._count = 0

    def side_log(self) -> native.Log:
        """Where copies stand."""
        return self._side_log()

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
                self._roll(shard)
                self._copy_out(shard)
                self._trim(shard)
            self._tidy_side_log()
        with engine.journal.lock:
            engine.journal.roll()

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
        if state.tail > state.segment_base and state.tail - state.segment_base > limits.JOURNAL_ROLL_SIZE // 2:
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
        records = [record for name in sorted(held) if (record := engine.source.fetch(name)) is not None]
        if sum(record.size for record in records) * _COPY_SHARE > base - floor:
            return
        side = self._side_log()
        for begin in range(0, len(records), _COPY_BATCH):
            part = records[begin : begin + _COPY_BATCH]
            entries = [(record.data, record.partition_key, record.explicit_hash_key) for record in part]
            done = side.append(entries, attributes=[record.attribute_block or None for record in part])
            side.sync(done.end_position)
            moved = [
                (shard, record.position, place, done.epoch) for record, place in zip(part, done.positions, strict=True)
            ]
            engine.change(lambda state, moved=moved: events.other("park", moved))  # type: ignore[misc]

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
        live = [(name, record) for name, (place, _) in moved.items() if (record := self._copy(place)) is not None]
        if sum(record.size for _, record in live) * _COPY_SHARE > state.tail - state.start:
            return
        try:
            side.roll(state.tail)
            for name, record in live:
                done = side.append(
                    [(record.data, record.partition_key, record.explicit_hash_key)],
                    attributes=[record.attribute_block or None],
                )
                side.sync(done.end_position)
                place = (name >> 64, position_of(name), done.first_position, done.epoch)
                engine.change(lambda state, place=place: events.other("park", [place]))  # type: ignore[misc]
            engine.journal.sync(engine.journal.tail)
            side.trim(side.state().segment_base)
        except (TailMismatchError, TrimmedError):
            return  # another process is at it

    def _copy(self, place: int) -> native.Record | None:
        found = self._side_log().read(place, 0, 1, 4 * limits.KIB)[0]
        return found[0] if found and found[0].position == place else None
