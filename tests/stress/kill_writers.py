"""A program that kills writers and tailers at random moments, keeps the ledger, and checks all promises of a kill.

Attempts are told through a pipe before each call and acknowledgements after it returned, so that the ledger knows no
less than the dead. Ends with status 0 and a line of figures, or with a line that says what was broken.
"""

from __future__ import annotations

import argparse
import os
import random
import selectors
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import proof

import streamstore

sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from history import Found, History, check

SURVIVORS_GO_ON_S = 1.0


def put_on(path: str, writer: int, pipe: int, seed: int) -> None:
    """Write until killed: single records and batches of mixed sizes, some far larger than a page."""
    chance = random.Random(seed)
    stream = streamstore.open(path, create=False, sync_interval=0.02).stream("s")
    n = 0
    while True:
        count = chance.choice((1, 1, 1, 3, 20))
        sizes = [chance.choice((16, 40, 150, 600, 5000)) if chance.random() < 0.98 else 60_000 for _ in range(count)]
        entries = [(proof.payload(writer, n + i, size), f"key-{chance.randrange(64)}") for i, size in enumerate(sizes)]
        os.write(pipe, b"A %d %d %d\n" % (writer, n + count, time.monotonic_ns()))
        if count == 1:
            results: Any = [stream.put_record(*entries[0])]
        else:
            results = stream.put_records(entries)
        answered = time.monotonic_ns()
        acks = " ".join(f"{result.shard_id}:{result.sequence_number}" for result in results)
        os.write(pipe, f"K {writer} {n} {answered} {acks}\n".encode())
        n += count
        time.sleep(chance.random() * 0.002)


def tail_on(path: str, pipe: int, *, read_only: bool) -> None:
    """Follow until killed, and tell of every record seen."""
    stream = streamstore.open(path, create=False, read_only=read_only).stream("s")
    for batch in stream.read("LATEST", follow=True).batches():
        for record in batch:
            writer, n = proof.recognize(record.data)
            os.write(pipe, f"S {writer} {n} {os.getpid()} {record.shard_id}:{record.sequence_number}\n".encode())


def found_in(shard: Any) -> Iterator[Found]:
    """All of a shard, for the history."""
    for record in proof.read_shard(shard):
        yield Found(int(record.sequence_number), proof.recognize(record.data))


@dataclass
class Process:
    """A writer or tailer that lives, and what is unread of its pipe."""

    pid: int
    pipe: int
    writer: int  # -1: a tailer
    unread: bytes = b""


