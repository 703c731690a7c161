"""What must be in a stream: a list per shard, what a killed process may have added, and where each shard begins.

Knows nothing of the package but the number of hash keys: whatever it says comes from what was asked and answered.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

KEYS_END = 1 << 128


class Broken(AssertionError):
    """A promise was broken; the message says which and where."""


@dataclass(slots=True, eq=False)
class Item:
    """One record that was put, or may have been."""

    data: bytes
    key: str | None
    hash_key: int | None
    number: str = ""  # its sequence number, once somebody was told or saw it
    arrival_us: int = 0  # once somebody saw it
    lost: bool = False  # its bytes were damaged, and repair gave it up

    @property
    def routed_by(self) -> int:
        """The hash key that says which shard it goes to."""
        if self.hash_key is not None:
            return self.hash_key
        assert self.key is not None
        return int.from_bytes(hashlib.md5(self.key.encode(), usedforsecurity=False).digest(), "big")

    def matches(self, seen: Seen) -> bool:
        """Is the record that was seen this one, as far as its content tells?"""
        return (self.data, self.key, self.hash_key) == (seen.data, seen.key, seen.hash_key)


@dataclass(slots=True)
class Seen:
    """One record as a reader gave it."""

    shard: int
    number: str
    data: bytes
    key: str | None
    hash_key: int | None
    arrival_us: int


@dataclass(slots=True)
class Maybe:
    """Records of one shard that a killed process was putting as one: all of them stand at `place`, or none."""

    run: int  # the kill it is of: of one run a later group is there only if the earlier ones are
    place: int
    items: list[Item]

    def begins(self, found: Sequence[Seen]) -> bool:
        """Are they, as far as their contents tell, the first of what was found?"""
        return len(found) >= len(self.items) and all(map(Item.matches, self.items, found))


@dataclass(slots=True)
class Shard:
    """One shard: what is certain, what is not, and from where on it is kept."""

    index: int
    low: int  # hash keys, both included
    high: int
    parents: tuple[int, ...] = ()
    closed: bool = False
    items: list[Item] = field(default_factory=list)
    horizon: int = 0  # items[:horizon] are gone
    maybe_cleared: list[int] = field(default_factory=list)  # a killed process may have cleared up to each of these
    droppable: int = 0  # maintenance may have dropped items up to here
    expired: bool = False  # closed, and all of it past: it is not listed any more
    oldest_us: int = 0  # what arrived before it is past retention: hidden, but there again if retention is raised
    maybes: list[Maybe] = field(default_factory=list)

    @property
    def first(self) -> int:
        """The place of the first item that a read gives."""
        place = self.horizon
        while place < len(self.items) and self._is_past(self.items[place]):
            place += 1
        return place

    def _is_past(self, item: Item) -> bool:
        # Of what nobody has seen yet it is known that it is new.
        return (item.arrival_us or time.time_ns() // 1000) < self.oldest_us

    @property
    def kept(self) -> list[Item]:
        """What a read from the beginning gives."""
        return [item for item in self.items[self.first :] if not item.lost]

    @property
    def may_be_cleared(self) -> bool:
        """Is there a clear of which nobody knows whether it went through?"""
        return any(cleared > self.horizon for cleared in self.maybe_cleared)

    def add(self, item: Item) -> None:
        """Somebody was told that the item stands at the end."""
        if self.items and int(item.number) <= int(self.items[-1].number):
            raise Broken(f"shard {self.index}: number {item.number} after {self.items[-1].number}")
        self.items.append(item)

    def clear(self) -> None:
        """Everything there is goes."""
        self.horizon = len(self.items)
        self.maybes = []  # what was published and not seen was cleared with the rest

    def settle(self, found: Sequence[Seen]) -> None:
        """Hold a read of the whole shard against the lists; what was uncertain and is there is certain from now on."""
        self._settle_beginning(found)
        begin = place = self.first
        at = 0
        while at < len(found):
            place = self._not_lost(place)
            if place < len(self.items) and self.items[place].number == found[at].number:
                self._same(self.items[place], found[at])
                # What is not there before it never will be; what may be hidden by retention stays uncertain.
                hidden = begin if begin > self.horizon or self.oldest_us else -1
                self.maybes = [maybe for maybe in self.maybes if maybe.place > place or maybe.place <= hidden]
                place, at = place + 1, at + 1
                continue
            count = self._take_maybe(place, found[at:])
            place, at = place + count, at + count
        place = self._not_lost(place)
        if place < len(self.items):
            raise Broken(f"shard {self.index}: {len(self.items) - place} records from {place} on are lost")

    def _not_lost(self, place: int) -> int:
        while place < len(self.items) and self.items[place].lost:
            place += 1
        return place

    def _settle_beginning(self, found: Sequence[Seen]) -> None:
        """Where a clear may have gone through, or maintenance dropped what was past, what is there says whether."""
        begin = self.first
        if self._begins_with(begin, found):
            return
        at = self._place_of(found)
        if begin < at <= self.droppable:
            self.horizon = at  # for good: what was dropped does not come back when the clock does
            return
        for cleared in sorted(self.maybe_cleared):
            if begin < cleared <= at and all(map(self._is_past, self.items[cleared:at])):
                self.horizon = cleared
                return

    def _place_of(self, found: Sequence[Seen]) -> int:
        """Where what was found begins: at an item, or at what a killed process put in front of one."""
        places = {item.number: place for place, item in enumerate(self.items)}
        at = next((places[seen.number] for seen in found if seen.number in places), len(self.items))
        if not found or found[0].number in places:
            return at
        return max((maybe.place for maybe in self.maybes if maybe.place <= at and maybe.begins(found)), default=at)

    def _begins_with(self, place: int, found: Sequence[Seen]) -> bool:
        place = self._not_lost(place)
        if place == len(self.items):
            return True
        return bool(found) and found[0].number == self.items[place].number

    def _same(self, item: Item, seen: Seen) -> None:
        if not item.matches(seen):
            raise Broken(f"shard {self.index}: record {seen.number} has other content than was put")
        if item.arrival_us and item.arrival_us != seen.arrival_us:
            raise Broken(f"shard {self.index}: record {seen.number} arrived at another time than before")
        item.arrival_us = seen.arrival_us

    def _take_maybe(self, place: int, found: Sequence[Seen]) -> int:
        here = [maybe for maybe in self.maybes if maybe.place == place]
        for turn, maybe in enumerate(here):
            count = len(maybe.items)
            if maybe.begins(found):
                if any(earlier.run == maybe.run for earlier in here[:turn]):
                    raise Broken(f"shard {self.index}: a put is there whose predecessor is not")
                break
        else:
            known = [at for at, item in enumerate(self.items) if item.number == found[0].number]
            raise Broken(
                f"shard {self.index}: record {found[0].number} at {place} of {len(self.items)} was never put there"
                + (f"; it is number {known[0]}, and {self.first} is the first kept" if known else "")
            )
        gone = {id(earlier) for earlier in here[: turn + 1]}
        self.maybes = [item for item in self.maybes if id(item) not in gone]
        for item, seen in zip(maybe.items, found, strict=False):
            item.number, item.arrival_us = seen.number, seen.arrival_us
        before, after = self.items[:place][-1:], self.items[place:][:1]
        numbers = [int(item.number) for item in before + maybe.items + after]
        if numbers != sorted(set(numbers)):
            raise Broken(f"shard {self.index}: numbers do not increase around {maybe.items[0].number}")
        self.items[place:place] = maybe.items
        for later in self.maybes:
            if later.place >= place:
                later.place += count
        self.horizon += count if place < self.horizon else 0
        self.droppable += count if place < self.droppable else 0
        self.maybe_cleared = [cleared + count * (place < cleared) for cleared in self.maybe_cleared]
        return count


class Expected:
    """A stream's shards, and which item of all is which."""

    def __init__(self, shard_count: int) -> None:
        width = KEYS_END // shard_count
        starts = [index * width for index in range(shard_count)] + [KEYS_END]
        self.shards = [Shard(index, starts[index], starts[index + 1] - 1) for index in range(shard_count)]
        self.runs = 0
        self.oldest_us = 0
        self.half_done = False  # a process died over a reshard: a shard may be closed with nobody to go on yet

    def route(self, item: Item) -> Shard:
        """The open shard that takes an item."""
        return next(s for s in self.shards if not s.closed and s.low <= item.routed_by <= s.high)

    def adopt(self, facts: Sequence[tuple[int, int, int, tuple[int, ...], bool]]) -> None:
        """Take in what the store says of its shards: index, first and last hash key, parents, closed."""
        known = len(self.shards)
        for index, low, high, parents, closed in facts:
            if index == len(self.shards):
                self.shards.append(Shard(index, low, high, parents, oldest_us=self.oldest_us))
            own = self.shards[index]
            if (own.low, own.high, own.parents) != (low, high, parents):
                raise Broken(f"shard {index} is another one than it was")
            if (own.closed and not closed) or own.expired:
                raise Broken(f"shard {index} is there again, or open again")
        self._expire({index for index, *_ in facts})
        for shard in self.shards[known:]:
            for parent in shard.parents:
                self.shards[parent].closed = True
        closed_now = {index for index, _, _, _, closed in facts if closed}
        if not self.half_done and closed_now != {
            shard.index for shard in self.shards if shard.closed and not shard.expired
        }:
            raise Broken(f"shards {sorted(closed_now)} are closed, which nobody asked for")
        ends = sorted((shard.low, shard.high) for shard in self.shards if not shard.closed)
        if [low for low, _ in ends] != [0, *(high + 1 for _, high in ends[:-1])] or ends[-1][1] != KEYS_END - 1:
            raise Broken(f"the open shards own {ends}")

    def _expire(self, listed: set[int]) -> None:
        for shard in self.shards:
            if shard.index not in listed and not shard.expired:
                if not shard.closed or shard.droppable < len(shard.items):
                    raise Broken(f"shard {shard.index} is not listed, and {len(shard.kept)} of its records are kept")
                shard.expired, shard.horizon = True, len(shard.items)

    def dropped(self, *, everything: bool = False) -> None:
        """Maintenance went by: what is past now may be gone for good. Or a put that found no room: `everything` may."""
        for shard in self.shards:
            shard.droppable = max(shard.droppable, len(shard.items) if everything else shard.first)

    def put(self, item: Item, shard: int, number: str, before: int | None = None) -> None:
        """Somebody was told that an item stands in that shard under that number; shard `before` owned its hash key when
        the put began.
        """
        own = self.shards[shard] if shard == before else self.route(item)
        if own.index != shard:
            raise Broken(f"a record went to shard {shard} and not to {own.index}, which owns its hash key")
        item.number = number
        own.add(item)

    def maybe(self, puts: Sequence[Sequence[Item]]) -> None:
        """A process was killed over these puts, in this order: of each, the part of a shard is there whole or not."""
        self.runs += 1
        for items in puts:
            parts: dict[int, list[Item]] = {}
            for item in items:
                parts.setdefault(self.route(item).index, []).append(item)
            for index, part in parts.items():
                shard = self.shards[index]
                shard.maybes.append(Maybe(self.runs, len(shard.items), part))

    def settle(self, found: Sequence[Seen]) -> None:
        """Hold a read of the whole stream against the lists."""
        lanes: dict[int, list[Seen]] = {shard.index: [] for shard in self.shards}
        for seen in found:
            for child in self.shards:
                if seen.shard in child.parents and lanes[child.index]:
                    raise Broken(f"shard {seen.shard} goes on after its child {child.index} began")
            lanes[seen.shard].append(seen)
        for shard in self.shards:
            shard.settle(lanes[shard.index])
            for parent in shard.parents:
                self._follows(self.shards[parent], shard)

    def _follows(self, parent: Shard, child: Shard) -> None:
        if not parent.items or not child.items:
            return
        old, new = parent.items[-1], child.items[0]
        if int(new.number) <= int(old.number):
            raise Broken(f"number {new.number} of shard {child.index} is not above its parent's {old.number}")
        if new.arrival_us and new.arrival_us < old.arrival_us:
            raise Broken(f"shard {child.index} begins at {new.arrival_us}, before its parent's {old.arrival_us}")

    def keep_from(self, oldest_us: int) -> None:
        """What arrived before is past retention."""
        self.oldest_us = oldest_us
        for shard in self.shards:
            shard.oldest_us = oldest_us

    @property
    def kept(self) -> list[Item]:
        """All that a read from the beginning gives, shard by shard."""
        return [item for shard in self.shards for item in shard.kept]

    @property
    def settled(self) -> bool:
        """Is nothing uncertain?"""
        return not any(shard.maybes or shard.may_be_cleared for shard in self.shards)
