"""Receiving: which messages the next receiver gets, out of what is due and what is new, and what has to wait.

Runs under the engine's lock. Knows the state and the stream; waits for nothing and syncs nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Protocol

import xxhash

from streamstore import clock, limits
from streamstore.journal import Journal
from streamstore.native import Record
from streamstore.queue import events
from streamstore.queue.events import FoldedDeliveries
from streamstore.queue.settings import QueueSettings
from streamstore.queue.source import Damaged, Source, Trimmed
from streamstore.queue.state import Cursor, position_of, shard_of
from streamstore.retention import JUMP_MAX_US

_log = logging.getLogger("streamstore")
_PASSED_TOGETHER = 64
_make = tuple.__new__
Taken = tuple[Record, int, int, int, int]
"""One delivery as it is handed out: (record, name, number, receives, time of the first in µs)"""


class ReceiverHome(Protocol):
    """What receiving asks of the engine."""

    def fetch(self, name: int) -> Record | None: ...
    def publish_dead(self, names: Sequence[int], reason: str) -> bool: ...


class Receiver:
    """The receives of one engine. The caller holds the lock."""

    def __init__(
        self, name: str, settings: QueueSettings, journal: Journal[FoldedDeliveries], source: Source, home: ReceiverHome
    ) -> None:
        self.name = name
        self.settings = settings
        self.journal = journal
        self.source = source
        self._home = home
        self._plain = not settings.key_order
        self._turn = 0
        self.reserve = False  # may what is received now use the space that is kept for settling?

    def receive(self, limit: int, visibility_us: int, owner: int) -> list[Taken]:
        """What engine.receive does; the state is open."""
        taken = self._receive(self.journal.state, limit, visibility_us, owner)
        if not taken and self.journal.refresh():
            taken = self._receive(self.journal.state, limit, visibility_us, owner)
        return taken

    def receive_one(self, state: FoldedDeliveries, visibility_us: int, owner: int) -> list[Taken]:
        """`receive` of one. Mostly that is the next record of the only shard, with nothing due: it is read, and said to
        be received, in one call; that is folded after it was handed out.
        """
        now_us = clock.boot_ns() // 1000
        ahead = self.source.single or self.source.find_single(state.cursors)
        if ahead is None or not self._plain or self.reserve or state.ready:
            return self.receive(1, visibility_us, owner)
        if (deadlines := state.deadlines) and deadlines[0][0] <= now_us:
            return self.receive(1, visibility_us, owner)
        journal, shard = self.journal, ahead.shard
        cursor = state.cursors.get(shard)
        if cursor is None:
            return self.receive(1, visibility_us, owner)
        take = ahead.take or ahead.bind(journal.open())
        found = take(cursor.position, journal.tail, now_us, visibility_us, owner)
        if found is True:
            return self.receive(1, visibility_us, owner)
        if found is False:
            return []
        record, tail = found
        name = shard << 64 | record.position if shard else record.position
        journal.owed, journal.tail = (_fold_one, state, shard, record, now_us, visibility_us, owner), tail
        return [(record, name, state.number + 1, 1, now_us + state.wall_offset_us)]

    def _append(self, event: bytes) -> bool:
        return self.journal.append(event, reserve=self.reserve)

    def _receive(self, state: FoldedDeliveries, limit: int, visibility_us: int, owner: int) -> list[Taken]:
        now_us = clock.boot_us()
        times = (now_us, visibility_us, owner)
        taken: list[Taken] = []
        if state.due(now_us):
            taken = self._redeliver(limit, times)
        while len(taken) < limit:
            fresh, again = self._fresh(limit - len(taken), times)
            taken += fresh
            if again:
                self.journal.state.due(now_us - 1)
                taken += self._redeliver(limit - len(taken), times)
            elif not fresh:
                break
        return taken

    def _redeliver(self, limit: int, times: tuple[int, int, int]) -> list[Taken]:
        taken: list[Taken] = []
        while limit > len(taken):
            state = self.journal.state
            names = state.candidates(limit - len(taken))
            if not names:
                break
            shard = shard_of(names[0])
            same = [name for name in names if shard_of(name) == shard]
            found, missing = self._fetch(same)
            spent = self._spent(found)
            try:
                taking = [self._taken(state, name, record, times[0]) for name, record in found.items()]
                if missing:
                    self._publish_gone(missing)
                elif spent:
                    self._home.publish_dead(spent, f"received {state.live[spent[0]].receives} times without an ack")
                elif self._append(events.redeliver(shard, [position_of(name) for name in same], times)):
                    taken += taking
            finally:
                self.journal.state.put_back(names)
                # Not what this very call took with a visibility of 0: nobody gets a message twice in one call.
                self.journal.state.due(times[0] - 1)
        return taken

    @staticmethod
    def _taken(state: FoldedDeliveries, name: int, record: Record, now_us: int) -> Taken:
        """The redelivery that is to be published next; said before, as an append may fold what others do then."""
        old = state.live[name]
        return record, name, state.number + 1, old.receives + 1, old.first_us or now_us + state.wall_offset_us

    def _fetch(self, names: Sequence[int]) -> tuple[dict[int, Record], list[int]]:
        found, missing = {}, []
        for name in names:
            record = self._home.fetch(name)
            if record is None:
                missing.append(name)
            else:
                found[name] = record
        return found, missing

    def _spent(self, names: Iterable[int]) -> list[int]:
        most = self.settings.max_receive_count
        live = self.journal.state.live
        return [name for name in names if live[name].receives >= most] if most else []

    def _publish_gone(self, names: Sequence[int]) -> None:
        # Expired (or damaged) while it was out: nobody can have it again.
        if self.journal.append(events.other("vanish", events.pairs(names)), reserve=True):
            _log.warning("queue %r: %d unacknowledged messages expired", self.name, len(names))

    def _fresh(self, limit: int, times: tuple[int, int, int]) -> tuple[list[Taken], bool]:
        """First deliveries of one shard; True beside them where records were put aside for later instead."""
        state = self.journal.state
        shards = self.source.active(state.cursors)
        for step in range(len(shards)):
            shard = shards[(self._turn + step) % len(shards)]
            cursor = state.cursors.get(shard) or self.source.first(shard)
            try:
                records = self.source.peek(shard, cursor, limit)
            except Trimmed as gone:
                self._expire(gone, cursor)
                return [], True
            except Damaged as damage:
                self._pass_damage(damage, cursor)
                raise damage.cause from None
            if records:
                self._turn += step + 1
                return self._take(shard, cursor, records, times)
            if self.source.active(state.cursors) is not shards:
                return [], True  # a shard ended, and its children begin
        return [], False

    def _take(
        self, shard: int, cursor: Cursor, records: list[Record], times: tuple[int, int, int]
    ) -> tuple[list[Taken], bool]:
        keys = [key_of(record) for record in records] if self.settings.key_order else None
        if self._must_wait(records, keys):
            return [], self._pass(shard, self.source.peek(shard, cursor, max(len(records), _PASSED_TOGETHER)))
        state = self.journal.state
        number, first_us = state.number + 1, times[0] + state.wall_offset_us
        positions = [record.position for record in records]
        if not self._append(events.receive(shard, positions, keys, _behind(records[-1]), times)):
            return [], True
        self.source.advance(shard, len(records))
        if not shard:
            return [(record, record.position, number, 1, first_us) for record in records], False
        return [(record, shard << 64 | record.position, number, 1, first_us) for record in records], False

    def _must_wait(self, records: Sequence[Record], keys: Sequence[int] | None) -> bool:
        if keys is not None:
            named = [key for key in keys if key]
            if len(set(named)) < len(named) or not self.journal.state.keys.keys().isdisjoint(named):
                return True
        blocks = [record for record in records if record.attribute_block]
        return any("delay_us" in record.attributes for record in blocks)

    def _pass(self, shard: int, records: Sequence[Record]) -> bool:
        """Put records aside: those delayed until their time, those of a busy key until it is free."""
        state, ordered = self.journal.state, self.settings.key_order
        if ordered and len(state.live) >= limits.QUEUE_HELD_MAX:
            return False
        waiting = [(record.position, self._due_us(record), key_of(record) if ordered else 0) for record in records]
        if self._append(events.other("pass", shard, _behind(records[-1]), waiting)):
            self.source.advance(shard, len(records))
        return True

    def _due_us(self, record: Record) -> int:
        """When a record is to be delivered, on the boot clock. A delay counts from the arrival by the wall clock, which
        is read now: it may have been set since the queue was opened. Set back, it makes no delay longer; where it is
        not believed (`retention`), arrivals are not its own either.
        """
        delay_us: int = record.attributes.get("delay_us", 0) if record.attribute_block else 0
        if not delay_us:
            return 0
        jump_us = self.journal.open().attachment.clock()[1]
        now_us = clock.now_us() - (jump_us if jump_us > JUMP_MAX_US else 0)
        return clock.boot_us() + min(delay_us, record.arrival_us + delay_us - now_us)

    def _expire(self, gone: Trimmed, cursor: Cursor) -> None:
        skipped = max(0, gone.ordinal - cursor.ordinal)
        moved = Cursor(gone.start, max(gone.ordinal, cursor.ordinal), 0, 0)
        if self.journal.append(events.other("expire", gone.shard, moved, gone.start, skipped), reserve=True):
            _log.warning("queue %r: %d records expired before they were delivered", self.name, skipped)
        self.source.skip_to(gone.shard, gone.start)

    def _pass_damage(self, damage: Damaged, cursor: Cursor) -> None:
        _log.error("queue %r: %s", self.name, damage.cause)
        log = self.source.log(damage.shard)
        position = min(log.seek(damage.end), log.state().tail)
        found = log.read(position, 0, 1, 4 * limits.KIB)[0]
        ordinal = found[0].ordinal - 1 if found else log.state().record_count
        self._append(events.other("pass", damage.shard, Cursor(position, ordinal, 0, 0), []))
        self.source.skip_to(damage.shard, position)


def _behind(record: Record) -> Cursor:
    behind: Cursor = _make(Cursor, (record.next_position, record.ordinal, record.position, record.epoch))
    return behind


def _fold_one(state: FoldedDeliveries, shard: int, record: Record, now_us: int, visibility_us: int, owner: int) -> None:
    state.receive_one(shard, shard << 64 | record.position, _behind(record), now_us, visibility_us, owner)


def key_of(record: Record) -> int:
    """A record's key as the key order counts it: 64 bits, 0 for none. Two keys of one hash wait for each other."""
    key = record.partition_key
    return 0 if key is None else xxhash.xxh3_64_intdigest(key.encode()) or 1
