"""The engine of one queue in one process: decides who gets which message, publishes it, follows what others decide.

Every decision is an event in the delivery log, appended with the folded tail expected; a process that was overtaken
folds and decides again. Receives and extensions are never synced; acknowledgements, dead letters and restores are as
durable as the stream. Knows names and receipts, not bodies.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import xxhash

from streamstore import clock, limits, native
from streamstore.errors import StaleReceiptError, StreamStoreError
from streamstore.journal import Journal
from streamstore.native import Record
from streamstore.queue import events
from streamstore.queue.events import FoldedDeliveries
from streamstore.queue.settings import QueueSettings
from streamstore.queue.source import Damaged, Source, Trimmed
from streamstore.queue.state import POSITION_MASK, Cursor, position_of, shard_of

if TYPE_CHECKING:
    from streamstore.queue.trim import Trimmer

_T = TypeVar("_T")
_log = logging.getLogger("streamstore")
_PASSED_TOGETHER = 64
_LOOK_US = 100_000
Receipt = tuple[int, int]
"""(name, number of the delivery)"""
Taken = tuple[Record, int, int, int, int]
"""One delivery as it is handed out: (record, name, number, receives, time of the first in µs)"""


class Engine:
    """Deliveries of one queue. Any thread; `lock` (the journal's) guards all of it; a forked child begins anew."""

    def __init__(
        self,
        name: str,
        settings: QueueSettings,
        attachment: native.Attachment,
        attach: Callable[[], native.Log],
        make_source: Callable[[], Source],
        durability: str,
    ) -> None:
        self.name = name
        self.settings = settings
        self.attachment = attachment
        self.syncs = durability == "sync"
        self._plain = not settings.key_order
        self.journal = Journal(attach, FoldedDeliveries)
        self._make_source = make_source
        self.explain: Callable[[StreamStoreError], StreamStoreError] = lambda error: error
        self.trimmer: Trimmer
        self._parts: dict[str, Any] = {}
        self._after_fork()
        native.watch_fork(self)

    def _after_fork(self) -> None:
        self.source = self._make_source()
        self._owner = 0
        self._attached = False
        self._turn = 0
        self._looked_us = 0

    def part(self, name: str, make: Callable[[], _T]) -> _T:
        """What there is one of for all that use this engine."""
        with self.journal.lock:
            if name not in self._parts:
                self._parts[name] = make()
            found: _T = self._parts[name]
            return found

    # --- opening ----------------------------------------------------------------------------------------------------

    def state(self) -> FoldedDeliveries:
        """The state as of the latest event published; the caller holds the lock."""
        if not self._attached:
            self._attach()
        return self.journal.state

    def _attach(self) -> None:
        self.journal.open()
        boot = clock.boot_id()
        incarnation = self.attachment.info()["incarnation"]
        while not self.attachment.read_only:
            state = self.journal.state
            if state.incarnation == incarnation and state.boot == boot:
                break
            if state.incarnation and not self.syncs:
                self._find_losses(state)
            event = events.other("attach", incarnation, boot, clock.boot_us(), clock.now_us())
            self.journal.append(event)
        self._attached = True

    def _find_losses(self, state: FoldedDeliveries) -> None:
        """Where a power cut took records whose delivery it did not take, the cursor goes back to what there is."""
        for shard, cursor in list(state.cursors.items()):
            log = self.source.log(shard)
            now = log.state()
            if not cursor.last or cursor.last < now.start:
                continue
            if cursor.position <= now.tail and log.read(cursor.last, 0, 1, 4 * limits.KIB)[4]:
                continue  # damaged, which is not lost
            if cursor.position <= now.tail and log.get(cursor.last, cursor.epoch) is not None:
                continue
            # What was lost was written over from a new segment on, under a higher epoch.
            found = [item for item in log.segments() if item.live and item.epoch > cursor.epoch]
            begin = min([(item.base, item.base_ordinal) for item in found] + [(now.tail, now.record_count)])
            _log.warning("queue %r: shard %d lost records behind %d in a crash", self.name, shard, begin[0])
            self.journal.append(events.other("lose", shard, Cursor(*begin, 0, 0)))

    @property
    def owner(self) -> int:
        """This process as deliveries name it: slot << 32 | the slot's generation."""
        if not self._owner:
            slot = self.attachment.info()["slot"]
            for process in self.attachment.processes():
                if process["slot"] == slot:
                    self._owner = slot << 32 | process["generation"]
        return self._owner

    # --- receiving --------------------------------------------------------------------------------------------------

    def receive(self, limit: int, visibility_us: int, owner: int) -> list[Taken]:
        """Up to `limit` messages, in flight for `visibility_us`, or until the owner's death. Never waits, never syncs.

        Raises CorruptRangeError once where records are damaged; the next call goes on behind them.
        """
        with self.journal.lock:
            state = self.state()
            if limit == 1 and self._plain and (one := self._receive_one(state, visibility_us, owner)) is not None:
                return [one]
            taken = self._receive(state, limit, visibility_us, owner)
            if not taken and self.journal.refresh():
                taken = self._receive(self.journal.state, limit, visibility_us, owner)
            return taken

    def _receive_one(self, state: FoldedDeliveries, visibility_us: int, owner: int) -> Taken | None:
        """The short way of most receives: the next record of the only shard, where nothing is due; None where it is
        not that simple.
        """
        now_us = clock.boot_us()
        if state.ready or state.is_due(now_us):
            return None
        shards = self.source.active(state.cursors)
        if len(shards) != 1:
            return None
        shard = shards[0]
        cursor = state.cursors.get(shard)
        if cursor is None or (record := self.source.next(shard, cursor.position)) is None or record.attribute_block:
            return None
        position = record.position
        behind = Cursor(record.next_position, record.ordinal, position, record.epoch)
        if not self.journal.append(events.receive_one(shard, position, behind, now_us, visibility_us, owner)):
            return None
        self.source.advance(shard, 1)
        return record, shard << 64 | position, state.number, 1, now_us + state.wall_offset_us

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
                self.journal.state.due(now_us)
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
                if missing:
                    self._publish_gone(missing)
                elif spent:
                    self._publish_dead(spent, f"received {state.live[spent[0]].receives} times without an ack")
                elif self.journal.append(events.redeliver(shard, [position_of(name) for name in same], times)):
                    now = self.journal.state
                    taken += [self._taken(now, name, record) for name, record in found.items()]
            finally:
                self.journal.state.put_back(names)
                self.journal.state.due(times[0])
        return taken

    @staticmethod
    def _taken(state: FoldedDeliveries, name: int, record: Record) -> Taken:
        delivery = state.live[name]
        return record, name, delivery.number, delivery.receives, delivery.first_us

    def _fetch(self, names: Sequence[int]) -> tuple[dict[int, Record], list[int]]:
        found, missing = {}, []
        for name in names:
            record = self.fetch(name)
            if record is None:
                missing.append(name)
            else:
                found[name] = record
        return found, missing

    def fetch(self, name: int) -> Record | None:
        """The record of a message, wherever it stands; None where retention took it. The caller holds the lock."""
        moved = self.journal.state.moved.get(name)
        if moved is None:
            return self.source.fetch(name)
        return self.source.fetch(name, self.trimmer.side_log(), moved[0])

    def sweep(self) -> None:
        """Make dead letters of what came due and was received too often. The caller holds the lock."""
        most = self.settings.max_receive_count
        while most and self.state().due(clock.boot_us()):
            state = self.journal.state
            spent = [name for name in state.ready if state.live[name].receives >= most]
            if not spent or self._publish_dead(spent, f"received {most} times without an ack"):
                return

    def _spent(self, names: Iterable[int]) -> list[int]:
        most = self.settings.max_receive_count
        live = self.journal.state.live
        return [name for name in names if live[name].receives >= most] if most else []

    def _publish_gone(self, names: Sequence[int]) -> None:
        # Expired (or damaged) while it was out: nobody can have it again.
        if self.journal.append(events.other("vanish", events.pairs(names))):
            _log.warning("queue %r: %d unacknowledged messages expired", self.name, len(names))

    def _publish_dead(self, names: Sequence[int], reason: str) -> bool:
        if not self.journal.append(events.other("die", events.pairs(names), clock.boot_us(), reason)):
            return False
        _log.info("queue %r: %d dead letters: %s", self.name, len(names), reason)
        if self.syncs:
            self.journal.sync(self.journal.tail)
        return True

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
        positions = [record.position for record in records]
        if not self.journal.append(events.receive(shard, positions, keys, _behind(records[-1]), times)):
            return [], True
        self.source.advance(shard, len(records))
        state = self.journal.state
        number, first_us = state.number, times[0] + state.wall_offset_us
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
        waiting = []
        for record in records:
            delay_us = record.attributes.get("delay_us", 0) if record.attribute_block else 0
            until_us = record.arrival_us + delay_us - state.wall_offset_us if delay_us else 0
            waiting.append((record.position, until_us, key_of(record) if ordered else 0))
        if self.journal.append(events.other("pass", shard, _behind(records[-1]), waiting)):
            self.source.advance(shard, len(records))
        return True

    def _expire(self, gone: Trimmed, cursor: Cursor) -> None:
        skipped = max(0, gone.ordinal - cursor.ordinal)
        moved = Cursor(gone.start, max(gone.ordinal, cursor.ordinal), 0, 0)
        if self.journal.append(events.other("expire", gone.shard, moved, gone.start, skipped)):
            _log.warning("queue %r: %d records expired before they were delivered", self.name, skipped)
        self.source.skip_to(gone.shard, gone.start)

    def _pass_damage(self, damage: Damaged, cursor: Cursor) -> None:
        _log.error("queue %r: %s", self.name, damage.cause)
        log = self.source.log(damage.shard)
        position = min(log.seek(damage.end), log.state().tail)
        found = log.read(position, 0, 1, 4 * limits.KIB)[0]
        ordinal = found[0].ordinal - 1 if found else log.state().record_count
        self.journal.append(events.other("pass", damage.shard, Cursor(position, ordinal, 0, 0), []))
        self.source.skip_to(damage.shard, position)

    def bring_back(self) -> bool:
        """Make ready what processes held that are dead; True where there was any. The caller holds the lock."""
        owners = self.journal.state.owners
        if not owners or (len(owners) == 1 and self._owner in owners):
            return False
        alive = {item["slot"] << 32 | item["generation"] for item in self.attachment.processes() if item["alive"]}
        released = [self.journal.state.release(owner) for owner in set(owners) - alive]  # all of them, then any
        return any(released)

    # --- settling ---------------------------------------------------------------------------------------------------

    def acknowledge_one(self, name: int, number: int) -> None:
        """`acknowledge` of one receipt."""
        journal = self.journal
        with journal.lock:
            state = self.state()
            while True:
                delivery = state.live.get(name)
                if delivery is None or delivery.number != number:
                    self._check_gone(state, name, delivery is not None)
                    break
                if journal.append(events.acknowledge_one(name >> 64, name & POSITION_MASK)):
                    break
                state = journal.state
            tail = journal.tail
        if self.syncs:
            journal.sync(tail)
        self.trimmer.settled(1)

    def acknowledge(self, receipts: Sequence[Receipt]) -> None:
        """Done, and never delivered again. Raises StaleReceiptError naming the first that is stale, before any of its
        shard is acknowledged.
        """
        shards: dict[int, list[Receipt]] = {}
        for receipt in receipts:
            shards.setdefault(receipt[0] >> 64, []).append(receipt)
        for shard, part in shards.items():
            self._settle(lambda state, shard=shard, part=part: self._ack_event(state, shard, part))  # type: ignore[misc]
        self.trimmer.settled(len(receipts))

    def _ack_event(self, state: FoldedDeliveries, shard: int, receipts: Sequence[Receipt]) -> bytes | None:
        live = state.live
        names = []
        for name, number in receipts:
            delivery = live.get(name)
            if delivery is None or delivery.number != number:
                self._check_gone(state, name, delivery is not None)
            else:
                names.append(name)
        if not names:
            return None
        return events.acknowledge(shard, [position_of(name) for name in names] if shard else names)

    def _check_gone(self, state: FoldedDeliveries, name: int, live: bool) -> None:
        """A receipt that is not current: nothing where the message was acknowledged, else StaleReceiptError."""
        if live:
            raise StaleReceiptError(f"message {name_text(name)} was delivered again since this receipt was given")
        if name in state.dead:
            raise StaleReceiptError(f"message {name_text(name)} became a dead letter")

    def _current(self, state: FoldedDeliveries, receipts: Sequence[Receipt]) -> list[int]:
        for name, number in receipts:
            delivery = state.live.get(name)
            if delivery is None or delivery.number != number:
                self._check_gone(state, name, delivery is not None)
                raise StaleReceiptError(f"message {name_text(name)} was acknowledged already")
        return [name for name, _ in receipts]

    def extend(self, receipts: Sequence[Receipt], visibility_us: int) -> None:
        """In flight for `visibility_us` from now. Never synced. Raises StaleReceiptError."""

        def decide(state: FoldedDeliveries) -> bytes:
            names = self._current(state, receipts)
            return events.other("extend", events.pairs(names), clock.boot_us() + visibility_us)

        self._settle(decide, durable=False)
        if not visibility_us:
            self.wake()

    def nack(self, receipts: Sequence[Receipt], delay_us: int) -> None:
        """Given back, to be delivered again after `delay_us`. Raises StaleReceiptError."""

        def decide(state: FoldedDeliveries) -> bytes:
            names = self._current(state, receipts)
            return events.other("nack", events.pairs(names), clock.boot_us() + delay_us)

        self._settle(decide, durable=False)
        self.wake()

    def kill(self, receipts: Sequence[Receipt], reason: str) -> None:
        """Dead letters from now on. Raises StaleReceiptError."""

        def decide(state: FoldedDeliveries) -> bytes:
            names = self._current(state, receipts)
            return events.other(
                "die", events.pairs(names), clock.boot_us(), reason[: limits.QUEUE_REASON_CHARACTERS_MAX]
            )

        self._settle(decide)

    def change(self, decide: Callable[[FoldedDeliveries], bytes | None], *, durable: bool = True) -> None:
        """Publish the event that `decide` gives, if any; decided again where another process was faster."""
        self._settle(decide, durable=durable)

    def _settle(self, decide: Callable[[FoldedDeliveries], bytes | None], *, durable: bool = True) -> None:
        journal = self.journal
        with journal.lock:
            state = self.state()
            while True:
                event = decide(state)
                if event is None or journal.append(event):
                    break
                state = journal.state
            tail = journal.tail
        # Also where there was nothing to say: what said it before may be another process's, and not durable yet.
        if durable and self.syncs:
            journal.sync(tail)

    # --- waiting ----------------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Something was given back: whoever waits, in any process, looks again."""
        with self.journal.lock:
            shards = self.source.active(self.state().cursors)
        for shard in shards[:1]:  # with several, waits are on the store's word, which every event moves
            self.source.log(shard).wake()

    def wait(self, seen: int, timeout_us: int) -> None:
        """Wait until there may be something to receive, at most `timeout_us` (-1: no end to it); returns early at
        whim. `seen` is the attachment's watch word from before the caller last looked.
        """
        with self.journal.lock:
            state = self.state()
            if self.bring_back():
                return
            now_us = clock.boot_us()
            # A worker of another process that dies is seen at the next look.
            slice_us = _LOOK_US if state.owners else limits.WAIT_SLICE_US
            if timeout_us >= 0:
                slice_us = min(slice_us, timeout_us)
            if (due_us := state.next_deadline_us()) is not None:
                slice_us = max(0, min(slice_us, due_us - now_us))
            shards = self.source.active(state.cursors)
            place = self.source.place(shards[0], state.cursors) if len(shards) == 1 else None
        # A give-back between the caller's look and the sleep wakes nobody; it is seen at the end of this slice.
        if place is not None:
            came = place[0].wait(place[1], slice_us)
        else:
            came = self.attachment.wait(seen, slice_us)
        if not came:
            self._after_slice(shards)

    def _after_slice(self, shards: Sequence[int]) -> None:
        now_us = clock.monotonic_us()
        if now_us - self._looked_us > limits.WAIT_SLICE_US:
            self._looked_us = now_us
            with self.journal.lock:
                self.source.look_again()
            if len(shards) > 1:
                for shard in shards:
                    self.source.log(shard).sync_orphan()


def _behind(record: Record) -> Cursor:
    return Cursor(record.next_position, record.ordinal, record.position, record.epoch)


def key_of(record: Record) -> int:
    """A record's key as the key order counts it: 64 bits, 0 for none. Two keys of one hash wait for each other."""
    key = record.partition_key
    return 0 if key is None else xxhash.xxh3_64_intdigest(key.encode()) or 1


def name_text(name: int) -> str:
    return f"{shard_of(name)}-{position_of(name)}"
