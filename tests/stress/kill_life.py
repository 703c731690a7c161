"""A program that kills a process at random points of what a stream lives through: compaction, trimming, snapshots of
the catalog, splits and merges.

After each kill the store opens and nothing acknowledged is lost but what was past retention. Every file is accounted
for: a look by the next compaction, which finds nothing to do, and a round of maintenance leave what is read, and what a
roll died over. Ends with status 0 and two lines of figures, or says what was broken.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import proof

import streamstore
from streamstore import limits
from streamstore.compaction import Compactor

CATALOG_ROLL_SIZE = 4096  # a few dozen events: the catalog is snapshotted every moment
KEPT_US = 200_000
WORKS = ("compact", "trim", "catalog", "split", "merge")


def open_store(path: str) -> streamstore.Store:
    """The store, with nobody at work in the background."""
    limits.CATALOG_ROLL_SIZE = CATALOG_ROLL_SIZE
    return streamstore.open(path, create=False, maintenance=False)


def compact(stream: Any, after_us: int) -> None:
    """Compact what was sealed so long ago; below 0 nothing is, and what the dead left is removed all the same."""
    for index in stream.written():
        Compactor(rate=0).compact(stream.log(index), now_us=1 << 60, after_us=after_us, size_max=1 << 20)


def work(store: streamstore.Store, what: str, chance: random.Random) -> None:
    """Do it once."""
    stream = store.stream(chance.choice(("kept", "kept", "short")))
    if what == "compact":
        compact(stream, 0)
    elif what == "trim":
        store.maintain()
    elif what == "catalog":
        store.catalog.publish("alter", stream.info, set={"note": chance.randrange(1 << 30)})
    else:
        able = sorted((shard for shard in stream.shards() if not shard.is_closed), key=lambda shard: shard.hash_range)
        place = chance.randrange(len(able))
        with suppress(streamstore.InvalidArgumentError):  # a step that the one before died over came first
            if what == "merge" and place + 1 < len(able):
                stream.merge_shards(able[place].id, able[place + 1].id)
            elif len(able) < 6:
                stream.split_shard(able[place].id, sum(able[place].hash_range) // 2 + 1)


def put_some(streams: list[Any], writer: int, pipe: int, first: int, chance: random.Random) -> int:
    """Put some records into each stream, tell of them, and seal them; returns how many each has now."""
    count = first + chance.randint(1, 6)
    for n in range(first, count):
        for index, stream in enumerate(streams):
            os.write(pipe, b"A %d %d\n" % (2 * writer + index, n + 1))
            data = proof.payload(2 * writer + index, n, chance.choice((20, 200, 3000, 20_000)))
            result = stream.put_record(data, f"key-{chance.randrange(16)}")
            told = (2 * writer + index, n, result.sequence_number.encode(), result.arrival_us)
            os.write(pipe, b"K %d %d %s %d\n" % told)
    for stream in streams:
        for shard in stream.shards():
            with suppress(streamstore.ShardClosedError):  # by one who died before he said so
                stream.log(shard.index).roll()
    return count


def live(path: str, writer: int, pipe: int, what: str, seed: int) -> None:
    """Put some records, then do the work again and again until killed, with more records for it to work on."""
    chance = random.Random(seed)
    with open_store(path) as store:
        streams = [store.stream("kept"), store.stream("short")]
        n = put_some(streams, writer, pipe, 0, chance)
        os.write(pipe, b"R 0 0\n")
        while True:
            work(store, what, chance)
            if what in ("compact", "trim"):
                n = put_some(streams, writer, pipe, n, chance)


def check(path: str, ledger: proof.Ledger, arrivals: dict[str, int], killed_us: int, pipe: int) -> None:
    """Hold the store against what was told, have the dead's files cleared away, and see that the work goes on."""
    with open_store(path) as store:
        ledger.check(store.stream("kept"))
        check_short(store, arrivals, killed_us)
        before = asides(path)
        for name in ("kept", "short"):
            compact(store.stream(name), -1)
        store.maintain()
        rolls = sum(account(store.stream(name)) for name in ("kept", "short"))
        os.write(pipe, b"%d %d\n" % (before, rolls))
        chance = random.Random(1)
        for what in WORKS:
            work(store, what, chance)
    report = streamstore.verify(path)
    if report.damage or report.notes:
        raise proof.Failure(f"damage: {report.damage}, notes: {report.notes}")


def asides(path: str) -> int:
    """How many files there are that a compaction had not put in their place yet."""
    return sum(1 for _ in Path(path).rglob("*.seg.new"))


