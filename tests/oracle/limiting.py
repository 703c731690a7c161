"""Rules by which a stream is full: puts are refused, wait, or drop what is oldest, and no more is kept than allowed."""

from __future__ import annotations

import random
import time

from hypothesis import strategies as st
from hypothesis.stateful import rule

from oracle.actions import Entry
from oracle.base import SEEDS, SIDES
from oracle.encrypting import Encrypting
from oracle.expected import Broken, Item
from streamstore.errors import StreamFullError

LIMIT_MIN = 60_000
DATA_SIZE_MAX = 300  # while there is a limit: no batch is larger than what must be kept
SLACK, SHARD_SLACK = 8_192, 512  # epoch and close frames find their place always


class Limiting(Encrypting):
    """`drop_oldest` may stay on, so that all else happens under it; the others make puts fail, and end with a rule."""

    def create(self) -> None:
        """A new stream keeps any number of bytes."""
        super().create()
        self.limit = 0

    def entry(self, chance: random.Random) -> Entry:
        """Small ones while there is a limit."""
        data, key, hash_key = super().entry(chance)
        return data[:DATA_SIZE_MAX] if self.limit else data, key, hash_key

    def settle(self) -> None:
        """Whatever any put dropped is gone for good."""
        if self.limit:
            self.expected.dropped(everything=True)
        super().settle()

    def took(self, entries: list[Entry], told: list[tuple[int, str]]) -> None:
        """After a put no more is kept than allowed."""
        super().took(entries, told)
        if self.limit and entries:
            self.within(self.limit)

    def within(self, limit: int) -> None:
        """Hold what is kept against a limit."""
        kept = self.stream.kept_bytes()
        if kept > limit + SLACK + SHARD_SLACK * len(self.expected.shards):
            raise Broken(f"{kept} bytes are kept, and {limit} are allowed")

    @rule(side=SIDES, seed=SEEDS, on=st.booleans())
    def drop_oldest(self, side: str, seed: int, on: bool) -> None:
        """From now on puts drop what is oldest where there is no room, or no more."""
        kept = self.stream.kept_bytes()
        self.limit = max(LIMIT_MIN, round(kept * random.Random(seed).uniform(0.3, 1.5))) if on else 0
        self.tell(f"drop oldest {side}: keep {self.limit or 'all'} of {kept} bytes")
        self.act(side, "keep_at_most", self.limit, "drop_oldest" if on else "error")

    def end_limit(self) -> None:
        """As it was before a rule set another limit."""
        self.act("here", "keep_at_most", self.limit, "drop_oldest" if self.limit else "error")

    @rule(seed=SEEDS, room=st.integers(0, 20_000), count=st.integers(1, 30))
    def put_until_full(self, seed: int, room: int, count: int) -> None:
        """Of a batch each shard's part is there or was refused, and a stream that is full keeps what it has."""
        chance = random.Random(seed)
        limit = self.stream.kept_bytes() + max(1, room)  # 0 is no limit
        self.tell(f"put until full: {room} bytes of room")
        self.act("here", "keep_at_most", limit, "error")
        was, self.limit = self.limit, 0  # the old limit does not hold meanwhile
        if self.time_is_certain:
            self.expected.dropped()  # who needs room takes that of what is past
        for turn in range(3):
            entries = self.entries(chance, count)
            self.adopt()
            told = self.act(("here", "there")[turn % 2], "put_what_fits", entries)
            parts: dict[int, set[bool]] = {}
            for entry, outcome in zip(entries, told, strict=True):
                parts.setdefault(self.expected.route(Item(*entry)).index, set()).add(outcome is None)
            if broken := [index for index, found in parts.items() if len(found) > 1]:
                raise Broken(f"parts of what was put to the shards {broken} were refused")
            put = [(entry, outcome) for entry, outcome in zip(entries, told, strict=True) if outcome is not None]
            self.took([entry for entry, _ in put], [outcome for _, outcome in put])
            self.within(limit)
        self.limit = was
        self.end_limit()

    @rule(seed=SEEDS, count=st.integers(1, 10))
    def put_that_waits(self, seed: int, count: int) -> None:
        """The other process waits for room, and goes on when the limit goes."""
        chance = random.Random(seed)
        entries = self.entries(chance, count)
        self.finish()
        self.act("here", "keep_at_most", self.stream.kept_bytes() + 100, "block")
        self.child.send([("put_many", (entries,), {"sync": False})])
        time.sleep(chance.random() ** 3 * 0.02)
        self.act("here", "keep_at_most", 0, "error")
        try:
            told = self.child.take()
        except StreamFullError:
            told = []  # it was more than the limit: waiting would have been in vain
        self.tell(f"put that waits: {len(told)} of {count}")
        was, self.limit = self.limit, 0
        if self.time_is_certain:
            self.expected.dropped()
        self.took(entries[: len(told)], told)
        self.limit = was
        self.end_limit()
