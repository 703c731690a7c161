"""Rules that read, and hold what was read against the oracle."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule

from oracle.actions import rows
from oracle.base import SEEDS, SIDES, Saved
from oracle.dying import Dying
from oracle.expected import Broken, Item
from streamstore import clock, routing


class Reading(Dying):
    """Reads from every kind of start, once and later again."""

    def begin_at(self, chance: random.Random) -> tuple[Any, set[int]]:
        """A start, and the ids of the items that a read from it passes over.

        What is past retention is passed over for good: it may come back, when retention is raised or the clock goes
        back, but not to who has begun behind it.
        """
        kind = chance.choice(("TRIM_HORIZON", "LATEST", "TIME"))
        if kind == "TIME":
            kept = self.expected.kept
            us = chance.choice(kept).arrival_us + chance.choice((0, 0, 1)) if kept else chance.randrange(1 << 50)
            passed = [item for shard in self.expected.shards for item in shard.items if item.arrival_us < us]
            return clock.to_datetime(us), {id(item) for item in passed} | self.hidden()
        if kind == "LATEST":
            return kind, {id(item) for shard in self.expected.shards for item in shard.items}
        return kind, self.hidden()

    def hidden(self) -> set[int]:
        """The ids of all items that no read gives now."""
        return {id(item) for shard in self.expected.shards for item in shard.items[: shard.first]}

    def not_in(self, passed: set[int]) -> list[Item]:
        """What is there and was not passed."""
        return [item for item in self.expected.kept if id(item) not in passed]

    @rule(side=SIDES, seed=SEEDS, merge=st.booleans())
    def read_from(self, side: str, seed: int, merge: bool) -> None:
        """A whole read from a word or a time, by either process."""
        start, passed = self.begin_at(random.Random(seed))
        self.tell(f"read {side} from {start}, merge: {merge}")
        found = self.act(side, "read", start, merge=merge)
        self.agree(found, self.not_in(passed))
        if merge:
            order = [(row[5], row[0]) for row in found]
            if order != sorted(order):
                raise Broken("a merged read is not in arrival order")

    @rule(seed=SEEDS, merge=st.booleans(), stop=st.integers(0, 60))
    def save(self, seed: int, merge: bool, stop: int) -> None:
        """A reader goes so far and keeps its position."""
        start, passed = self.begin_at(random.Random(seed))
        with self.stream.read(start, merge=merge) as reader:
            found = [record.sequence_number for _, record in zip(range(stop), reader, strict=False)]
            position = reader.position
        self.tell(f"save after {len(found)} from {start}, merge: {merge}")
        if len(found) != min(stop, len(self.not_in(passed))):
            raise Broken(f"{len(found)} records, not {min(stop, len(self.not_in(passed)))}")
        numbers = set(found)
        passed |= {id(item) for item in self.expected.kept if item.number in numbers}
        self.saved.append(Saved(position, passed, set()))

    @rule(side=SIDES, seed=SEEDS, merge=st.booleans())
    def go_on_from_a_saved_position(self, side: str, seed: int, merge: bool) -> None:
        """What comes after a position, also after whatever has happened since."""
        if not self.saved:
            return
        number = random.Random(seed).randrange(len(self.saved))
        saved = self.saved[number]
        self.tell(f"go on {side} from saved position {number}, merge: {merge}")
        self.agree(self.act(side, "read", saved.position, merge=merge), self.not_in(saved.passed), saved.hidden)

    @rule(seed=SEEDS, limit=st.integers(1, 20))
    def read_one_shard(self, seed: int, limit: int) -> None:
        """get, and reads at and after a number."""
        chance = random.Random(seed)
        own = chance.choice(self.expected.shards)
        kept = own.kept
        if not kept:
            return
        at = chance.randrange(len(kept))
        self.tell(f"read shard {own.index} at {at} of {len(kept)}")
        shard = self.stream.shard(routing.shard_id(own.index))
        number = kept[at].number
        found = [
            ([shard.get(number)], kept[at : at + 1]),
            (shard.read(at=number, limit=limit), kept[at : at + limit]),
            (shard.read(after=number, limit=limit), kept[at + 1 : at + 1 + limit]),
        ]
        for records, wanted in found:
            if [record.sequence_number for record in records] != [item.number for item in wanted]:
                raise Broken(f"shard {own.index}: a read around {number} gives other records")

    @rule(side=SIDES, seed=SEEDS, limit=st.integers(1, 50))
    def read_columns(self, side: str, seed: int, limit: int) -> None:
        """All of a shard through Arrow is what records of it are."""
        own = random.Random(seed).choice([shard for shard in self.expected.shards if not shard.expired])
        self.tell(f"read columns {side} of shard {own.index}, {limit} at a time")
        found = self.act(side, "read_columns", own.index, limit)
        wanted = [(own.index, item.number, item.data, item.key, None, item.arrival_us) for item in own.kept]
        if found != wanted:
            raise Broken(f"shard {own.index}: Arrow has {len(found)} records, and not the {len(wanted)} wanted")

    @rule(n=st.integers(0, 30))
    def last(self, n: int) -> None:
        """The newest records are the end of a merged read."""
        self.tell(f"last {n}")
        merged = rows(self.stream.read(merge=True))
        if rows(self.stream.last(n)) != (merged[-n:] if n else []):
            raise Broken(f"last({n}) is not the end of a merged read")
