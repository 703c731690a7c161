"""Rules that write: puts of every kind, by either process, and what ends a segment or a history."""

from __future__ import annotations

import random

from hypothesis import strategies as st
from hypothesis.stateful import rule

from oracle.actions import Entry
from oracle.base import SEEDS, SIDES, Base
from streamstore.errors import ShardClosedError


class Writing(Base):
    """Puts of every kind, by either process."""

    @rule(side=SIDES, seed=SEEDS, sync=st.booleans())
    def put(self, side: str, seed: int, sync: bool) -> None:
        """One record."""
        entry = self.entry(random.Random(seed))
        self.tell(f"put {side}: {len(entry[0])} bytes, {entry[1:]}")
        self.took([entry], self.act(side, "put", entry, sync=sync))

    @rule(side=SIDES, seed=SEEDS, count=st.integers(0, 40), sync=st.booleans())
    def put_many(self, side: str, seed: int, count: int, sync: bool) -> None:
        """A batch over whatever shards."""
        entries = self.entries(random.Random(seed), count)
        self.tell(f"put_many {side}: {count}")
        self.took(entries, self.act(side, "put_many", entries, sync=sync))

    @rule(side=SIDES, seed=SEEDS, count=st.integers(1, 10))
    def append(self, side: str, seed: int, count: int) -> None:
        """A batch to one shard at its tail; every key is one of the shard's own, as put_record would have it."""
        chance = random.Random(seed)
        shard = chance.choice([shard for shard in self.expected.shards if not shard.closed])
        entries: list[Entry] = [
            (data, key, chance.randint(shard.low, shard.high)) for data, key, _ in self.entries(chance, count)
        ]
        self.tell(f"append {side}: {count} to {shard.index}")
        try:
            told = self.act(side, "append", shard.index, entries)
        except ShardClosedError:
            if not self.expected.half_done:
                raise
            return  # closed by one who died before he could say who goes on
        self.took(entries, told)

    @rule(side=SIDES)
    def flush(self, side: str) -> None:
        """All that anybody published is durable, and so visible."""
        self.tell(f"flush {side}")
        self.act(side, "flush")

    @rule(side=SIDES, seed=SEEDS)
    def seal(self, side: str, seed: int) -> None:
        """A shard begins a new segment."""
        shard = random.Random(seed).choice([shard for shard in self.expected.shards if not shard.closed])
        self.tell(f"seal {side}: {shard.index}")
        try:
            self.act(side, "seal", shard.index)
        except ShardClosedError:
            if not self.expected.half_done:
                raise

    @rule(side=SIDES)
    def clear(self, side: str) -> None:
        """Every record goes, those too that nobody could see yet."""
        self.tell(f"clear {side}")
        self.act(side, "clear")
        for shard in self.expected.shards:
            shard.clear()
