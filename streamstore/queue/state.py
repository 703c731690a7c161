"""The deliveries of one queue as a pure state that events change: no I/O, no clock; every time comes in with an event.

A message is named by a number: shard index << 64 | position of its record. What stands before its shard's cursor and
is neither in `live` nor in `dead` has been acknowledged (or expired); what stands behind has never been delivered.

                 receive                    ack
    fresh ------------------> in flight ---------> gone
      | pass (delayed,            | nack, time, death of the owner
      |       key held)           v
      +---------------------> waiting / due --redeliver--> in flight
                                  | dead (too many receives)          restore
                                  +---------------> dead letter ---------------> waiting

Invariants:
    S1  `live` and `dead` name no message at or behind its shard's cursor, and none twice
    S2  every entry of `live` with a deadline stands in `deadlines`, or in `ready` once the deadline passed
    S3  `in_flight`, `owners` and `keys` follow from `live` alone
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Sequence
from heapq import heapify, heappop, heappush
from typing import Any, NamedTuple

from streamstore import limits

IN_FLIGHT, WAITING = 0, 1
POSITION_MASK = (1 << 64) - 1
_HEAP_SLACK = 64
_make = tuple.__new__  # of a named tuple, at less than half the price of its own


class Cursor(NamedTuple):
    """Up to where a shard's records were delivered: position, records before it, and the newest of those."""

    position: int
    ordinal: int
    last: int
    epoch: int


class Delivery(NamedTuple):
    """One delivery, shared by all messages it took. Deadline on the boot clock: in flight or waiting until then."""

    number: int
    receives: int
    deadline_us: int
    first_us: int
    owner: int
    status: int
    key: int


class Dead(NamedTuple):
    """A dead letter. `number` and `deadline_us` are those of its own receives, apart from the queue's."""

    number: int
    receives: int
    deadline_us: int
    first_us: int
    died_us: int
    reason: str
    key: int


class Moved(NamedTuple):
    """Where a copy of a record stands in the side log, and what the record had that a copy has not."""

    place: int
    epoch: int
    next_position: int
    ordinal: int
    arrival_us: int


def name_of(shard: int, position: int) -> int:
    """The number that names a message."""
    return shard << 64 | position


def shard_of(name: int) -> int:
    return name >> 64


def position_of(name: int) -> int:
    return name & POSITION_MASK


