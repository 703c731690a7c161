"""How fast a shard may be put to: a bucket of tokens for records and one for bytes, as the KPL has them."""

from __future__ import annotations

RECORDS_PER_SECOND = 1_000
BYTES_PER_SECOND = 1 << 20


class Limiter:
    """The buckets of one shard, full at first, each holding what one second gives."""

    __slots__ = ("_at", "_bytes", "_bytes_max", "_records", "_records_max")

    def __init__(self, percent: int, at: float) -> None:
        self._records = self._records_max = RECORDS_PER_SECOND * percent / 100
        self._bytes = self._bytes_max = BYTES_PER_SECOND * percent / 100
        self._at = at

    def take(self, size: int, at: float) -> bool:
        """May a record of that size go now (monotonic seconds)? One larger than the bucket goes when that is full."""
        passed = max(0.0, at - self._at)
        self._at = at
        self._records = min(self._records_max, self._records + passed * self._records_max)
        self._bytes = min(self._bytes_max, self._bytes + passed * self._bytes_max)
        if self._records < 1 or self._bytes < min(size, self._bytes_max):
            return False
        self._records -= 1
        self._bytes -= size
        return True
