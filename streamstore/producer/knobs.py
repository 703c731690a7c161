"""The KPL's knobs by their names in snake_case, with its defaults and in its units (milliseconds), and some of ours."""

from __future__ import annotations

from dataclasses import dataclass, fields

from streamstore import InvalidArgumentError, InvalidTypeError, limits

AGGREGATION_COUNT_MAX = 4_294_967_295
COLLECTION_SIZE_MIN = 52_224
TIME_MAX_MS = 7 * 86_400_000


@dataclass(frozen=True)
class Knobs:
    """Every setting of a Producer; see docs/producer.md for what each does."""

    aggregation_enabled: bool = True
    aggregation_max_count: int = AGGREGATION_COUNT_MAX
    aggregation_max_size: int = 51_200
    collection_max_count: int = 500
    collection_max_size: int = 5 * limits.MIB
    record_max_buffered_time: int = 100
    record_ttl: int = 30_000
    rate_limit: int | None = None
    fail_if_throttled: bool = False
    request_timeout: int = 6_000
    connect_timeout: int = 6_000
    max_connections: int = 24
    preserve_order: bool = False
    max_outstanding_records: int = 200_000
    max_outstanding_bytes: int = 64 * limits.MIB

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name == "rate_limit" and value is None:
                continue
            wanted = bool if isinstance(each.default, bool) else int
            if type(value) is not wanted:
                raise InvalidTypeError(f"{each.name} is {wanted.__name__}, not {type(value).__name__}")
            if each.name in _RANGES and not _RANGES[each.name][0] <= value <= _RANGES[each.name][1]:
                low, high = _RANGES[each.name]
                raise InvalidArgumentError(f"{each.name} is {low} to {high}, not {value}")

    @property
    def buffered_s(self) -> float:
        """record_max_buffered_time in seconds."""
        return self.record_max_buffered_time / 1000

    @property
    def ttl_s(self) -> float:
        """record_ttl in seconds."""
        return self.record_ttl / 1000


_RANGES = {
    "aggregation_max_count": (1, AGGREGATION_COUNT_MAX),
    "aggregation_max_size": (limits.AGGREGATE_SIZE_MIN, limits.AGGREGATE_SIZE_MAX),
    "collection_max_count": (1, 500),
    "collection_max_size": (COLLECTION_SIZE_MIN, limits.AGGREGATE_SIZE_MAX),
    "record_max_buffered_time": (0, TIME_MAX_MS),
    "record_ttl": (100, TIME_MAX_MS),
    "rate_limit": (0, 1_000_000),
    "request_timeout": (100, 600_000),
    "connect_timeout": (100, 300_000),
    "max_connections": (1, 256),
    "max_outstanding_records": (1, 1 << 40),
    "max_outstanding_bytes": (1, 1 << 50),
}
