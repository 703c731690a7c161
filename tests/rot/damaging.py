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
"""By stream and sequence number: data and key."""


RING = streamstore.CallableKeyRing(lambda key, context: key[::-1], lambda box, context: box[::-1], "reversed")
STREAMS = ("s", "sealed")


def make(path: Path, older: Path) -> Rows:
    """A closed store: compacted segments, sealed ones with an index, some that were written to, children of a split; a
    second stream that is encrypted, and a queue.

    `older` is a copy from the middle of its life. Returns what is in its streams.
    """
    with streamstore.open(path, maintenance=False, key_ring=RING) as store:
        for name in STREAMS:
            stream = store.create_stream(name, 1, segment_size=128 * 1024)
            if name == "sealed":
                stream.start_encryption()
            for part in range(4):
                for n in range(12):
                    stream.put_record(b"%d/%d " % (part, n) + b"some text that repeats " * (n * 3), f"key-{n % 5}")
                stream.log(0).roll()
                if part == 1:
                    _compact(stream)
                    store.flush()
                    shutil.copytree(path, older, dirs_exist_ok=True)
            stream.split_shard(stream.shards()[0].id)
            stream.put_records([(b"after %d" % n, f"key-{n}") for n in range(10)])
        queue = store.queue("q", codec="bytes")
        queue.put_many([b"message %d" % n for n in range(10)])
        queue.ack_many(queue.get_many(4))
    with streamstore.open(path, maintenance=False, key_ring=RING) as store:
        for name in STREAMS:
            store.stream(name).put_record(b"last", "key-0")
    return rows(path)


def _compact(stream: streamstore.Stream) -> None:
    log = stream.log(0)
    sealer = stream.sealer(log)
    Compactor(rate=0).compact(log, now_us=1 << 60, after_us=0, size_max=1 << 20, sealer=sealer)


def rows(path: Path, on_corruption: str = "raise") -> Rows:
    """All that is read of the streams. What raises for damage names the stream in the second of its arguments."""
    found: Rows = {}
    with streamstore.open(path, create=False, maintenance=False, key_ring=RING) as store:
        for name in STREAMS:
            try:
                for record in store.stream(name).read(on_corruption=on_corruption):
                    found[f"{name} {record.sequence_number}"] = (record.data, record.partition_key or "")
            except streamstore.CorruptRangeError as error:
                error.args = (*error.args, name)
                raise
    return found


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
