"""The core's hashes against hashlib and the xxhash package, through the binding.

Knows the leaves' C functions only; no store is opened here.
"""

from __future__ import annotations

import bisect
import hashlib
import random
from collections.abc import Sequence

import pytest

from streamstore._core import ffi, lib

HASH_KEYS = 1 << 128
WORD = (1 << 64) - 1

LENGTHS = [*range(300), 511, 512, 1023, 1024, 1025, 2047, 2048, 2049, 4095, 4097, 65_536, 65_537]


def md5_number(key: bytes) -> int:
    return int.from_bytes(hashlib.md5(key, usedforsecurity=False).digest(), "big")


def hash_keys(numbers: Sequence[int]) -> object:
    return ffi.new("ss_hash_key[]", [(number >> 64, number & WORD) for number in numbers])


def make_ranges(starts: Sequence[int], ends: Sequence[int], shards: Sequence[int]) -> object:
    """A routing table, freed with the object returned."""
    out = ffi.new("ss_ranges **")
    status = lib.ss_ranges_create(hash_keys(starts), hash_keys(ends), ffi.new("uint32_t[]", shards), len(starts), out)
    assert status == lib.SS_OK
    return ffi.gc(out[0], lib.ss_ranges_free)


def route_keys(ranges: object, keys: Sequence[bytes]) -> list[int]:
    buffers = [ffi.from_buffer("uint8_t[]", key) for key in keys]
    routed = ffi.new("uint32_t[]", len(keys))
    lib.ss_ranges_route_keys(
        ranges, ffi.new("uint8_t *[]", buffers), ffi.new("size_t[]", [len(key) for key in keys]), len(keys), routed
    )
    return list(routed)


def random_starts(rng: random.Random, count: int) -> list[int]:
    """0 and count - 1 other starts, half of them crowded around one point, in order."""
    centre = rng.randrange(HASH_KEYS)
    starts = {0}
    while len(starts) < count:
        crowded = rng.random() < 0.5
        starts.add((centre + rng.randrange(1000)) % HASH_KEYS if crowded else rng.randrange(HASH_KEYS))
    return sorted(starts)


@pytest.mark.parametrize("seed", [0, 1, 0x9E3779B97F4A7C15, WORD])
def test_xxh3_equals_the_reference_package_at_every_length(seed: int) -> None:
    """ss_xxh3_64_seeded returns what xxhash.xxh3_64 returns."""
    xxhash = pytest.importorskip("xxhash")
    rng = random.Random(seed)
    for length in LENGTHS:
        data = rng.randbytes(length)
        assert lib.ss_xxh3_64_seeded(data, length, seed) == xxhash.xxh3_64_intdigest(data, seed), length


def test_xxh3_equals_the_reference_package_on_random_input() -> None:
    """Lengths and seeds drawn at random agree as well, at any alignment."""
    xxhash = pytest.importorskip("xxhash")
    rng = random.Random(2024)
    block = rng.randbytes(20_000)
    buffer = ffi.from_buffer("uint8_t[]", block)
    for _ in range(2000):
        start, seed = rng.randrange(64), rng.getrandbits(64)
        size = rng.randrange(rng.choice([64, 300, 19_000]))
        expected = xxhash.xxh3_64_intdigest(block[start : start + size], seed)
        assert lib.ss_xxh3_64_seeded(buffer + start, size, seed) == expected, (start, size, seed)


def test_md5_equals_hashlib_at_every_length() -> None:
    """ss_md5 returns what hashlib.md5 returns."""
    rng = random.Random(1321)
    digest = ffi.new("uint8_t[16]")
    for length in LENGTHS:
        data = rng.randbytes(length)
        lib.ss_md5(data, length, digest)
        assert bytes(digest) == hashlib.md5(data, usedforsecurity=False).digest(), length


def test_a_partition_keys_hash_key_is_its_md5_as_a_number() -> None:
    """ss_ranges_hash reads the digest as one big-endian 128-bit number."""
    for key in (b"", b"a", b"user-42", "schlüssel".encode(), b"k" * 256):
        hash_key = lib.ss_ranges_hash(key, len(key))
        assert hash_key.hi << 64 | hash_key.lo == md5_number(key)


@pytest.mark.parametrize("shard_count", [1, 2, 3, 16, 100, 10_000])
@pytest.mark.parametrize("key_size_max", [12, 55, 256])
def test_batches_of_keys_go_where_hashlib_sends_them(shard_count: int, key_size_max: int) -> None:
    """ss_ranges_route_keys agrees with hashlib and bisect, for batches of every size and keys of mixed lengths."""
    rng = random.Random(shard_count * 1000 + key_size_max)
    starts = [HASH_KEYS * i // shard_count for i in range(shard_count)]
    ends = [start - 1 for start in starts[1:]] + [HASH_KEYS - 1]
    shards = rng.sample(range(1 << 32), shard_count)
    ranges = make_ranges(starts, ends, shards)
    for batch_size in [*range(70), 255, 256, 257, 500, 1000]:
        keys = [rng.randbytes(rng.randrange(key_size_max + 1)) for _ in range(batch_size)]
        assert route_keys(ranges, keys) == [shards[bisect.bisect_right(starts, md5_number(key)) - 1] for key in keys]


@pytest.mark.parametrize("shard_count", [1, 2, 5, 50, 3000])
def test_ranges_of_any_shape_and_order_route_exactly(shard_count: int) -> None:
    """Both ends of every range, given in any order, and random keys reach the right shard."""
    rng = random.Random(shard_count)
    starts = random_starts(rng, shard_count)
    ends = [start - 1 for start in starts[1:]] + [HASH_KEYS - 1]
    order = rng.sample(range(shard_count), shard_count)
    ranges = make_ranges([starts[i] for i in order], [ends[i] for i in order], order)
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        for number in (start, end):
            assert lib.ss_ranges_route(ranges, (number >> 64, number & WORD)) == i
    for _ in range(1000):
        number = rng.randrange(HASH_KEYS)
        assert lib.ss_ranges_route(ranges, (number >> 64, number & WORD)) == bisect.bisect_right(starts, number) - 1


def test_ranges_that_do_not_tile_the_space_are_refused() -> None:
    """A gap, an overlap, a missing end and no range at all are SS_INVALID, and no table is returned."""
    half, last = HASH_KEYS // 2, HASH_KEYS - 1
    refused: list[list[tuple[int, int]]] = [
        [],
        [(0, last - 1)],
        [(1, last)],
        [(0, half - 2), (half, last)],
        [(0, half), (half, last)],
        [(0, last), (0, last)],
        [(half, last), (0, half - 1), (half, last)],
    ]
    for ranges in refused:
        starts, ends = [start for start, _ in ranges], [end for _, end in ranges]
        out = ffi.new("ss_ranges **")
        shards = ffi.new("uint32_t[]", max(len(ranges), 1))
        assert lib.ss_ranges_create(hash_keys(starts), hash_keys(ends), shards, len(ranges), out) == lib.SS_INVALID
        assert out[0] == ffi.NULL
