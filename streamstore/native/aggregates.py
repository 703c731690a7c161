"""Aggregates of user records: made from entries, and taken apart. The bytes are C's; this knows ranges and rules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from streamstore._hot import Intake, Record, UserPut, UserRecord, aggregate, deaggregate, deaggregate_records, settle
from streamstore.native.entries import range_table
from streamstore.values import HashRange

Bundle = tuple[bytes, str, int | None, int, list[Any]]
"""One Kinesis record to be: data, partition key, explicit hash key, which of the ranges, the entries in it."""

ANY_ITEMS = (1 << 63) - 1
RECORD_SIZE_MAX = 1 << 30
RULES = {"all": 0, "strict": 1, "keep-in-range": 2}


class Bundler:
    """Makes Kinesis records of entries: an aggregate where several of one range fit together. Any thread."""

    __slots__ = ("_address", "_limits", "_table", "count")

    def __init__(self, ranges: Sequence[HashRange] | None, size_max: int, count_max: int, record_size_max: int) -> None:
        self._address, self._table = range_table(ranges) if ranges else (0, None)
        self.count = len(ranges) if ranges else 1
        self._limits = (size_max, min(count_max, ANY_ITEMS), record_size_max)

    def bundle(self, entries: Iterable[Any]) -> list[Bundle]:
        """Bundles in the order of the ranges, and in each range of the entries: as for put_records, or UserPuts."""
        return aggregate(entries, self._address, self.count, *self._limits)


def user_records(records: list[Record], rule: str, owned: HashRange) -> tuple[list[Record], int]:
    """The same records with every aggregate taken apart, and how many user records the rule left out."""
    return deaggregate_records(records, RULES[rule], owned.start, owned.end)


__all__ = [
    "ANY_ITEMS",
    "RECORD_SIZE_MAX",
    "Bundle",
    "Bundler",
    "Intake",
    "UserPut",
    "UserRecord",
    "deaggregate",
    "settle",
    "user_records",
]
