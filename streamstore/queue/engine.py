"""The engine of one queue in one process: decides who gets which message, publishes it, follows what others decide.

Every decision is an event in the delivery log, appended with the folded tail expected; a process that was overtaken
folds and decides again. Receives and extensions are never synced; acknowledgements, dead letters and restores are as
durable as the stream. Knows names and receipts, not bodies.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from streamstore import clock, limits, native
from streamstore.errors import (
    ShardClosedError,
    StaleReceiptError,
    StoreFullError,
    StreamNotFoundError,
    StreamStoreError,
)
from streamstore.journal import Journal
from streamstore.native import Record
from streamstore.queue import events
from streamstore.queue.events import FoldedDeliveries
from streamstore.queue.receiver import Receiver, Taken
from streamstore.queue.settings import QueueSettings
from streamstore.queue.source import Source
from streamstore.queue.state import POSITION_MASK, Cursor, name_of, position_of, shard_of

if TYPE_CHECKING:
    from streamstore.queue.trim import Trimmer

_T = TypeVar("_T")
_log = logging.getLogger("streamstore")
_GONE = (ShardClosedError, StreamNotFoundError)
LOOK_US = 100_000
"""How often somebody looks whether the processes that hold messages still live."""
_RESERVED_BATCH = 100
_NUMBERS_APART = 1 << 20
OURS = -1
"""As the owner of a delivery: this process."""
Receipt = tuple[int, int]
"""(name, number of the delivery)"""


class Engine:
    """Deliveries of one queue. Any thread; `lock` (the journal's) guards all of it; a forked child begins anew."""

    def __init__(
        self,
        name: str,
        settings: QueueSettings,
        attachment: native.Attachment,
        attach: Callable[[], native.Log],
        announce_trim: Callable[[int], object],
        source: Source,
        durability: str,
    ) -> None:
        self.name = name
        self.settings = settings
        self.attachment = attachment
        self.syncs = durability == "sync"
        self.journal = Journal(attach, lambda: FoldedDeliveries(self._reconfigure), announce_trim)
        self.source = source
        self.receiver = Receiver(name, settings, self.journal, source, self)
        self.explain: Callable[[StreamStoreError], StreamStoreError] = lambda error: error
        self.chosen: Callable[[], QueueSettings] = lambda: settings
        self.trimmer: Trimmer
        self._parts: dict[str, Any] = {}
        self.forks = -1
        self._after_fork()
        native.watch_fork(self)

    def _after_fork(self) -> None:
        self.forks += 1
        self.source.forget()
        self._owner = 0
        self._attached = False
        self._looked_us = 0
        self._bring_back_at_us = 0
        self._forgotten: dict[int, int] = {}  # by shard: the start up to which `forget_expired` came
        self.on_store = False  # several shards: waits are on the store's word

    def _reconfigure(self) -> None:
        """Go by what the catalog says now: another may have changed the settings. Called while events are folded."""
        self.settings = self.receiver.settings = self.chosen()

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
            # A power cut, or a restore, may have taken deliveries whose receipts live on. So those of each life of the
            # store are numbered from the wall clock on, which stays ahead of them, as none takes a microsecond. Durable
            # before the first of them: where the clock went back, they are numbered apart from what was there.
            now_us = clock.now_us()
            number = now_us if now_us > state.number else state.number + _NUMBERS_APART
            event = events.other("attach", incarnation, boot, clock.boot_us(), now_us, number)
            if self.journal.append(event, reserve=True):
                self.journal.sync(self.journal.tail)
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
            self.journal.append(events.other("lose", shard, Cursor(*begin, 0, 0)), reserve=True)

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

    def receive(self, limit: int, visibility_us: int, owner: int = OURS) -> list[Taken]:
        """Up to `limit` messages, in flight for `visibility_us`, or until the owner's death. Never waits, never syncs.

        Raises CorruptRangeError once where records are damaged; the next call goes on behind them. StoreFullError on a
        full disk, unless nothing is in flight: then what it takes comes out of the reserve, as settling does.
        """
        if owner == OURS:
            owner = self._owner or self.owner
        try:
            with self.journal.lock:
                state = self.journal.state if self._attached else self.state()
                owners = state.owners
                if owners and (len(owners) > 1 or self._owner not in owners):
                    self._bring_back_soon()
                receiver = self.receiver
                if limit == 1:
                    taken = receiver.receive_one(state, visibility_us, owner)
                else:
                    taken = receiver.receive(limit, visibility_us, owner)
                if not taken and self.bring_back():
                    taken = receiver.receive(limit, visibility_us, owner)
                return taken
        except StoreFullError:
            self.trimmer.relieve()
            return self._receive_on_full(limit, visibility_us, owner)
        except _GONE as error:
            raise self.explain(error) from None

    def _bring_back_soon(self) -> None:
        # What a dead process held does not wait until there is nothing new.
        now_us = clock.boot_us()
        if now_us >= self._bring_back_at_us:
            self._bring_back_at_us = now_us + LOOK_US
            self.bring_back()

    def _receive_on_full(self, limit: int, visibility_us: int, owner: int) -> list[Taken]:
        with self.journal.lock:
            state = self.state()
            state.due(clock.boot_us())
            self.bring_back()
            # One batch at a time out of the reserve, so that there is always enough of it left to settle that one.
            self.receiver.reserve = state.held() == 0
            try:
                return self.receiver.receive(min(limit, _RESERVED_BATCH), visibility_us, owner)
            finally:
                self.receiver.reserve = False

    def fetch(self, name: int) -> Record | None:
        """The record of a message, wherever it stands; None where retention took it. The caller holds the lock."""
        moved = self.journal.state.moved.get(name)
        return self.source.fetch(name) if moved is None else self.trimmer.fetch(name, moved)

    def sweep(self) -> None:
        """Make dead letters of what came due and was received too often, and forget what expired. The caller holds the
        lock.
        """
        self.forget_expired()
        self.bring_back()
        most = self.settings.max_receive_count
        while most and self.state().due(clock.boot_us()):
            state = self.journal.state
            spent = [name for name in state.ready if state.live[name].receives >= most]
            if not spent or self.publish_dead(spent, f"received {most} times without an ack"):
                return

    def forget_expired(self) -> None:
        """Forget, and count, what retention took of a stream that is not the queue's own. The caller holds the lock."""
        if self.settings.owned or self.attachment.read_only:
            return
        for shard in self.source.shards():
            start = self.source.log(shard).state().start
            while self._forgotten.get(shard) != start:
                event = self._expire_event(shard)
                if event is None or self.journal.append(event, reserve=True):
                    self._forgotten[shard] = start

    def _expire_event(self, shard: int) -> bytes | None:
        state, now = self.state(), self.source.log(shard).state()
        cursor = state.cursors.get(shard)
        if cursor is None:
            return None
        low, high = name_of(shard, 0), name_of(shard, now.start)
        skipped = max(0, now.start_record_count - cursor.ordinal)
        if cursor.position >= now.start:
            if not any(low <= name < high for part in (state.live, state.dead) for name in part):
                return None
        else:
            cursor = Cursor(now.start, max(now.start_record_count, cursor.ordinal), 0, 0)
            self.source.skip_to(shard, now.start)
        return events.other("expire", shard, cursor, now.start, skipped)

    def publish_dead(self, names: Sequence[int], reason: str) -> bool:
        event = events.other("die", events.pairs(names), clock.boot_us(), reason)
        if not self.journal.append(event, reserve=True):
            return False
        _log.info("queue %r: %d dead letters: %s", self.name, len(names), reason)
        if self.syncs:
            self.journal.sync(self.journal.tail)
        return True

    def bring_back(self) -> bool:
        """Make ready what processes held that are dead; True where there was any. The caller holds the lock."""
        owners = self.journal.state.owners
        if not owners or (len(owners) == 1 and self._owner in owners):
            return False
        gone = set(owners) - self._alive()
        released = [self.journal.state.release(owner) for owner in gone]  # all of them, then any
        return any(released)

    def _alive(self) -> set[int]:
        """The owners that live."""
        return {item["slot"] << 32 | item["generation"] for item in self.attachment.processes() if item["alive"]}

    # --- settling ---------------------------------------------------------------------------------------------------

    def acknowledge_one(self, name: int, number: int) -> None:
        """`acknowledge` of one receipt: what most are, so without the steps that many need."""
        journal = self.journal
        try:
            with journal.lock:
                state = journal.state if self._attached else self.state()
                while True:
                    delivery = state.live.get(name)
                    if delivery is None or delivery.number != number:
                        if journal.refresh():
                            state = journal.state
                            continue
                        self._check_gone(state, (name, number))
                        break
                    event = events.acknowledge_one(name >> 64, name & POSITION_MASK)
                    if journal.append(event, state.acknowledge_one, name, reserve=True):
                        break
                    state = journal.state
                tail = journal.tail
        except _GONE as error:
            raise self.explain(error) from None
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
        if len(shards) > 1:  # what is wrong already is told before anything is done
            for shard, part in shards.items():
                self._look(partial(self._ack_event, shard=shard, receipts=part))
        for shard, part in shards.items():
            self._settle(partial(self._ack_event, shard=shard, receipts=part))
        self.trimmer.settled(len(receipts))

    def _ack_event(self, state: FoldedDeliveries, shard: int, receipts: Sequence[Receipt]) -> bytes | None:
        live = state.live
        names = []
        for name, number in receipts:
            delivery = live.get(name)
            if delivery is None or delivery.number != number:
                self._check_gone(state, (name, number))
            else:
                names.append(name)
        if not names:
            return None
        return events.acknowledge(shard, [position_of(name) for name in names] if shard else names)

    def _check_gone(self, state: FoldedDeliveries, receipt: Receipt) -> None:
        """A receipt that is not current: nothing where the message was acknowledged, else StaleReceiptError."""
        name, number = receipt
        if state.is_fresh(name) or not 0 < number <= state.number:
            raise StaleReceiptError(
                f"{name_text(name)}-{number} was never given, or a power cut took back its delivery"
            )
        if name in state.live:
            raise StaleReceiptError(f"message {name_text(name)} was delivered again since this receipt was given")
        if name in state.dead:
            raise StaleReceiptError(f"message {name_text(name)} became a dead letter")

    def _current(self, state: FoldedDeliveries, receipts: Sequence[Receipt]) -> list[int]:
        for name, number in receipts:
            delivery = state.live.get(name)
            if delivery is None or delivery.number != number:
                self._check_gone(state, (name, number))
                raise StaleReceiptError(f"message {name_text(name)} was acknowledged already")
        return [name for name, _ in receipts]

    def left_us(self, name: int) -> int:
        """How long a message stays in flight from now on, as far as was heard here; 0 where it is not."""
        with self.journal.lock:
            delivery = self.state().live.get(name)
            return max(0, delivery.deadline_us - clock.boot_us()) if delivery is not None else 0

    def extend(self, receipts: Sequence[Receipt], visibility_us: int) -> None:
        """In flight for `visibility_us` from now. Never synced. Raises StaleReceiptError."""

        def decide(state: FoldedDeliveries) -> bytes:
            names = self._current(state, receipts)
            return self.extension(state, names, clock.boot_us() + visibility_us, self.owner)

        self._settle(decide, durable=False)
        if not visibility_us:
            self.wake()

    def extension(self, state: FoldedDeliveries, names: Sequence[int], deadline_us: int, heir: int) -> bytes:
        """The event that keeps messages until then. What a dead process held is its heir's from now on: or that death
        would give it back at once.
        """
        owners = {state.live[name].owner for name in names} - {0, self._owner}
        gone = sorted(owners - self._alive()) if owners else []
        return events.other("extend", events.pairs(names), deadline_us, *([heir, gone] if gone else []))

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
        try:
            with journal.lock:
                state = self._newest()
                while True:
                    event = decide(state)
                    if event is None or journal.append(event, reserve=True):
                        break
                    state = journal.state
                tail = journal.tail
        except _GONE as error:
            raise self.explain(error) from None
        # Also where there was nothing to say: what said it before may be another process's, and not durable yet.
        if durable and self.syncs:
            journal.sync(tail)

    def _newest(self) -> FoldedDeliveries:
        # A receipt may be of a process whose receive was not folded here yet. The caller holds the lock.
        self.state()
        self.journal.refresh()
        return self.journal.state

    def _look(self, decide: Callable[[FoldedDeliveries], object]) -> None:
        try:
            with self.journal.lock:
                decide(self._newest())
        except _GONE as error:
            raise self.explain(error) from None

    # --- waiting ----------------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Something was given back: whoever waits, in any process, looks again."""
        with self.journal.lock:
            shards = self.source.active(self.state().cursors)
        for shard in shards[:1]:  # with several, waits are on the store's word, which every event moves
            self.source.log(shard).wake()

    def watch(self) -> int:
        """What `wait` is to be told: read it before looking for messages."""
        return self.attachment.watch() if self.on_store else 0

    def wait(self, seen: int, timeout_us: int) -> None:
        """Wait until there may be something to receive, at most `timeout_us` (-1: no end to it); returns early at
        whim. `seen` is what `watch` gave before the caller last looked.
        """
        with self.journal.lock:
            state = self.state()
            if self.bring_back():
                return
            now_us = clock.boot_us()
            # A worker of another process that dies is seen at the next look.
            slice_us = LOOK_US if state.owners else limits.WAIT_SLICE_US
            if timeout_us >= 0:
                slice_us = min(slice_us, timeout_us)
            if (due_us := state.next_deadline_us()) is not None:
                slice_us = max(0, min(slice_us, due_us - now_us))
            shards = self.source.active(state.cursors)
            place = self.source.place(shards[0], state.cursors) if len(shards) == 1 else None
        # A give-back between the caller's look and the sleep wakes nobody; it is seen at the end of this slice.
        if place is not None:
            came = place[0].wait(place[1], slice_us)
        elif not self.on_store:
            self.on_store = True  # the caller looks again, with the word read first
            return
        else:
            came = self.attachment.wait(seen, slice_us)
        if not came:
            self._after_slice(shards)

    def awaited(self) -> tuple[list[tuple[native.Log, int]], float]:
        """What news for a waiter would be, and after how many seconds to look without any: for an event loop."""
        with self.journal.lock:
            state = self.state()
            slice_us = LOOK_US if state.owners else limits.WAIT_SLICE_US
            if self.bring_back():
                slice_us = 0
            elif (due_us := state.next_deadline_us()) is not None:
                slice_us = max(0, min(slice_us, due_us - clock.boot_us()))
            places = [self.source.place(shard, state.cursors) for shard in self.source.active(state.cursors)]
            return [*places, (self.journal.open(), self.journal.tail)], slice_us / 1_000_000

    def _after_slice(self, shards: Sequence[int]) -> None:
        now_us = clock.monotonic_us()
        if now_us - self._looked_us > limits.WAIT_SLICE_US:
            self._looked_us = now_us
            with self.journal.lock:
                self.source.look_again()
            if len(shards) > 1:
                for shard in shards:
                    self.source.log(shard).sync_orphan()


def name_text(name: int) -> str:
    return f"{shard_of(name)}-{position_of(name)}"
