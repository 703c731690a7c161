"""The KPL's aggregated records: user records packed into the data of fewer Kinesis records, and taken out again.

Byte-compatible with the KPL and the KCL. Pure functions over bytes; which shard a record goes to is the caller's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from streamstore import limits, native, routing
from streamstore.errors import InvalidArgumentError, InvalidTypeError
from streamstore.native import UserRecord, deaggregate
from streamstore.values import HashRange

__all__ = ["RULES", "Aggregate", "UserRecord", "aggregate", "deaggregate", "deaggregate_records"]

OUTER_KEY_SIZE = 1  # the letter a
RULES = ("all", "strict", "keep-in-range")
"""Which user records of an aggregate are handed on where some do not belong to the shard: all of them; none, as the
KCL does; those that belong.
"""


class Aggregate(NamedTuple):
    """One Kinesis record as put_records takes it: an aggregate, or a user record that is alone and goes as it is."""

    data: bytes
    partition_key: str
    explicit_hash_key: int | None = None


def aggregate(
    records: Iterable[Any],
    hash_ranges: Iterable[tuple[int, int]] | None = None,
    *,
    size_max: int = limits.RECORD_SIZE_DEFAULT,
    count_max: int | None = None,
) -> list[Aggregate]:
    """Pack `records`, tuples (data, partition_key[, explicit_hash_key]), into as few Kinesis records as they fit.

    `hash_ranges` are those of all open shards (`shard.hash_range`): then no aggregate mixes records of two shards,
    which readers by the KCL's rule would drop. Without it everything is packed together, as is right for a stream of
    one shard. A Kinesis record has at most `size_max` bytes of data and key (64 to 10 MiB; the stream's
    max_record_size) and `count_max` user records; one that is alone, or too long, goes as it is. In order of the
    ranges, and of the records in each. Raises InvalidArgumentError, InvalidTypeError, RecordTooLargeError (1 GiB).
    """
    if type(size_max) is not int or (count_max is not None and type(count_max) is not int):
        raise InvalidTypeError("size_max and count_max are ints")
    if not limits.AGGREGATE_SIZE_MIN <= size_max <= limits.AGGREGATE_SIZE_MAX:
        raise InvalidArgumentError(
            f"size_max is {limits.AGGREGATE_SIZE_MIN} to {limits.AGGREGATE_SIZE_MAX} bytes, not {size_max}"
        )
    if count_max is not None and count_max < 1:
        raise InvalidArgumentError(f"count_max is at least 1, not {count_max}")
    ranges = None if hash_ranges is None else check_ranges(hash_ranges)
    bundler = native.Bundler(ranges, size_max - OUTER_KEY_SIZE, count_max or native.ANY_ITEMS, limits.RECORD_SIZE_MAX)
    return [Aggregate(*bundle[:3]) for bundle in bundler.bundle(records)]


def check_ranges(hash_ranges: Iterable[tuple[int, int]]) -> list[HashRange]:
    """The ranges sorted; InvalidArgumentError unless they tile the space of hash keys."""
    try:
        ranges = sorted(HashRange(*each) for each in hash_ranges)
        expected = 0
        for each in ranges:
            if each.start != expected or each.end < each.start:
                raise InvalidArgumentError(f"hash_ranges leave a gap or overlap at {expected}: {each.start} follows")
            expected = each.end + 1
    except TypeError:
        raise InvalidTypeError("hash_ranges are pairs of ints: (start, end), both included") from None
    if expected != limits.HASH_KEY_END:
        raise InvalidArgumentError("hash_ranges must cover 0 to 2**128 - 1: give those of all open shards")
    return ranges


def deaggregate_records(
    records: Iterable[Mapping[str, Any]], hash_range: tuple[int, int] | None = None, rule: str = "strict"
) -> Iterator[dict[str, Any]]:
    """Yield records as boto3's get_records gives them, with every aggregate taken apart.

    A user record is the dict of its Kinesis record with its own `Data` and `PartitionKey`, an `ExplicitHashKey` (str)
    where it had one, and `SubSequenceNumber` (its place in the aggregate, from 0). With the shard's `hash_range`, of
    an aggregate that holds user records of other shards "strict" drops all, as the KCL does, "keep-in-range" those.
    Raises InvalidArgumentError for another rule.
    """
    if rule not in RULES:
        raise InvalidArgumentError(f"rule is one of {', '.join(RULES)}, not {rule!r}")
    return _parts(records, None if hash_range is None or rule == "all" else HashRange(*hash_range), rule)


def _parts(records: Iterable[Mapping[str, Any]], owned: HashRange | None, rule: str) -> Iterator[dict[str, Any]]:
    for record in records:
        users = deaggregate(record["Data"])
        if users[0].partition_key is None:  # no aggregate
            yield dict(record)
            continue
        kept: Sequence[bool] = [owned is None or owned.start <= effective_hash_key(user) <= owned.end for user in users]
        if rule == "strict" and not all(kept):
            continue
        for place, user in enumerate(users):
            if kept[place]:
                part = {**record, "Data": user.data, "PartitionKey": user.partition_key, "SubSequenceNumber": place}
                if user.explicit_hash_key is not None:
                    part["ExplicitHashKey"] = str(user.explicit_hash_key)
                yield part


def effective_hash_key(user: UserRecord) -> int:
    """The hash key that places a user record: its explicit one, else that of its partition key."""
    if user.explicit_hash_key is not None:
        return user.explicit_hash_key
    return routing.hash_key_of_bytes((user.partition_key or "").encode(errors="surrogateescape"))
