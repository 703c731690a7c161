"""A program that fills a small file system with records, again and again, and checks what a full disk must not break.

Mounts the file system itself, so it runs in a mount namespace of its own, which takes the mount along when it ends.
StoreFullError and nothing else may be raised; what was acknowledged stays readable; and the same handles write on once
there is space. The writer is a process of its own, whose death by a signal (SIGBUS) would be seen.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import proof

import streamstore

KIB = 1024


def mount(kind: str, where: Path, mib: int) -> Path:
    """Mount a new file system of that size under `where`, and return the directory to use."""
    where.mkdir()
    disk = where / "disk"
    disk.mkdir()
    if kind in ("tmpfs", "overlay"):
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", disk], check=True)
    else:
        image = where / "image"
        with image.open("wb") as file:
            file.truncate(mib * KIB * KIB)
        force = ["-f"] if kind in ("xfs", "btrfs") else ["-F"]
        subprocess.run([f"mkfs.{kind}", "-q", *force, image], check=True)
        subprocess.run(["mount", "-o", "loop", image, disk], check=True)
    if kind != "overlay":
        return disk
    # A file system that the core does not know, on top of one that fills up: the pwrite backend.
    layers = [disk / name for name in ("lower", "upper", "work", "merged")]
    for layer in layers:
        layer.mkdir()
    lower, upper, work, merged = layers
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", merged], check=True)
    return merged


class Filler:
    """The writer, with a ledger in its own memory: it lives from one full disk to the next."""

    def __init__(self, path: Path, seed: int, wait_for_space: Callable[[], bool]) -> None:
        self.chance = random.Random(seed)
        self.path = path
        self.wait_for_space = wait_for_space
        self.ledgers = [proof.Ledger(), proof.Ledger()]
        self.n = 0

    def put(self, stream: Any, ledger: proof.Ledger, *, small: bool = False) -> None:
        """One call, with one record or many; what it stored is noted, also of a batch that failed in part."""
        count = self.chance.choice((1, 5) if small else (1, 5, 40))
        size = self.chance.choice((100, 1000) if small else (100, 1000, 9000))
        entries = [(proof.payload(0, self.n + i, size), f"k{self.chance.randrange(64)}") for i in range(count)]
        first, self.n = self.n, self.n + count
        ledger.attempted[0] = self.n
        try:
            results: Any = [stream.put_record(*entries[0])] if count == 1 else stream.put_records(entries)
        except streamstore.PartialPutError as error:
            results = error.results
        full: Exception | None = None
        for i, result in enumerate(results):
            if isinstance(result, streamstore.PutResult):
                ledger.ack(0, first + i, result.sequence_number)
            else:
                full = result
        if full:
            raise full

    def fill(self, streams: list[Any]) -> None:
        """Put until the disk is full."""
        while True:
            which = self.chance.randrange(2)
            try:
                self.put(streams[which], self.ledgers[which])
            except streamstore.StoreFullError:
                return

    def check(self, streams: list[Any]) -> None:
        """All that was acknowledged is there."""
        for stream, ledger in zip(streams, self.ledgers, strict=True):
            ledger.check(stream)

    def on_a_full_disk(self, store: Any, cycle: int) -> None:
        """Reading works, also by others who only read; making a stream works or is refused in the same words."""
        with streamstore.open(self.path, read_only=True) as reader:
            self.check([reader.stream("one"), reader.stream("many")])
        try:
            store.create_stream(f"late-{cycle}")
            store.stream(f"late-{cycle}").put_record(b"late", "k")
        except streamstore.StoreFullError:
            return

    def work(self, durability: str) -> None:
        """Fill, check, wait for space, write on; then close, open and check again."""
        with streamstore.open(self.path, durability=durability) as store:
            streams = [
                store.create_stream("one", 1, segment_size=512 * KIB),
                store.create_stream("many", 5, segment_size=512 * KIB),
            ]
            cycle = 0
            while True:
                self.fill(streams)
                self.check(streams)
                self.on_a_full_disk(store, cycle)
                if not self.wait_for_space():
                    break
                for i in range(20):
                    self.put(streams[i % 2], self.ledgers[i % 2], small=True)
                self.check(streams)
                cycle += 1
        self.reopen()

    def reopen(self) -> None:
        """What is full can be opened for reading, and for writing or with the same words."""
        with streamstore.open(self.path, read_only=True) as store:
            self.check([store.stream("one"), store.stream("many")])
        try:
            with streamstore.open(self.path) as store:
                self.check([store.stream("one"), store.stream("many")])
        except streamstore.StoreFullError:
            return


def ballast(path: Path, size: int) -> None:
    """Take space, as far as there is any."""
    with path.open("ab", buffering=0) as file:
        try:
            while size > 0:
                size -= file.write(b"b" * min(size, 64 * KIB))
        except OSError:
            return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("where", type=Path)
    parser.add_argument("--kind", default="tmpfs")
    parser.add_argument("--mib", type=int, default=16)
    parser.add_argument("--cycles", type=int, default=2)
    parser.add_argument("--durability", default="process")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    disk = mount(options.kind, options.where, options.mib)
    chance = random.Random(options.seed)
    weights = [disk / f"ballast-{i}" for i in range(options.cycles)]
    for weight in weights:  # the space of later cycles; of sizes that leave no two fillings at the same place
        ballast(weight, chance.randrange(1200, 2600) * KIB)
    told, tell = os.pipe()
    hear, answer = os.pipe()

    def wait_for_space() -> bool:
        os.write(tell, b"F")
        return os.read(hear, 1) == b"S"

    pid = proof.in_child(lambda: Filler(disk / "store", options.seed, wait_for_space).work(options.durability))
    os.close(tell)
    cycles = 0
    while os.read(told, 1):
        cycles += 1
        if weights:
            weights.pop().unlink()
        os.write(answer, b"S" if cycles <= options.cycles else b"E")
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        raise proof.Failure(f"the writer died by signal {os.WTERMSIG(status)}")
    if status or cycles <= options.cycles:
        raise proof.Failure(f"the writer ended with status {status} in cycle {cycles}")
    print(f"{options.kind}: full {cycles} times")


if __name__ == "__main__":
    main()
