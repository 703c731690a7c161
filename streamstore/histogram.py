"""Counts of values in buckets whose width grows with the value, so that any percentile is right to within 0.1 %.

Values are integers of no unit of their own. Buckets are exact below 2048; above, each power of two has 1024 of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

_BITS = 10
_EXACT = 1 << (_BITS + 1)


class Histogram:
    """Counts of values from 0 up; negative ones count as 0. Not for several threads at a time."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self.count = 0
        self.total = 0
        self.highest = 0

    def add(self, value: int, count: int = 1) -> None:
        """Count a value, `count` times."""
        value = max(value, 0)
        bucket = _bucket(value)
        self._counts[bucket] = self._counts.get(bucket, 0) + count
        self.count += count
        self.total += value * count
        self.highest = max(self.highest, value)

    def add_all(self, values: Iterable[int]) -> None:
        """Count each of many values."""
        for value in values:
            self.add(value)

    def merge(self, other: Histogram) -> None:
        """Count all that another has counted."""
        for bucket, count in other._counts.items():
            self._counts[bucket] = self._counts.get(bucket, 0) + count
        self.count += other.count
        self.total += other.total
        self.highest = max(self.highest, other.highest)

    @property
    def mean(self) -> float:
        """The mean of the values, 0 where there are none."""
        return self.total / self.count if self.count else 0.0

    def percentile(self, share: float) -> int:
        """The value that `share` (0 to 100) per cent of the values do not exceed; 0 where there are none."""
        wanted = max(1, -(-self.count * share // 100))
        seen = 0
        for bucket, count in sorted(self._counts.items()):
            seen += count
            if seen >= wanted:
                return min(_highest_of(bucket), self.highest)
        return self.highest

    def steps(self, bounds: Iterable[int]) -> Iterator[tuple[int, int]]:
        """(bound, how many values are at most that, and above the bound before), for rising bounds."""
        buckets = sorted(self._counts.items())
        index = 0
        for bound in bounds:
            found = 0
            while index < len(buckets) and min(_highest_of(buckets[index][0]), self.highest) <= bound:
                found += buckets[index][1]
                index += 1
            yield bound, found


def _bucket(value: int) -> int:
    if value < _EXACT:
        return value
    shift = value.bit_length() - _BITS - 1
    return (shift << _BITS) + (value >> shift)


def _highest_of(bucket: int) -> int:
    if bucket < _EXACT:
        return bucket
    shift = (bucket >> _BITS) - 1
    return (((bucket - (shift << _BITS)) + 1) << shift) - 1
