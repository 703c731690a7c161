"""A program that fills a small file system to the last byte and trims there: through open handles, and after a kill.

Mounts the file system itself, in a mount namespace of its own. What was acknowledged and is not past stays; what is
past goes; and with the space so won the same streams are written to.
"""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import proof
from fill_disk import KIB, ballast, mount

import streamstore
from streamstore import clock, retention

DAY_US = 24 * retention.HOUR_US


def late(store: Any) -> None:
    """Let the store believe that it is tomorrow, and an hour."""
    now_us = clock.now_us()
    store.clock.wall = lambda: now_us + DAY_US + retention.HOUR_US
    store.clock.jump = lambda: 0
    store.clock.forget()


def fill(store: Any, weight: Path) -> list[str]:
    """Records until nothing more fits, and then what is left of the disk; the numbers of those that must stay."""
    kept, passing = store.stream("kept"), store.stream("passing")
    numbers, full = [], 0
    while full < 2:
        stream = (kept, passing)[len(numbers) % 4 != 0]
        try:
            number = stream.put_record(b"x" * 3000, f"k{len(numbers)}").sequence_number
            numbers += [number] if stream is kept else [""]
            full = 0
        except streamstore.StoreFullError:
            numbers += [""]  # the other one's turn
            full += 1
    ballast(weight, 1 << 40)
    return [number for number in numbers if number]


def trim(store: Any) -> None:
    """Drop what is past, on a disk without a free byte, and use the space."""
    late(store)
    report = store.maintain()
    if report.problems or report.freed_bytes < 512 * KIB:
        raise proof.Failure(f"trimming on a full disk: {report}")
    passing = store.stream("passing")
    if list(passing.read()):
        raise proof.Failure("what is past was returned")
    for n in range(50):
        passing.put_record(b"new", f"k{n}")
    store.stream("kept").put_record(b"new", "k")


def check(store: Any, numbers: list[str]) -> None:
    """All that must stay is there, in order, and no file is damaged."""
    late(store)
    found = [record.sequence_number for record in store.stream("kept").read(merge=True)]
    if found[: len(numbers)] != numbers:
        raise proof.Failure(f"{len(numbers)} records were acknowledged, {len(found)} are there")
    for name in ("kept", "passing"):
        for shard in store.stream(name).shards():
            if damage := shard.verify()[0]:
                raise proof.Failure(f"damage in {name}: {damage}")


def create(path: Path, durability: str) -> None:
    with streamstore.open(path, durability=durability, maintenance=False) as store:
        kept = store.create_stream("kept", 1, segment_size=512 * KIB, compact_after=None)
        store.catalog.publish("alter", kept.info, set={"retention_us": retention.FOREVER})
        store.create_stream("passing", 3, segment_size=256 * KIB, compact_after=None)


def in_a_child(work: Callable[[], Any], *, killed: bool) -> None:
    """Run `work` in a process of its own, which ends as it should."""
    pid = proof.in_child(work)
    _, status = os.waitpid(pid, 0)
    if killed != (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL) or (status and not killed):
        raise proof.Failure(f"the child ended with status {status}")


def filled_and_killed(path: Path, weight: Path, tell: Path) -> None:
    """Fill the disk, note what must stay where there is space for it, and die."""
    store = streamstore.open(path, maintenance=False)
    numbers = fill(store, weight)
    tell.write_text("\n".join(numbers))
    store.flush()  # a log whose sync was under way is in doubt, and needs space to recover (docs/durability.md)
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("where", type=Path)
    parser.add_argument("--kind", default="tmpfs")
    parser.add_argument("--mib", type=int, default=24)
    parser.add_argument("--durability", default="process")
    options = parser.parse_args()
    disk = mount(options.kind, options.where, options.mib)
    path, weight, tell = disk / "store", disk / "weight", options.where / "numbers"

    create(path, options.durability)
    with streamstore.open(path, maintenance=False) as store:
        numbers = fill(store, weight)
        trim(store)
        check(store, numbers)
    with streamstore.open(path, maintenance=False) as store:
        check(store, numbers)
    weight.unlink()

    in_a_child(lambda: filled_and_killed(path, weight, tell), killed=True)
    numbers += tell.read_text().split()
    with streamstore.open(path, maintenance=False) as store:  # on a disk that is as full as before
        trim(store)
    weight.unlink()
    with streamstore.open(path, maintenance=False) as store:
        found = {record.sequence_number for record in store.stream("kept").read()}
        if not set(numbers) <= found:
            raise proof.Failure(f"{len(set(numbers) - found)} acknowledged records are gone")
        check(store, numbers[:1])
    print(f"{options.kind}: trimmed on a full disk, twice")


if __name__ == "__main__":
    main()