class Driver:
    """The parent: opens nothing itself, so that its children share nothing but the directory."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.chance = random.Random(options.seed)
        self.ledger = proof.Ledger()
        self.history = History()
        self.selector = selectors.DefaultSelector()
        self.alive: list[Process] = []
        self.begun = 0  # every writer process is a writer of its own
        self.slowest = 0.0

    def start(self, *, tailer: bool = False) -> None:
        """Fork a writer or a tailer."""
        reading, writing = os.pipe()
        writer, seed = (-1, 0) if tailer else (self.begun, self.chance.randrange(1 << 30))
        self.begun += not tailer
        read_only = self.chance.random() < 0.5
        path = self.options.directory
        for other in self.alive:
            os.set_inheritable(other.pipe, False)
        if tailer:
            pid = proof.in_child(lambda: tail_on(path, writing, read_only=read_only))
        else:
            pid = proof.in_child(put_on, path, writer, writing, seed)
        os.close(writing)
        os.set_blocking(reading, False)
        process = Process(pid, reading, writer)
        self.alive.append(process)
        self.selector.register(reading, selectors.EVENT_READ, process)

    def listen(self, seconds: float) -> None:
        """Take in what processes tell, for that long."""
        end = time.monotonic() + seconds
        while True:
            for key, _ in self.selector.select(max(0.0, end - time.monotonic())):
                if not self.take(key.data):
                    raise proof.Failure(f"process {key.data.pid} ended by itself")
            if time.monotonic() >= end:
                return

    def take(self, process: Process) -> bool:
        """Read what one process told; False where it is gone."""
        try:
            told = os.read(process.pipe, 1 << 20)
        except BlockingIOError:
            return True
        lines = (process.unread + told).split(b"\n")
        process.unread = lines.pop()
        for line in lines:
            self.learn(*line.decode().split())
        return bool(told)

    def learn(self, kind: str, writer: str, n: str, who_or_when: str, *told: str) -> None:
        """Note an attempt, acknowledgements or a sighting; `told` are shard and number of each record."""
        places = [each.split(":") for each in told]
        if kind == "A":
            self.history.invoke(int(writer), self.ledger.attempted.get(int(writer), 0), int(n), int(who_or_when))
            self.ledger.attempted[int(writer)] = int(n)
        elif kind == "K":
            for i, (shard, number) in enumerate(places, int(n)):
                self.ledger.ack(int(writer), i, number)
                self.history.ok(int(writer), i, shard, int(number), int(who_or_when))
        else:
            (shard, number), *_ = places
            self.ledger.sight(int(writer), int(n), number)
            self.history.saw(who_or_when, shard, int(writer), int(n), int(number))

    def kill(self, victims: list[Process]) -> None:
        """SIGKILL all of them before waiting for any, and take in their last words."""
        for victim in victims:
            os.kill(victim.pid, signal.SIGKILL)
        for victim in victims:
            _, status = os.waitpid(victim.pid, 0)
            if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
                raise proof.Failure(f"process {victim.pid} had already ended with status {status}")
            while self.take(victim):
                pass
            self.selector.unregister(victim.pipe)
            os.close(victim.pipe)
            self.alive.remove(victim)

    def expect_survivors_to_go_on(self) -> None:
        """Every writer left finishes a put that it began after this moment, within a second."""
        began = time.monotonic()
        self.listen(0)
        goals = {p.writer: self.ledger.attempted.get(p.writer, 0) for p in self.alive if p.writer >= 0}
        while goals:
            self.listen(0.002)
            goals = {writer: n for writer, n in goals.items() if (writer, n) not in self.ledger.acked}
            took = time.monotonic() - began
            if goals and took > SURVIVORS_GO_ON_S:
                raise proof.Failure(f"writers {sorted(goals)} stand still {took:.2f} s after a kill")
            self.slowest = max(self.slowest, took)

    def check(self) -> None:
        """In a process of its own: open, hold against the ledger, verify the files, put once more, close, again."""
        for _ in range(2):
            self.ledger.attempted[self.begun] = 1
            self.history.invoke(self.begun, 0, 1, time.monotonic_ns())
            pid = proof.in_child(self.check_here, self.begun)
            self.begun += 1
            _, status = os.waitpid(pid, 0)
            if status:
                raise proof.Failure(f"the check ended with status {status}")

    def check_here(self, writer: int) -> None:
        """What `check` does in its child."""
        with streamstore.open(self.options.directory, create=False) as store:
            stream = store.stream("s")
            self.ledger.check(stream)
            wrong = check(self.history, {shard.id: list(found_in(shard)) for shard in stream.shards()})
            if wrong:
                raise proof.Failure(f"{len(wrong)} things are wrong, the first: {wrong[0]}")
            for shard in stream.shards():
                damaged, _ = shard.verify()
                if damaged:
                    raise proof.Failure(f"{shard.id} is damaged: {damaged}")
            result = stream.put_record(proof.payload(writer, 0, 100), "key", sync=True)
            if proof.recognize(stream.shard(result.shard_id).get(result.sequence_number).data) != (writer, 0):
                raise proof.Failure("another record stands under the number just given")

    def round(self, kills: int) -> None:
        """Some kills of one after another beside survivors, then of everybody at once."""
        for _ in range(self.options.writers):
            self.start()
        self.start(tailer=True)
        self.listen(0.15)
        for _ in range(kills - 1):
            self.listen(self.chance.random() * 0.03)
            victim = self.chance.choice(self.alive)
            self.kill([victim])
            self.expect_survivors_to_go_on()
            self.start(tailer=victim.writer < 0)
        self.listen(self.chance.random() * 0.1)
        self.kill(list(self.alive))
        self.check()

    def run(self) -> None:
        """All rounds."""
        options = self.options
        with streamstore.open(options.directory) as store:
            store.create_stream("s", options.shards, durability=options.durability, segment_size=128 * 1024)
        done = 0
        while done < options.kills:
            count = min(self.chance.randint(2, 12), options.kills - done)
            self.round(count)
            done += count
        print(
            f"seed {options.seed}: {done} kills, {len(self.ledger.acked)} acknowledged, {self.ledger.seen} sightings, "
            f"survivors went on after {self.slowest:.3f} s at worst"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--writers", type=int, default=3)
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--durability", default="sync")
    Driver(parser.parse_args()).run()


if __name__ == "__main__":
    main()
