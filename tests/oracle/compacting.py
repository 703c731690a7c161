"""Rules that rewrite or drop what is there: compaction, and a process that dies over it, or over a clear."""

from __future__ import annotations

import random

from hypothesis import strategies as st
from hypothesis.stateful import rule

from oracle.base import SEEDS, SIDES, spare_child
from oracle.resharding import Resharding


class Compacting(Resharding):
    """Nothing that a reader can see changes."""

    @rule(side=SIDES, seed=SEEDS, seals=st.integers(0, 2))
    def compact(self, side: str, seed: int, seals: int) -> None:
        """Sealed segments of a shard are joined and compressed; where there are none, some are sealed first."""
        shard = random.Random(seed).choice([shard for shard in self.expected.shards if not shard.expired])
        for _ in range(seals):
            if not shard.closed:
                self.seal(side, seed)
        self.tell(f"compact {side}: {shard.index}: {self.act(side, 'compact', shard.index)} segments")

    @rule(side=SIDES)
    def maintain(self, side: str) -> None:
        """What is past goes, a segment at a time; nothing goes while the clock is not believed."""
        self.tell(f"maintain {side}")
        before = self.expected.oldest_us
        self.act(side, "maintain")
        if self.time_is_certain:
            self.expected.keep_from(before)
            self.expected.dropped()

    @rule(
        seed=SEEDS,
        count=st.integers(0, 3),
        everybody=st.booleans(),
        work=st.sampled_from(["compact_all", "clear", "maintain"]),
    )
    def die_over_work(self, seed: int, count: int, everybody: bool, work: str) -> None:
        """After some puts the other process begins it, and is killed somewhere on the way."""
        self.kill_over(seed, count, (work, (), {}), everybody=everybody)
        if work == "maintain":
            self.expected.dropped()
        if work == "clear":
            for shard in self.expected.shards:
                shard.maybe_cleared.append(len(shard.items))
        self.child = spare_child()
        if everybody:
            self.open()
        self.child.do("open", self.path)
        self.after_open()
