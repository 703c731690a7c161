"""Keys of which a few are much busier than the rest: Zipf's law, by one binary search a draw."""

from __future__ import annotations

import random
from bisect import bisect_right
from itertools import accumulate

from streamstore.errors import InvalidArgumentError

KEYS_MAX = 10_000_000


class Keys:
    """`count` keys, the n-th of which is drawn in proportion to 1 / n**exponent; exponent 0 makes all equal."""

    def __init__(self, count: int, exponent: float = 1.0, prefix: str = "key-") -> None:
        if not 1 <= count <= KEYS_MAX:
            raise InvalidArgumentError(f"there are 1 to {KEYS_MAX:,} keys, not {count}")
        if not 0 <= exponent <= 10:
            raise InvalidArgumentError(f"a Zipf exponent is from 0 to 10, not {exponent}")
        self.count = count
        self._prefix = prefix
        self._width = len(str(count - 1))
        self._bounds = list(accumulate((number + 1) ** -exponent for number in range(count))) if exponent else None

    def draw(self, chance: random.Random) -> str:
        """One key."""
        return f"{self._prefix}{self.rank(chance):0{self._width}d}"

    def rank(self, chance: random.Random) -> int:
        """The number of a key, 0 for the busiest."""
        if self._bounds is None:
            return chance.randrange(self.count)
        return min(bisect_right(self._bounds, chance.random() * self._bounds[-1]), self.count - 1)
