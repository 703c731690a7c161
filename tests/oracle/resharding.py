"""Rules that split and merge shards, and let a process die over it: whoever comes next finishes what was begun."""

from __future__ import annotations

import random

from hypothesis import strategies as st
from hypothesis.stateful import rule

from oracle.actions import facts
from oracle.base import SEEDS, SIDES, spare_child
from oracle.copying import Copying
from oracle.expected import KEYS_END, Broken, Shard
from streamstore import reshard
from streamstore.errors import InvalidArgumentError


class Resharding(Copying):
    """The oracle learns of new shards from the store, and holds them against what was asked."""

    def adopt(self) -> None:
        """Take in what the store says of its shards."""
        super().adopt()
        self.expected.adopt(facts(self.stream))

    def finish(self) -> None:
        """Carry out the step that somebody died over."""
        super().finish()
        if self.expected.half_done:
            self.store.catalog.settle()  # also what the dead process had published and nobody can see yet
            reshard.finish(self.stream)
            self.expected.half_done = False
            self.adopt()

    def open_shards(self) -> list[Shard]:
        """In the order of their hash keys."""
        return sorted((shard for shard in self.expected.shards if not shard.closed), key=lambda shard: shard.low)

    def step(self, side: str, name: str, *arguments: int) -> bool:
        """Reshard; False where a step that somebody died over came first, and ended a shard that was named."""
        half_done = self.expected.half_done
        try:
            self.act(side, name, *arguments)
        except InvalidArgumentError:
            if not half_done:
                raise
            return False
        finally:
            self.adopt()
        self.expected.half_done = False  # whoever reshards finishes what was begun before
        return True

    @rule(side=SIDES, seed=SEEDS)
    def split(self, side: str, seed: int) -> None:
        """One shard becomes two."""
        chance = random.Random(seed)
        self.adopt()
        able = [shard for shard in self.open_shards() if shard.low < shard.high]
        if len(able) > 8 or not able:
            return
        shard = chance.choice(able)
        key = chance.choice((shard.low + 1, shard.high, chance.randint(shard.low + 1, shard.high)))
        self.tell(f"split {side}: {shard.index} at {key}")
        if not self.step(side, "split", shard.index, key):
            return
        ranges = [(child.low, child.high) for child in self.expected.shards if child.parents == (shard.index,)]
        if ranges != [(shard.low, key - 1), (key, shard.high)]:
            raise Broken(f"shard {shard.index} was split at {key}, and its children own {ranges}")

    @rule(side=SIDES, seed=SEEDS)
    def merge(self, side: str, seed: int) -> None:
        """Two neighbours become one."""
        chance = random.Random(seed)
        self.adopt()
        able = self.open_shards()
        if len(able) < 2:
            return
        place = chance.randrange(len(able) - 1)
        pair = [able[place], able[place + 1]]
        chance.shuffle(pair)
        self.tell(f"merge {side}: {pair[0].index} and {pair[1].index}")
        if not self.step(side, "merge", pair[0].index, pair[1].index):
            return
        ranges = [(c.low, c.high) for c in self.expected.shards if set(c.parents) == {pair[0].index, pair[1].index}]
        if ranges != [(able[place].low, able[place + 1].high)]:
            raise Broken(f"shards {pair[0].index} and {pair[1].index} were merged, and the child owns {ranges}")

    @rule(side=SIDES, count=st.integers(1, 6))
    def update_count(self, side: str, count: int) -> None:
        """So many equal shards, in whatever steps."""
        self.adopt()
        made = len(self.expected.shards)
        before = {shard.low for shard in self.open_shards()}
        self.tell(f"update {side}: {count} shards")
        half_done = self.expected.half_done
        self.step(side, "update", count)
        width = KEYS_END // count
        wanted = [index * width for index in range(count)]
        if [shard.low for shard in self.open_shards()] != wanted:
            raise Broken(f"{count} shards were asked for, and {[shard.low for shard in self.open_shards()]} begin")
        new = self.expected.shards[made:]
        steps = len({shard.parents for shard in new})
        if steps != len(before ^ set(wanted)) and not half_done:
            raise Broken(f"{steps} steps to {count} shards, and not the fewest: {len(before ^ set(wanted))}")

    @rule(seed=SEEDS, count=st.integers(0, 3), everybody=st.booleans())
    def die_over_a_reshard(self, seed: int, count: int, everybody: bool) -> None:
        """After some puts the other process reshards, and is killed somewhere on the way."""
        if len(self.open_shards()) > 8:
            return
        self.kill_over(seed, count, ("reshard", (seed,), {}), everybody=everybody)
        self.expected.half_done = True
        self.child = spare_child()
        if everybody:
            self.open()
        self.child.do("open", self.path)
        self.after_open()
