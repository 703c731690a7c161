"""A store with every kind of file, and the ways in which a disk can spoil one of them."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import streamstore
from streamstore.compaction import Compactor

SECTOR = 512
KINDS = ("bit", "byte", "zeros", "older", "misdirected", "short", "missing", "longer", "swapped")
Rows = dict[str, tuple[bytes, str]]
"""By sequence number: data and key."""


def make(path: Path, older: Path) -> Rows:
    """A closed store: a compacted segment, sealed ones with an index, one that was written to, children of a split.

    `older` is a copy from the middle of its life. Returns what is in it.
    """
    with streamstore.open(path, maintenance=False) as store:
        stream = store.create_stream("s", 1, segment_size=128 * 1024)
        for part in range(4):
            for n in range(12):
                stream.put_record(b"%d/%d " % (part, n) + b"some text that repeats " * (n * 3), f"key-{n % 5}")
            stream.log(0).roll()
            if part == 1:
                Compactor(rate=0).compact(stream.log(0), now_us=1 << 60, after_us=0, size_max=1 << 20)
                store.flush()
                shutil.copytree(path, older)
        stream.split_shard(stream.shards()[0].id)
        stream.put_records([(b"after %d" % n, f"key-{n}") for n in range(10)])
    with streamstore.open(path, maintenance=False) as store:
        store.stream("s").put_record(b"last", "key-0")
    return rows(path)


def rows(path: Path, on_corruption: str = "raise") -> Rows:
    """All that is read."""
    with streamstore.open(path, create=False, maintenance=False) as store:
        return {
            record.sequence_number: (record.data, record.partition_key or "")
            for record in store.stream("s").read(on_corruption=on_corruption)
        }


def spoil(path: Path, older: Path, chance: random.Random) -> str:
    """Damage one file of the store; says what was done."""
    names = sorted(file.relative_to(path) for file in path.rglob("*") if file.is_file() and file.name != "reserve")
    name, kind = chance.choice(names), chance.choice(KINDS)
    file = path / name
    data = bytearray(file.read_bytes())
    written = len(data.rstrip(b"\0")) or 1
    at = chance.randrange(written)
    sector = at // SECTOR * SECTOR
    where = f"{kind}, {name}, at {at}"
    if kind == "bit":
        data[at] ^= 1 << chance.randrange(8)
    elif kind == "byte":
        data[at] = chance.choice((0, 255))
    elif kind == "zeros":
        data[sector : sector + SECTOR] = bytes(len(data[sector : sector + SECTOR]))
    elif kind == "older" and (older / name).exists():
        before = (older / name).read_bytes()
        data[sector : sector + SECTOR] = before[sector : sector + SECTOR].ljust(
            len(data[sector : sector + SECTOR]), b"\0"
        )
    elif kind == "misdirected":
        other = (path / chance.choice(names)).read_bytes()
        start = chance.randrange(len(other) // SECTOR + 1) * SECTOR
        part = other[start : start + SECTOR]
        data[sector : sector + SECTOR] = part.ljust(len(data[sector : sector + SECTOR]), b"\0")
    elif kind == "short":
        del data[at:]
    elif kind == "longer":
        data += chance.randbytes(chance.choice((1, 100, 5000)))
    elif kind == "swapped":
        # Not with the hints: a log's only segment gone, and with it the hint that there was one, are two faults.
        others = [other for other in names if "control" not in (other.name, name.name)] or [name]
        other_file = path / chance.choice(others)
        os.rename(other_file, path / "swapping")
        if other_file != file:
            os.rename(file, other_file)
        os.rename(path / "swapping", file)
        return f"{where}, with {other_file.name} in {other_file.parent.name}"
    file.unlink()
    if kind != "missing":
        file.write_bytes(data)
    return where