def account(stream: Any) -> int:
    """Say what each file of a stream is for: it is read, or a roll died over it. Returns how many there are of those.

    Raises Failure for all else: what a compaction replaced or had not finished, what was trimmed, an expired shard's.
    """
    rolls = 0
    directory = Path(stream.attachment.stream_directory(stream.info.id))
    for place in sorted(directory.iterdir()):
        index = int(place.name)
        if stream.node(index).expired:
            raise proof.Failure(f"{place}: files of an expired shard")
        listed = stream.log(index).segments()
        strange = {item.name for item in place.iterdir()} - {f"{item.ordinal:012d}.seg" for item in listed}
        if strange:
            raise proof.Failure(f"{place}: {sorted(strange)}")
        live = [item for item in listed if item.live]
        for item in listed:
            if item.live:
                continue
            replaced = [by for by in live if by.packed and by.base <= item.base < by.end and item.ordinal < by.ordinal]
            trimmed = [by.base for by in live[:1] if item.salt and item.base < by.base]
            # A roll makes its file with a header alone, at the tail: the next roll begins there again.
            empty = not item.salt or any(by.base <= item.base and by.ordinal > item.ordinal for by in live)
            if replaced or trimmed or not empty:
                raise proof.Failure(f"{place}: {item} is not read by anybody ({replaced=}, {trimmed=})")
            rolls += 1
    return rolls


def check_short(store: streamstore.Store, arrivals: dict[str, int], killed_us: int) -> None:
    """What is there of the stream with the short retention is the end of each shard, whole and in order."""
    stream = store.stream("short")
    store.catalog.publish("alter", stream.info, set={"retention_us": 0})  # shows again what was not dropped yet
    stream.horizon.forget()
    told: dict[int, list[str]] = {}
    for number in sorted(arrivals):
        told.setdefault(streamstore.native.parse_sequence_number(number)[2], []).append(number)
    listed = {shard.index: shard for shard in stream.shards()}  # the others expired: all of theirs is missing
    for index, numbers in told.items():
        found = {record.sequence_number for record in proof.read_shard(listed[index])} if index in listed else set()
        missing = [number for number in numbers if number not in found]
        if missing != numbers[: len(missing)]:
            raise proof.Failure(f"shard {index}: records are missing behind the first that is there")
        young = [number for number in missing if arrivals[number] > killed_us - KEPT_US]
        if young:
            raise proof.Failure(f"shard {index}: {len(young)} records were dropped before their time")
    store.catalog.publish("alter", stream.info, set={"retention_us": KEPT_US})


class Driver:
    """The parent: opens nothing itself."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.chance = random.Random(options.seed)
        self.ledger = proof.Ledger()
        self.short: dict[str, int] = {}  # number -> when it arrived
        self.hits: Counter[str] = Counter()
        self.asides = self.rolls = 0  # files that the dead left: in the middle of a compaction, of a roll

    def take(self, line: bytes) -> bool:
        """Learn what a process told; True once it is at its work."""
        kind, writer, n, *numbers = line.decode().split()
        kept = int(writer) % 2 == 0
        if kind == "A" and kept:
            self.ledger.attempted[int(writer)] = int(n)
        elif kind == "K" and kept:
            self.ledger.ack(int(writer), int(n), numbers[0])
        elif kind == "K":
            self.short[numbers[0]] = int(numbers[1])
        return kind == "R"

    def kill_one(self, writer: int) -> None:
        """One process, killed while it does one kind of work."""
        what = self.chance.choice(WORKS)
        reading, writing = os.pipe()
        seed = self.chance.randrange(1 << 30)
        pid = proof.in_child(live, self.options.directory, writer, writing, what, seed)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            while line := pipe.readline():
                if self.take(line):
                    break
            time.sleep(self.chance.random() ** 2 * 0.1)
            os.kill(pid, signal.SIGKILL)
            for line in pipe:  # its last words
                self.take(line)
        _, status = os.waitpid(pid, 0)
        if not os.WIFSIGNALED(status):
            raise proof.Failure(f"the process that did {what} ended by itself, with status {status}")
        self.hits[what] += 1

    def check(self) -> None:
        """Look at the store, in a process of its own."""
        reading, writing = os.pipe()
        pid = proof.in_child(check, self.options.directory, self.ledger, self.short, time.time_ns() // 1000, writing)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            told = pipe.read().split()
        _, status = os.waitpid(pid, 0)
        if status:
            raise proof.Failure(f"the check ended with status {status}")
        self.asides += int(told[0])
        self.rolls = max(self.rolls, int(told[1]))

    def run(self) -> None:
        """All kills, with a check after each few."""
        path = self.options.directory
        with streamstore.open(path, maintenance=False) as store:
            options: dict[str, Any] = {"durability": self.options.durability, "segment_size": 128 * 1024}
            store.create_stream("kept", 2, **options)
            short = store.create_stream("short", 2, **options)
            store.catalog.publish("alter", short.info, set={"retention_us": KEPT_US})
        for kill in range(self.options.kills):
            self.kill_one(kill)
            if self.chance.random() < 0.4 or kill + 1 == self.options.kills:
                self.check()
        told = ", ".join(f"{count} in {what}" for what, count in sorted(self.hits.items()))
        print(f"seed {self.options.seed}: {told}; {len(self.ledger.acked)} acknowledged records are all there")
        print(f"{self.asides} unfinished compactions were cleared away, {self.rolls} files of unfinished rolls stand")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--durability", default="process")
    Driver(parser.parse_args()).run()


if __name__ == "__main__":
    main()
