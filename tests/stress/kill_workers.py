"""A program that kills the workers of a queue at random moments and checks what a queue promises.

Producers and workers note what they did in files of their own, line by line, which a kill leaves whole. Ends with
status 0 and a line of figures, or with a line that says what was broken.
"""

from __future__ import annotations

import argparse
import collections
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import proof

import streamstore

POISON_EVERY = 97
RECEIVES_MAX = 6
NOISE = b"x" * 60


def child(work: Callable[[int], None], notes: Path) -> int:
    """Fork a process that does `work` with a descriptor for its notes; dies with this one."""
    pid = os.fork()
    if pid:
        return pid
    proof.die_with_parent()
    descriptor = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    status = 1
    try:
        work(descriptor)
        status = 0
    except BaseException:  # told here, because nothing after the fork may unwind into the parent's frames
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def produce(path: Path, first: int, last: int, seed: int, notes: int) -> None:
    """Put the numbers of a range, one by one and in batches, and note them once they are acknowledged."""
    chance = random.Random(seed)
    with streamstore.open(path, create=False) as store:
        queue = store.open_queue("jobs")
        while first < last:
            count = min(chance.choice((1, 3, 20, 100)), last - first)
            queue.put_many([(number, NOISE) for number in range(first, first + count)])
            os.write(notes, b"P %d %d\n" % (first, first + count))
            first += count


def work(path: Path, seed: int, notes: int, pause: Callable[[], None] = lambda: None) -> None:
    """Receive, note it, and acknowledge; what is poison is given back every time."""
    chance = random.Random(seed)
    with streamstore.open(path, create=False) as store:
        queue = store.open_queue("jobs")
        while True:
            pause()
            messages = queue.get_many(chance.choice((1, 1, 10, 50)))
            now = time.monotonic_ns()
            numbers = [message.body[0] for message in messages]
            os.write(
                notes,
                b"".join(b"R %d %d %d\n" % (n, now, m.receive_count) for n, m in zip(numbers, messages, strict=True)),
            )
            good = [message for message in messages if message.body[0] % POISON_EVERY]
            for message in messages:
                if not message.body[0] % POISON_EVERY:
                    message.nack()
            queue.ack_many(good)
            now = time.monotonic_ns()
            os.write(notes, b"".join(b"K %d %d\n" % (message.body[0], now) for message in good))


