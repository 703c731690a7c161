"""A program that fills a small file system with a queue's messages and works them off there, without a free byte.

Mounts the file system itself, in a mount namespace of its own. Every message is received and acknowledged, or becomes
a dead letter; what is settled leaves the disk; and then messages are put again. Once through open handles, once after
a kill.
"""

from __future__ import annotations

import argparse
import os
import queue as std
import signal
from pathlib import Path
from typing import Any

import proof
from fill_disk import KIB, ballast, mount
from trim_full_disk import in_a_child

import streamstore
from streamstore import limits

DEAD_EVERY = 500


def fill(queue: Any, weight: Path, first: int, size: int) -> int:
    """Messages until nothing more fits, and then what is left of the disk; the number after the last."""
    full = 0
    while full < 3:
        try:
            queue.put([first, b"x" * size])
            first += 1
            full = 0
        except streamstore.StoreFullError:
            full += 1
            ballast(weight, 1 << 40)
    return first


def drain(store: Any, queue: Any, count: int, expected: range) -> None:
    """Work everything off, `count` messages at a time, as long as the disk is full and after."""
    seen: set[int] = set()
    while True:
        try:
            messages = queue.get_many(count, block=False)
        except std.Empty:
            break
        again = [message.body[0] for message in messages if message.body[0] in seen]
        if again:
            raise proof.Failure(f"message {again[0]} came again after it was acknowledged")
        seen.update(message.body[0] for message in messages)
        for message in [item for item in messages if not item.body[0] % DEAD_EVERY]:
            message.dead("for the test")
        queue.ack_many([item for item in messages if item.body[0] % DEAD_EVERY])
    if seen != set(expected):
        raise proof.Failure(f"{len(set(expected) - seen)} messages were not delivered, {len(seen)} were")
    if len(queue.dead_letters) != sum(not number % DEAD_EVERY for number in expected):
        raise proof.Failure(f"{len(queue.dead_letters)} dead letters")
    report = store.maintain()
    if report.problems:
        raise proof.Failure(f"maintenance on a full disk: {report.problems}")
    if not queue.dead_letters.purge():
        raise proof.Failure("no dead letter was there to be purged")
    store.maintain()
    held = sum(file.stat().st_blocks * 512 for file in (Path(store.path) / "streams").rglob("*") if file.is_file())
    if held > limits.MIB:
        raise proof.Failure(f"{held} bytes on disk with nothing left to do")
    queue.put([0, b"new"])
    queue.get_nowait().ack()


def filled_and_killed(path: Path, weight: Path, tell: Path, size: int) -> None:
    """Fill the disk, hold some messages, and die."""
    store = streamstore.open(path, maintenance=False)
    queue = store.open_queue("jobs")
    last = fill(queue, weight, 1, size)
    held = queue.get_many(10, block=False)
    tell.write_text(f"{last} {len(held)}")
    store.flush()  # a log whose sync was under way is in doubt, and needs space to recover (docs/durability.md)
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("where", type=Path)
    parser.add_argument("--kind", default="tmpfs")
    parser.add_argument("--mib", type=int, default=12)
    parser.add_argument("--durability", default="process")
    parser.add_argument("--size", type=int, default=2_000)
    parser.add_argument("--count", type=int, default=1, help="messages that are received together")
    options = parser.parse_args()
    disk = mount(options.kind, options.where, options.mib)
    path, weight, tell = disk / "store", disk / "weight", options.where / "numbers"
    limits.QUEUE_SEGMENT_SIZE = 512 * KIB

    with streamstore.open(path, durability=options.durability, maintenance=False) as store:
        queue = store.queue("jobs", visibility=43_200)
        last = fill(queue, weight, 1, options.size)
        drain(store, queue, options.count, range(1, last))
    weight.unlink()

    in_a_child(lambda: filled_and_killed(path, weight, tell, options.size), killed=True)
    last, held = map(int, tell.read_text().split())
    if not held:
        raise proof.Failure("nothing could be received on a full disk")
    with streamstore.open(path, maintenance=False) as store:  # on a disk that is as full as before
        drain(store, store.open_queue("jobs"), options.count, range(1, last))
    print(f"{options.kind}: {last} messages worked off on a full disk, twice")


if __name__ == "__main__":
    main()