class Deliveries:
    """The state. Methods named after events are called by the fold alone; the rest decides nothing, it answers."""

    def __init__(self) -> None:
        self.number = 0
        self.cursors: dict[int, Cursor] = {}
        self.live: dict[int, Delivery] = {}
        self.dead: dict[int, Dead] = {}
        self.moved: dict[int, Moved] = {}
        self.boot = ""
        self.incarnation = 0
        self.wall_offset_us = 0
        self.totals = {"received": 0, "acknowledged": 0, "expired": 0, "dead": 0, "lost": 0}
        self._derive()

    def _derive(self) -> None:
        self.in_flight = 0
        self.owners: dict[int, int] = {}
        self.keys: dict[int, list[int]] = {}
        self.ready: dict[int, Delivery] = {}
        self._ready_order: list[int] = []
        self.deadlines: list[tuple[int, int, tuple[int, ...]]] = []
        batches: dict[Delivery, list[int]] = {}
        for name, delivery in self.live.items():
            batches.setdefault(delivery, []).append(name)
        for delivery, names in batches.items():
            self._count(delivery, names)
            self.deadlines.append((delivery.deadline_us, delivery.number, tuple(names)))
        heapify(self.deadlines)

    # --- moving entries ---------------------------------------------------------------------------------------------

    def _count(self, delivery: Delivery, names: Sequence[int]) -> None:
        if delivery.status == IN_FLIGHT:
            self.in_flight += len(names)
            if delivery.owner:
                self.owners[delivery.owner] = self.owners.get(delivery.owner, 0) + len(names)
        if delivery.key:
            for name in names:
                insort(self.keys.setdefault(delivery.key, []), name)

    def _enter(self, delivery: Delivery, names: Sequence[int]) -> None:
        self.live.update(dict.fromkeys(names, delivery))
        self._count(delivery, names)
        # Always a tuple: of two with one deadline and number the heap compares the names.
        heappush(self.deadlines, (delivery.deadline_us, delivery.number, tuple(names)))
        if len(self.deadlines) > 2 * len(self.live) + _HEAP_SLACK:
            self._prune()

    def _prune(self) -> None:
        # What was acknowledged in time leaves its deadline behind.
        live = self.live
        kept: list[tuple[int, int, tuple[int, ...]]] = []
        for deadline, number, names in self.deadlines:
            left = [
                name for name in names if (d := live.get(name)) and d.number == number and d.deadline_us == deadline
            ]
            if left:
                kept.append((deadline, number, tuple(left)))
        heapify(kept)
        self.deadlines = kept

    def _take(self, name: int) -> Delivery | None:
        delivery = self.live.pop(name, None)
        if delivery is None:
            return None
        if delivery.status == IN_FLIGHT:
            self.in_flight -= 1
            if owner := delivery.owner:
                self._disown(owner)
        if self.ready:
            self.ready.pop(name, None)
        if delivery.key:
            self._leave_key(delivery.key, name)
        return delivery

    def _leave_key(self, key: int, name: int) -> None:
        names = self.keys[key]
        names.remove(name)
        if not names:
            del self.keys[key]
        elif names[0] in self.ready:
            heappush(self._ready_order, names[0])  # it was passed over while this one was in its way

    # --- events -----------------------------------------------------------------------------------------------------

    def receive(
        self, shard: int, names: Sequence[int], keys: Sequence[int] | None, cursor: Cursor, times: tuple[int, int, int]
    ) -> None:
        """First deliveries; `times` is (now, visibility, owner)."""
        now_us, visibility_us, owner = times
        self.cursors[shard] = cursor
        self.number += 1
        self.totals["received"] += len(names)
        delivery = Delivery(self.number, 1, now_us + visibility_us, now_us + self.wall_offset_us, owner, IN_FLIGHT, 0)
        if keys is None:
            self._enter(delivery, names)
        else:
            for name, key in zip(names, keys, strict=True):
                self._enter(delivery._replace(key=key), (name,))

    def receive_one(self, shard: int, name: int, cursor: Cursor, now_us: int, visibility_us: int, owner: int) -> None:
        """`receive` of one message without a key, which is what most events are."""
        self.cursors[shard] = cursor
        self.number = number = self.number + 1
        self.totals["received"] += 1
        deadline_us = now_us + visibility_us
        values = (number, 1, deadline_us, now_us + self.wall_offset_us, owner, IN_FLIGHT, 0)
        self.live[name] = _make(Delivery, values)
        self.in_flight += 1
        if owner:
            self.owners[owner] = self.owners.get(owner, 0) + 1
        due = self.deadlines
        heappush(due, (deadline_us, number, (name,)))
        if len(due) > 2 * len(self.live) + _HEAP_SLACK:
            self._prune()

    def pass_by(self, shard: int, cursor: Cursor, waiting: Iterable[Sequence[int]]) -> None:
        """Records that cannot be delivered yet: (position, deadline, key) each."""
        self.cursors[shard] = cursor
        for position, deadline_us, key in waiting:
            self.number += 1
            self._enter(Delivery(self.number, 0, deadline_us, 0, 0, WAITING, key), (name_of(shard, position),))

    def redeliver(self, names: Iterable[int], now_us: int, visibility_us: int, owner: int) -> None:
        self.number += 1
        for name in names:
            old = self._take(name)
            if old is not None:
                first_us = old.first_us or now_us + self.wall_offset_us
                deadline_us = now_us + visibility_us
                self.totals["received"] += 1
                self._enter(
                    Delivery(self.number, old.receives + 1, deadline_us, first_us, owner, IN_FLIGHT, old.key), (name,)
                )

    def acknowledge_one(self, name: int) -> None:
        """`acknowledge` of one message."""
        if self.ready or self.keys or self.moved:
            self.acknowledge((name,))
            return
        delivery = self.live.pop(name, None)
        if delivery is None:
            return
        self.totals["acknowledged"] += 1
        if delivery.status == IN_FLIGHT:
            self.in_flight -= 1
            if owner := delivery.owner:
                self._disown(owner)

    def _disown(self, owner: int) -> None:
        if left := self.owners[owner] - 1:
            self.owners[owner] = left
        else:
            del self.owners[owner]

    def acknowledge(self, names: Iterable[int]) -> None:
        if self.ready or self.keys or self.moved:
            for name in names:
                if self._take(name) is not None:
                    self.totals["acknowledged"] += 1
                    self.moved.pop(name, None)
            return
        done = 0
        live, owners = self.live, self.owners
        for name in names:
            delivery = live.pop(name, None)
            if delivery is None:
                continue
            done += 1
            if delivery.status == IN_FLIGHT:
                self.in_flight -= 1
                owner = delivery.owner
                if owner:
                    left = owners[owner] - 1
                    if left:
                        owners[owner] = left
                    else:
                        del owners[owner]
        self.totals["acknowledged"] += done

    def extend(self, names: Iterable[int], deadline_us: int, heir: int = 0, gone: Sequence[int] = ()) -> None:
        """Kept until then; what the owners that are gone held is held by their heir from now on."""
        for name in names:
            old = self._take(name)
            if old is not None:
                owner = heir if old.owner in gone else old.owner
                self._enter(old._replace(deadline_us=deadline_us, owner=owner), (name,))

    def nack(self, names: Iterable[int], deadline_us: int) -> None:
        self.number += 1
        for name in names:
            old = self._take(name)
            if old is not None:
                waiting = old._replace(number=self.number, deadline_us=deadline_us, owner=0, status=WAITING)
                self._enter(waiting, (name,))

    def die(self, names: Iterable[int], now_us: int, reason: str) -> None:
        for name in names:
            old = self._take(name)
            if old is not None:
                self.totals["dead"] += 1
                died_us = now_us + self.wall_offset_us
                self.dead[name] = Dead(old.number, old.receives, now_us, old.first_us, died_us, reason, old.key)

    def restore(self, names: Iterable[int], now_us: int) -> None:
        self.number += 1
        for name in names:
            old = self.dead.pop(name, None)
            if old is not None:
                self._enter(Delivery(self.number, 0, now_us, 0, 0, WAITING, old.key), (name,))

    def vanish(self, names: Iterable[int]) -> None:
        """Retention took them while they were out."""
        for name in names:
            if self._take(name) is not None or self.dead.pop(name, None) is not None:
                self.totals["expired"] += 1

    def drop(self, names: Sequence[int]) -> None:
        """A purge: whatever they are, they are done."""
        self.acknowledge(names)
        self.bury(names)

    def bury(self, names: Iterable[int]) -> None:
        """Dead letters were acknowledged or purged."""
        for name in names:
            if self.dead.pop(name, None) is not None and self.moved:
                self.moved.pop(name, None)

    def receive_dead(self, names: Iterable[int], deadline_us: int) -> None:
        self.number += 1
        for name in names:
            if name in self.dead:
                self.dead[name] = self.dead[name]._replace(number=self.number, deadline_us=deadline_us)

    def extend_dead(self, names: Iterable[int], deadline_us: int) -> None:
        for name in names:
            if name in self.dead:
                self.dead[name] = self.dead[name]._replace(deadline_us=deadline_us)

    def expire(self, shard: int, cursor: Cursor, horizon: int, skipped: int) -> None:
        """Retention took what stands before `horizon`; `skipped` records of it had never been delivered."""
        self.cursors[shard] = cursor
        low, high = name_of(shard, 0), name_of(shard, horizon)
        gone = [name for name in self.live if low <= name < high and name not in self.moved]
        letters = [name for name in self.dead if low <= name < high and name not in self.moved]
        self.totals["expired"] += skipped + len(gone) + len(letters)
        for name in gone:
            self._take(name)
        for name in letters:
            del self.dead[name]

    def lose(self, shard: int, cursor: Cursor) -> None:
        """A power cut took the stream's end, deliveries of it included: what stands there now is new."""
        self.cursors[shard] = cursor
        low, high = name_of(shard, cursor.position), name_of(shard + 1, 0)
        for name in [name for name in self.live if low <= name < high]:
            self.totals["lost"] += 1
            self._take(name)
        for name in [name for name in self.dead if low <= name < high]:
            self.totals["lost"] += 1
            del self.dead[name]

    def attach(self, incarnation: int, boot: str, boot_us: int, wall_us: int, number: int = 0) -> None:
        """The store was opened anew; after a reboot the boot clock began anew, and nobody is left who held anything.

        Deliveries are numbered from `number` on, if that is ahead of what they were.
        """
        self.incarnation = incarnation
        self.number = max(self.number, number)
        offset_us = wall_us - boot_us
        if boot != self.boot:
            shift_us = self.wall_offset_us - offset_us if self.boot else 0
            # A machine may come up with a clock that is years behind, and set it later: no delay is longer than this.
            latest_us = boot_us + limits.QUEUE_VISIBILITY_MAX_S * limits.MICROSECONDS
            for name, old in self.live.items():
                deadline_us = min(old.deadline_us + shift_us, latest_us) if old.status == WAITING else boot_us
                self.live[name] = old._replace(deadline_us=deadline_us, owner=0)
            for name, letter in self.dead.items():
                self.dead[name] = letter._replace(deadline_us=boot_us)
            self.boot, self.wall_offset_us = boot, offset_us
            self._derive()

    def park(self, moved: Iterable[Sequence[int]]) -> None:
        """Records were copied to the side log: shard and position, then what Moved has, each."""
        for shard, position, *rest in moved:
            name = name_of(shard, position)
            if name in self.live or name in self.dead:
                self.moved[name] = Moved(*rest)

    # --- answers ----------------------------------------------------------------------------------------------------

    def due(self, now_us: int) -> bool:
        """Is anything there to be delivered again? Brings `ready` up to `now_us`."""
        while self.deadlines and self.deadlines[0][0] <= now_us:
            deadline_us, number, names = heappop(self.deadlines)
            for name in names:
                delivery = self.live.get(name)
                if delivery is not None and delivery.number == number and delivery.deadline_us == deadline_us:
                    self._make_ready(name, delivery)
        return bool(self.ready)

    def _make_ready(self, name: int, delivery: Delivery) -> None:
        self.ready[name] = delivery
        heappush(self._ready_order, name)

    def release(self, owner: int) -> int:
        """What an owner held that is dead is ready at once; how many messages that were."""
        names = [name for name, delivery in self.live.items() if delivery.owner == owner and name not in self.ready]
        for name in names:
            self._make_ready(name, self.live[name])
        return len(names)

    def candidates(self, limit: int) -> list[int]:
        """Up to `limit` messages that are ready, oldest first, one a key; those that are not taken stay ready."""
        found: list[int] = []
        order = self._ready_order
        while order and len(found) < limit:
            name = heappop(order)
            delivery = self.ready.get(name)
            if delivery is None or (found and found[-1] == name):
                continue
            # One that stands behind another of its key comes back here when that one is settled.
            if not delivery.key or self.keys[delivery.key][0] == name:
                found.append(name)
        return found

    def put_back(self, names: Iterable[int]) -> None:
        """Candidates that nobody took after all."""
        for name in names:
            if name in self.ready:
                heappush(self._ready_order, name)

    def is_fresh(self, name: int) -> bool:
        """Was this message never delivered, as far as is known? A power cut may have taken a delivery back."""
        cursor = self.cursors.get(shard_of(name))
        return cursor is None or position_of(name) >= cursor.position

    def next_deadline_us(self) -> int | None:
        """When something waiting or in flight is to be looked at next, on the boot clock."""
        return self.deadlines[0][0] if self.deadlines else None

    def held(self) -> int:
        """Messages in flight whose time has not passed, as of what `due` was asked last."""
        return self.in_flight - sum(1 for delivery in self.ready.values() if delivery.status == IN_FLIGHT)

    def waiting(self) -> int:
        """Messages below the cursors that are neither in flight nor dead, delayed ones included."""
        return len(self.live) - self.held()

    def floor(self, shard: int) -> int:
        """The position before which nothing of a shard is needed any more."""
        cursor = self.cursors.get(shard)
        if cursor is None:
            return 0
        low, high = name_of(shard, 0), name_of(shard, cursor.position)
        moved = self.moved
        names = [name for part in (self.live, self.dead) for name in part if low <= name < high and name not in moved]
        return position_of(min(names)) if names else cursor.position

    def to_map(self) -> dict[str, Any]:
        """Everything that does not follow from the rest, as plain values."""
        batches: dict[Delivery, list[int]] = {}
        for name, delivery in self.live.items():
            batches.setdefault(delivery, []).append(name)
        return {
            "number": self.number,
            "boot": self.boot,
            "incarnation": self.incarnation,
            "wall_offset_us": self.wall_offset_us,
            "totals": self.totals,
            "cursors": [[shard, *cursor] for shard, cursor in self.cursors.items()],
            "live": [[list(delivery), _split(names)] for delivery, names in batches.items()],
            "dead": [[list(letter), _split([name])] for name, letter in self.dead.items()],
            "moved": [[shard_of(name), position_of(name), *place] for name, place in self.moved.items()],
        }

    def load(self, source: dict[str, Any]) -> None:
        """Become what `to_map` described."""
        self.number = source["number"]
        self.boot = source["boot"]
        self.incarnation = source["incarnation"]
        self.wall_offset_us = source["wall_offset_us"]
        self.totals = {**self.totals, **source["totals"]}
        self.cursors = {shard: Cursor(*rest) for shard, *rest in source["cursors"]}
        self.live = {name: Delivery(*values) for values, names in source["live"] for name in _joined(names)}
        self.dead = {name: Dead(*values) for values, names in source["dead"] for name in _joined(names)}
        self.moved = {name_of(shard, position): Moved(*rest) for shard, position, *rest in source["moved"]}
        self._derive()


def _split(names: Iterable[int]) -> list[int]:
    # msgpack ends at 64 bits: (shard, position) after (shard, position).
    return [part for name in names for part in (shard_of(name), position_of(name))]


def _joined(parts: Sequence[int]) -> list[int]:
    return [name_of(shard, position) for shard, position in zip(parts[::2], parts[1::2], strict=True)]