class Driver:
    """The parent of producers and workers; it opens the store before the first and after the last of them."""

    acked_once = True
    """Nobody is told twice that a message is acknowledged."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.chance = random.Random(options.seed)
        self.path = Path(options.path)
        self.notes = self.path.with_name(self.path.name + "-notes")
        self.notes.mkdir()
        self.workers: list[int] = []
        self.started = self.kills = 0

    def run(self) -> str:
        """Make the queue, let it be worked on, kill, wait for the end, and check."""
        options = self.options
        with streamstore.open(self.path, durability=options.durability) as store:
            store.queue("jobs", visibility=43_200, max_receive_count=RECEIVES_MAX)
        share = -(-options.messages // options.processes)
        producers = []
        for index in range(options.processes):
            first, last = index * share, min((index + 1) * share, options.messages)
            seed = self.chance.randrange(1 << 30)
            producers.append(
                child(
                    lambda notes, a=first, b=last, s=seed: produce(self.path, a, b, s, notes), self.notes / f"p{index}"
                )
            )
        for _ in range(options.processes):
            self.start_worker()
        while not self.finished(producers):
            time.sleep(self.chance.random() * 0.08)
            if self.kills < options.kills:
                victim = self.workers.pop(self.chance.randrange(len(self.workers)))
                os.kill(victim, signal.SIGKILL)
                os.waitpid(victim, 0)
                self.kills += 1
                self.start_worker()
        for pid in self.workers:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        return self.check()

    def start_worker(self) -> None:
        seed = self.chance.randrange(1 << 30)
        name = f"w{self.started}"
        self.started += 1
        self.workers.append(child(lambda notes: work(self.path, seed, notes), self.notes / name))

    def finished(self, producers: list[int]) -> bool:
        """Have all producers ended, and is nothing left to do? Asked of the notes, so that nothing is held open."""
        for pid in list(producers):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                producers.remove(pid)
                if status:
                    raise proof.Failure(f"a producer ended with {status}")
        if producers:
            return False
        if pid := self.ended_worker():
            raise proof.Failure(f"worker {pid} ended by itself")
        with streamstore.open(self.path, create=False, maintenance=False) as store:
            facts = store.open_queue("jobs").stats()
        return not facts["fresh"] and not facts["waiting"] and not facts["in_flight"]

    def ended_worker(self) -> int:
        return next((pid for pid in self.workers if os.waitpid(pid, os.WNOHANG)[0]), 0)

    def check(self) -> str:
        """Compare what everybody noted with what the queue says now."""
        put, received, acked = self.read_notes()
        count = self.options.messages
        if put != set(range(count)):
            raise proof.Failure(f"{count - len(put)} puts were never acknowledged")
        if missing := set(range(count)) - received.keys():
            raise proof.Failure(f"{len(missing)} messages were never received, for example {min(missing)}")
        for number, moment in acked.items():
            if max(received[number]) > moment:
                raise proof.Failure(f"message {number} was received after its acknowledgement had returned")
        with streamstore.open(self.path, create=False) as store:
            queue = store.open_queue("jobs")
            facts = queue.stats()
            dead = {letter.body[0]: letter.receive_count for letter in queue.dead_letters}
            self.check_dead(dead, received, acked)
            if facts["total_acknowledged"] + len(dead) != count:
                raise proof.Failure(f"{facts} do not add up to {count}")
            if problems := store.maintain().problems:
                raise proof.Failure(f"maintenance: {problems}")
            size = disk_bytes(self.path / "streams")
            if size >= 1 << 20:
                raise proof.Failure(f"{size} bytes on disk after maintenance")
        return f"{count} messages, {self.kills} kills, {len(dead)} dead letters, {size} bytes left"

    @staticmethod
    def check_dead(dead: dict[int, int], received: dict[int, list[int]], acked: dict[int, int]) -> None:
        if both := dead.keys() & acked.keys():
            raise proof.Failure(f"{len(both)} dead letters had been acknowledged")
        for number, receives in dead.items():
            # A worker may die between the receive and its note of it.
            if receives != RECEIVES_MAX or len(received[number]) > RECEIVES_MAX:
                raise proof.Failure(f"message {number} died after {receives} receives")
        healthy = [number for number in received if number % POISON_EVERY == 0 and number not in dead]
        if healthy:
            raise proof.Failure(f"message {healthy[0]} failed every time and is no dead letter")

    def read_notes(self) -> tuple[set[int], dict[int, list[int]], dict[int, int]]:
        put: set[int] = set()
        received: dict[int, list[int]] = collections.defaultdict(list)
        acked: dict[int, int] = {}
        for file in self.notes.iterdir():
            for line in file.read_text().splitlines():
                kind, *rest = line.split()
                numbers = list(map(int, rest))
                if kind == "P":
                    put.update(range(*numbers))
                elif kind == "R":
                    received[numbers[0]].append(numbers[1])
                elif numbers[0] not in acked:
                    acked[numbers[0]] = numbers[1]
                elif self.acked_once:
                    raise proof.Failure(f"message {numbers[0]} was acknowledged twice")
                else:
                    acked[numbers[0]] = min(numbers[1], acked[numbers[0]])
        return put, received, acked


def disk_bytes(path: Path) -> int:
    """What the files below a directory take on disk."""
    return sum(file.stat().st_blocks * 512 for file in path.rglob("*") if file.is_file())


def main(driver: type[Driver], messages: int, kills: int, **more: int) -> None:
    """Run a driver by the command line: those are defaults, `more` are numbers of its own."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--durability", default="sync")
    parser.add_argument("--seed", type=int, default=1)
    for name, default in {"messages": messages, "kills": kills, **more}.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default)
    try:
        print(driver(parser.parse_args()).run())
    except proof.Failure as failure:
        print(f"FAILED: {failure}")
        sys.exit(1)


if __name__ == "__main__":
    main(Driver, messages=200_000, kills=200)
