"""A program that opens and closes stores, streams and readers, reads much, and checks that what it holds stays flat.

Prints private memory (KiB), descriptors, maps and threads as they were after warming up and at the end.
"""

from __future__ import annotations

import argparse
import gc
import os
import re
import shutil
from pathlib import Path
from typing import NamedTuple

import proof

import streamstore

MIB = 1024 * 1024
BLOCK = 25
SEALED_KEPT_OPEN = 256  # descriptors of sealed segments that a store keeps for reading, at most


class Holdings(NamedTuple):
    """What a process holds."""

    anonymous_kib: int
    descriptors: int
    maps: int
    threads: int


def holdings() -> Holdings:
    """What this process holds now."""
    gc.collect()
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(r"RssAnon:\s+(\d+)", status)
    return Holdings(
        int(found[1]) if found else 0,
        len(os.listdir("/proc/self/fd")),
        Path("/proc/self/maps").read_text(encoding="ascii").count("\n"),
        len(os.listdir("/proc/self/task")),
    )


def flat(what: str, before: Holdings, after: Holdings, allowed_kib: int, *, descriptors: int = 0) -> None:
    """Say what was and is held; more than is allowed is a failure."""
    print(f"{what}: {before} -> {after}")
    if (
        after.anonymous_kib > before.anonymous_kib + allowed_kib
        or after.descriptors > before.descriptors + descriptors
        or after.maps > before.maps + 16
        or after.threads > before.threads
    ):
        raise proof.Failure(f"{what}: more is held than before")


def cycle(path: str, i: int) -> None:
    """Open, put, read, follow, get, leave a reader open, close."""
    store = streamstore.open(path)
    stream = store.create_stream(f"s-{i % 3}", 2, durability=("sync", "interval", "process")[i % 3], exist_ok=True)
    result = stream.put_record(b"x" * (i % 1000), f"{i}")
    stream.shard(result.shard_id).get(result.sequence_number)
    stream.put_records([(b"y", "k")] * 3)
    for _ in stream.read("LATEST", follow=True, timeout=0):
        pass
    left_open = iter(stream.read())
    next(left_open)
    stream.last(2)
    if i % 2:
        store.close()  # else the garbage collector's


def block(path: str, *, beside: bool) -> None:
    """BLOCK cycles on a new store, alone or beside a handle that stays: what a store has to know stays as small."""
    holder = streamstore.open(path) if beside else None
    for i in range(BLOCK):
        cycle(path, i)
    if holder:
        holder.close()
    gc.collect()
    shutil.rmtree(path)


def cycles(path: str, count: int, *, beside: bool) -> None:
    """So many cycles, after some to warm up."""
    for _ in range(4):
        block(path, beside=beside)
    before = holdings()
    for _ in range(count // BLOCK):
        block(path, beside=beside)
    flat(f"{count} cycles", before, holdings(), 512)


def volume(path: str, mib: int) -> None:
    """Write and read that much through one handle."""
    record = os.urandom(8 * 1024)
    with streamstore.open(path) as store:
        stream = store.create_stream("volume", 1, durability="process", segment_size=4 * MIB)

        def write_and_read(size: int) -> None:
            for _ in range(size):
                stream.put_records([(record, "k")] * 128)
            if sum(len(each.data) for each in stream.read()) != stream.shards()[0].record_count * len(record):
                raise proof.Failure("not all was read")
            store.flush()  # a segment stays mapped until it is durable

        write_and_read(mib // 8)
        before = holdings()
        write_and_read(mib - mib // 8)
        flat(f"{mib} MiB", before, holdings(), 4096, descriptors=SEALED_KEPT_OPEN)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory")
    parser.add_argument("--cycles", type=int, default=200)
    parser.add_argument("--mib", type=int, default=64)
    options = parser.parse_args()
    cycles(options.directory + "/alone", options.cycles, beside=False)
    cycles(options.directory + "/beside", options.cycles, beside=True)
    volume(options.directory + "/volume", options.mib)


if __name__ == "__main__":
    main()
