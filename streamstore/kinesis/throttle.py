"""The service's rates, enforced under limits="aws" alone: per shard in and out, and calls of control operations.

A token bucket holds a second's worth; a request that finds too little in it is refused whole.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from streamstore.kinesis import errors
from streamstore.kinesis.operations import Operation

if TYPE_CHECKING:
    from streamstore.kinesis.call import Call

MIB = 1 << 20
IN_BYTES, IN_RECORDS, OUT_BYTES, OUT_CALLS = 1 * MIB, 1000, 2 * MIB, 5
BUCKETS_MAX = 100_000


class Bucket:
    """What is left of a rate, as of a time."""

    __slots__ = ("left", "rate", "then_us")

    def __init__(self, rate: float, now_us: int) -> None:
        self.rate = rate
        self.left = rate
        self.then_us = now_us

    def fill(self, now_us: int) -> float:
        if now_us > self.then_us:
            self.left = min(self.rate, self.left + self.rate * (now_us - self.then_us) / 1_000_000)
            self.then_us = now_us
        return self.left


class Throttle:
    """All rates of one service. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._buckets: dict[tuple[object, ...], Bucket] = {}

    def _bucket(self, key: tuple[object, ...], rate: float, now_us: int) -> Bucket:
        if len(self._buckets) > BUCKETS_MAX:  # full ones say nothing; nobody can make us keep more
            self._buckets = {key: bucket for key, bucket in self._buckets.items() if bucket.fill(now_us) < bucket.rate}
        found = self._buckets.get(key)
        if found is None:
            found = self._buckets[key] = Bucket(rate, now_us)
        found.fill(now_us)
        return found

    def control(self, operation: Operation, call: Call) -> None:
        """Count a call of a control operation. Raises LimitExceededException."""
        if operation.rate is None:
            return
        with self._lock:
            bucket = self._bucket(("call", operation.name, call.account), operation.rate, call.now_us)
            if bucket.left < 1:
                raise errors.limit_exceeded(f"Rate exceeded for account {call.account}.")
            bucket.left -= 1

    def put(self, stream_id: int, shard_index: int, size: int, now_us: int) -> bool:
        """Count a record into a shard; False where its rate is used up."""
        with self._lock:
            sizes = self._bucket(("in", stream_id, shard_index), IN_BYTES, now_us)
            counts = self._bucket(("records", stream_id, shard_index), IN_RECORDS, now_us)
            # A record larger than a second's worth passes when the bucket is full, and is paid off afterwards.
            if counts.left < 1 or sizes.left < min(size, IN_BYTES):
                return False
            counts.left -= 1
            sizes.left -= size
            return True

    def read(self, stream_id: int, shard_index: int, now_us: int) -> bool:
        """Count a GetRecords; False where the shard's calls or bytes are used up."""
        with self._lock:
            sizes = self._bucket(("out", stream_id, shard_index), OUT_BYTES, now_us)
            calls = self._bucket(("reads", stream_id, shard_index), OUT_CALLS, now_us)
            if calls.left < 1 or sizes.left <= 0:
                return False
            calls.left -= 1
            return True

    def was_read(self, stream_id: int, shard_index: int, size: int, now_us: int) -> None:
        """Take what a read returned out of its shard's rate: one may overdraw it, the next ones wait."""
        with self._lock:
            self._bucket(("out", stream_id, shard_index), OUT_BYTES, now_us).left -= size

    def fan_out_us(self, key: tuple[int, str, int], now_us: int) -> int:
        """The microseconds until a consumer may be sent more of a shard: 0 where it may be now."""
        with self._lock:
            bucket = self._bucket(("fan-out", *key), OUT_BYTES, now_us)
            return 0 if bucket.left > 0 else int((1 - bucket.left) * 1_000_000 / OUT_BYTES) + 1

    def was_sent(self, key: tuple[int, str, int], size: int, now_us: int) -> None:
        """Take what an event carried out of its consumer's rate: one may overdraw it, the next ones wait."""
        with self._lock:
            self._bucket(("fan-out", *key), OUT_BYTES, now_us).left -= size
