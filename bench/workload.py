"""The records that are written: made once, the same in every run, none of them alike."""

from __future__ import annotations

import random

SEED = 20_240_229
KEYS = tuple(f"user-{number:04d}" for number in range(1_000))


def records(count: int, size: int = 100) -> list[bytes]:
    """Return `count` records of `size` bytes that do not compress."""
    noise = random.Random(SEED).randbytes(size + count)
    return [noise[start : start + size] for start in range(count)]


def keyed(data: list[bytes]) -> list[tuple[bytes, str]]:
    """Return the records with partition keys, a thousand of them in turn."""
    return [(item, KEYS[index % len(KEYS)]) for index, item in enumerate(data)]
