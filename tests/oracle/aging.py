"""Rules by which time passes: retention, set to anything, under a clock that goes forward, back, and wrong."""

from __future__ import annotations

import random

from hypothesis import strategies as st
from hypothesis.stateful import rule

from oracle.base import SEEDS, SIDES
from oracle.following import Following

SECOND = 1_000_000
HOUR = 3600 * SECOND


class Aging(Following):
    """A clock with hands, the same in both processes."""

    def __init__(self) -> None:
        super().__init__()
        self.kept_us = 24 * HOUR
        self.clock: tuple[int, int] | None = None  # the wall clock, and how far ahead it is of the boot clock's idea

    @rule(side=SIDES, seed=SEEDS, kept_us=st.sampled_from([SECOND, 60 * SECOND, 24 * HOUR, 8760 * HOUR]))
    def age(self, side: str, seed: int, kept_us: int) -> None:
        """The horizon stands exactly at a record, just behind it, or before all of them."""
        chance = random.Random(seed)
        seen = [item.arrival_us for shard in self.expected.shards for item in shard.items if item.arrival_us]
        oldest = (chance.choice(seen) + chance.choice((-1, 0, 1))) if seen and chance.random() < 0.8 else SECOND
        jump = chance.choice((0, 0, -HOUR, HOUR, 2 * HOUR, 3000 * HOUR, -2 * HOUR))
        self.tell(f"age {side}: kept for {kept_us} us, horizon at {oldest}, clock ahead by {jump} us")
        self.act(side, "keep_for", kept_us)
        self.kept_us = kept_us
        # A clock that is off by more than an hour is not believed: time is where the boot clock says.
        self.clock = (oldest + kept_us + (jump if abs(jump) > HOUR else 0), jump)
        self.set_clocks()

    def set_clocks(self) -> None:
        """Both processes read the same clock."""
        if self.clock is not None:
            for side in ("here", "there"):
                self.act(side, "set_clock", *self.clock)

    @property
    def time_is_certain(self) -> bool:
        """Whether what is past may be dropped: nothing is while the wall clock stands where nobody expects it."""
        return self.clock is None or abs(self.clock[1]) <= HOUR

    def now_us(self) -> int:
        """The time that is to be believed; 0: it is the real one, under which nothing here expires."""
        if self.clock is None:
            return 0
        wall, jump = self.clock
        return wall - jump if abs(jump) > HOUR else wall

    def after_open(self) -> None:
        """Both processes have the store open anew."""
        super().after_open()
        self.set_clocks()
        self.expected.keep_from(max(0, self.now_us() - self.kept_us))

    def settle(self) -> None:
        """The horizon first: it is time's to say."""
        self.expected.keep_from(max(0, self.now_us() - self.kept_us))
        super().settle()

    def create(self) -> None:
        """A new stream keeps its records for a day."""
        super().create()
        self.kept_us = 24 * HOUR
