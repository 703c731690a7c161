"""Puts that look before they leap: bounds on what a queue may hold, and ids that were put already.

Both are decided by compare-and-append on the stream's own log, so that they hold with any number of processes. The ids
stand in the records: the index is made of what arrived within the window, and needs no recovery.
"""

from __future__ import annotations

import queue as std
import random
import threading
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from streamstore import attributes, clock, limits, native, routing
from streamstore.errors import StreamNotFoundError, TailMismatchError
from streamstore.lineage import Lineage
from streamstore.native import PutResult, make_put_result
from streamstore.stream import Stream

if TYPE_CHECKING:
    from streamstore.queue.engine import Engine

Item = tuple[bytes, "str | None", "bytes | None", "str | None"]
"""(data, key, attribute block, id)"""


class _Ids:
    """The ids that stand in one shard and arrived within the window."""

    def __init__(self, log: native.Log, window_us: int) -> None:
        self._window_us = window_us
        self._found: dict[str, PutResult] = {}
        self._order: deque[tuple[int, str]] = deque()
        self._position = log.seek_time(max(0, clock.now_us() - window_us))

    def fold_to(self, log: native.Log, tail: int) -> None:
        """Take in what was put up to `tail`."""
        while self._position < tail:
            size = min(max(tail - self._position, 4 * limits.KIB), limits.READ_CHUNK_SIZE)
            records, following, seen, _, status, _, end = log.read(
                self._position, tail, limits.READ_CHUNK_RECORDS, size
            )
            for record in records:
                if record.attribute_block and (id := record.attributes.get("id")) is not None:
                    self.add(id, _result_of(log, record))
            if status & 0xFF == native.TRIMMED:
                self._position = log.state().start
            elif status:
                self._position = max(end, following)
            else:
                self._position = following if following > self._position else seen

    def add(self, id: str, result: PutResult) -> None:
        self._found[id] = result
        self._order.append((result.arrival_us, id))

    def find(self, id: str) -> PutResult | None:
        """The message of that id, if it was put within the window."""
        horizon_us = clock.now_us() - self._window_us
        while self._order and self._order[0][0] < horizon_us:
            arrival_us, old = self._order.popleft()
            if self._found[old].arrival_us == arrival_us:
                del self._found[old]
        return self._found.get(id)


def place_of(id: str | None) -> int:
    """Where a message without a key goes among several shards: anywhere; with an id always to the same place."""
    return random.getrandbits(128) if id is None else routing.hash_key(id)


def _result_of(log: native.Log, record: Any) -> PutResult:
    return make_put_result(log.shard_id, log.shard_index, record.epoch, record.position, record.arrival_us)


class Guard:
    """Guarded puts of one queue. Any thread."""

    def __init__(self, engine: Engine, stream: Stream) -> None:
        self._engine = engine
        self._stream = stream
        self._settings = engine.settings
        self._after_fork()
        native.watch_fork(self)

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
        self._ids: dict[int, _Ids] = {}

    def put(self, items: Sequence[Item], timeout_us: int) -> list[PutResult]:
        """Put these one after the other; waits for room at most `timeout_us` in all (-1: no end), then queue.Full."""
        for index, (data, key, _, _) in enumerate(items):
            attributes.check((data, key, None), index, self._stream.info.max_record_size)
        until_us = -1 if timeout_us < 0 else clock.monotonic_us() + timeout_us
        results = []
        ends: dict[native.Log, int] = {}
        for item in items:
            while (result := self._try(item, ends)) is None:
                self._wait_for_room(until_us)
            results.append(result)
        if self._engine.syncs:
            for log, end in ends.items():
                log.sync(end)
        return results

    def _try(self, item: Item, ends: dict[native.Log, int]) -> PutResult | None:
        """Put one, or find that it was; None where there is no room."""
        data, key, block, id = item
        with self._lock:
            while True:
                shard, place = self._route(key, id)
                log = self._stream.log(shard)
                tail = self._settled_tail(log)
                if id is not None and self._settings.dedup_us and (found := self._find(log, tail, id)) is not None:
                    return found
                if self.room(len(data)) <= 0:
                    return None
                try:
                    done = self._stream.append(log, [(data, key, place)], [block], tail)
                except TailMismatchError:
                    continue
                ends[log] = done.end_position
                return make_put_result(log.shard_id, log.shard_index, done.epoch, done.first_position, done.arrival_us)

    @staticmethod
    def _settled_tail(log: native.Log) -> int:
        # What another process published is not visible on a sync stream before somebody synced it.
        state = log.state()
        if state.visible < state.tail:
            log.sync(state.tail)
        return state.tail

    def _find(self, log: native.Log, tail: int, id: str) -> PutResult | None:
        """The message of that id in the log up to `tail`, or in a shard that it came from."""
        ids = self._ids_of(log)
        ids.fold_to(log, tail)
        if (found := ids.find(id)) is not None:
            return found
        for index in self._lineage().living_parents(log.shard_index):
            parent = self._stream.log(index)
            if (found := self._find(parent, self._settled_tail(parent), id)) is not None:
                return found
        return None

    def _ids_of(self, log: native.Log) -> _Ids:
        found = self._ids.get(log.shard_index)
        if found is None:
            found = self._ids[log.shard_index] = _Ids(log, self._settings.dedup_us)
        return found

    def _lineage(self) -> Lineage:
        info = self._engine.source.info()
        if info is None:
            raise StreamNotFoundError(f"the stream {self._stream.name!r} was deleted")
        return info.lineage

    def _route(self, key: str | None, id: str | None) -> tuple[int, int | None]:
        """The shard as things stand now, whatever this handle knew, and the explicit hash key that says so."""
        lineage = self._lineage()
        if len(lineage.open) == 1:
            return lineage.open[0], None
        if key is not None:
            return lineage.route(routing.hash_key(key)), None
        place = place_of(id)
        return lineage.route(place), place

    def room(self, size: int = 0) -> int:
        """How much more the queue may take, by the tighter bound; 0 or less where a message of `size` has no room."""
        most, bytes_max = self._settings.max_records, self._settings.max_bytes
        if not most and not bytes_max:
            return 1
        engine = self._engine
        with engine.journal.lock:
            engine.state()
            engine.journal.refresh()
            state = engine.journal.state
            room = most - len(state.live) - engine.source.fresh_count(state.cursors) if most else 1
            if bytes_max and room > 0:
                logs = [engine.source.log(shard) for shard in engine.source.shards()]
                held = sum(log.state().tail - max(state.floor(log.shard_index), log.state().start) for log in logs)
                room = bytes_max - held - size
            return room

    def _wait_for_room(self, until_us: int) -> None:
        left_us = limits.WAIT_SLICE_US if until_us < 0 else until_us - clock.monotonic_us()
        if left_us <= 0:
            raise std.Full
        journal = self._engine.journal
        with journal.lock:
            log, tail = journal.open(), journal.tail
        if self.room() <= 0:
            log.wait(tail, min(left_us, limits.WAIT_SLICE_US))
