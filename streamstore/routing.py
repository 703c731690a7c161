"""Which shard a record belongs to: hash keys, uniform ranges, shard ids. Pure functions; the fast twin is in C."""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_right
from collections.abc import Sequence

from streamstore.errors import InvalidArgumentError, InvalidTypeError
from streamstore.limits import HASH_KEY_END
from streamstore.values import HashRange

_SHARD_ID = re.compile(r"shardId-(\d{12})\Z")


def uniform_ranges(count: int) -> list[HashRange]:
    """The whole hash-key space in `count` equal parts, as the service cuts it: what is left over goes to the last."""
    width = HASH_KEY_END // count
    starts = [index * width for index in range(count)]
    return [HashRange(start, end - 1) for start, end in zip(starts, [*starts[1:], HASH_KEY_END], strict=True)]


def uniform_range(count: int, index: int) -> HashRange:
    """One of `uniform_ranges(count)`, without making the others."""
    width = HASH_KEY_END // count
    return HashRange(index * width, HASH_KEY_END - 1 if index == count - 1 else (index + 1) * width - 1)


def hash_key(partition_key: str) -> int:
    """The MD5 of the key's UTF-8 bytes as a 128-bit number."""
    return hash_key_of_bytes(partition_key.encode())


def hash_key_of_bytes(partition_key: bytes) -> int:
    """The same for a key that is no text."""
    return int.from_bytes(hashlib.md5(partition_key, usedforsecurity=False).digest(), "big")


def route(ranges: Sequence[HashRange], key: int) -> int:
    """The place in `ranges` (sorted, without gaps) of the one that holds `key`."""
    return bisect_right(ranges, key, key=lambda item: item.start) - 1


def shard_id(index: int) -> str:
    """`shardId-000000000007` for 7."""
    return f"shardId-{index:012d}"


def shard_index(text: str) -> int:
    """The index in a shard id. InvalidArgumentError for what is none."""
    if not isinstance(text, str):
        raise InvalidTypeError(f"a shard id is a str, not {type(text).__name__}")
    match = _SHARD_ID.match(text)
    if match is None:
        raise InvalidArgumentError(f"{text!r} is no shard id: they look like {shard_id(0)}")
    return int(match[1])
