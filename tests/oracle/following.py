"""Rules with readers that stay: they see each record once, whatever happens between two looks."""

from __future__ import annotations

import random
from dataclasses import dataclass

from hypothesis import strategies as st
from hypothesis.stateful import rule

import streamstore
from oracle.actions import Row, rows
from oracle.base import SEEDS, Saved
from oracle.expected import Broken
from oracle.reading import Reading

FOLLOWERS_MAX = 4


@dataclass
class Follower:
    """A reader with follow=True, the ids of the items that it has passed or given, and of those it may have passed."""

    reader: streamstore.Reader
    passed: set[int]
    hidden: set[int]


class Following(Reading):
    """Followers of this process."""

    def __init__(self) -> None:
        super().__init__()
        self.followers: list[Follower] = []

    @rule(seed=SEEDS, merge=st.booleans())
    def follow(self, seed: int, merge: bool) -> None:
        """One more follower, from any start or saved position; the oldest leaves its position."""
        chance = random.Random(seed)
        if self.saved and chance.random() < 0.4:
            saved = chance.choice(self.saved)
            start, passed, hidden = saved.position, set(saved.passed), set(saved.hidden)
        else:
            start, passed = self.begin_at(chance)
            hidden = set()
        kind = "a saved position" if isinstance(start, dict) else start
        self.tell(f"follow from {kind}, merge: {merge}")
        reader = self.stream.read(start, follow=True, timeout=0, merge=merge, on_trimmed="skip")
        self.followers.append(Follower(reader, passed, hidden))
        if len(self.followers) > FOLLOWERS_MAX:
            self.leave(self.followers.pop(0))

    def leave(self, follower: Follower) -> None:
        """A follower goes, and somebody keeps its position."""
        follower.reader.close()
        self.saved.append(Saved(follower.reader.position, follower.passed, follower.hidden))

    @rule(seed=SEEDS, looks=st.integers(1, 3))
    def look(self, seed: int, looks: int) -> None:
        """A follower takes some batches, or all there is; what it gave so far is behind it."""
        if not self.followers:
            return
        chance = random.Random(seed)
        follower = chance.choice(self.followers)
        drain = chance.random() < 0.7
        found: list[Row] = []
        while batch := follower.reader.poll():
            found += rows(follower.reader.hand_out(batch))
            if len(found) > 10 * self.made + 100:
                raise Broken("a follower gives records without end")
            looks -= not drain
            if not looks:
                break
        self.tell(f"look: {len(found)} records, drain: {drain}")
        wanted = self.not_in(follower.passed)
        if drain:
            self.agree(found, wanted, follower.hidden)
        follower.hidden |= self.hidden()  # it may have gone on behind them, in the shards that it looked into
        numbers = {row[1] for row in found}
        self.agree(found, [item for item in wanted if item.number in numbers])
        follower.passed |= {id(item) for item in wanted if item.number in numbers}

    def before_close(self) -> None:
        """This process lets go of the store: nothing of it can be followed any more."""
        while self.followers:
            self.leave(self.followers.pop())
        super().before_close()
