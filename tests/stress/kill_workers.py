"""A program that kills the workers of a queue at random moments and checks what a queue promises.

Producers and workers note what they did in files of their own, line by line, which a kill leaves whole. Ends with
status 0 and a line of figures, or with a line that says what was broken.
"""

from __future__ import annotations

import argparse
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

sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import queue_history
from queue_history import Delivery, QueueHistory

POISON_EVERY = 97
RECEIVES_MAX = 6
VISIBILITY_S = 43_200
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
            os.write(notes, b"A %d %d %d\n" % (first, first + count, time.monotonic_ns()))
            queue.put_many([(number, NOISE) for number in range(first, first + count)])
            os.write(notes, b"P %d %d %d\n" % (first, first + count, time.monotonic_ns()))
            first += count


def work(path: Path, seed: int, notes: int, pause: Callable[[], None] = lambda: None) -> None:
    """Receive, note it, and acknowledge; what is poison is given back every time."""
    chance = random.Random(seed)
    with streamstore.open(path, create=False) as store:
        queue = store.open_queue("jobs")
        while True:
            pause()
            began = time.monotonic_ns()
            messages = queue.get_many(chance.choice((1, 1, 10, 50)))
            now = time.monotonic_ns()
            until = began + VISIBILITY_S * 1_000_000_000
            told = [(message.body[0], began, now, until, message.receive_count) for message in messages]
            os.write(notes, b"".join(b"R %d %d %d %d %d\n" % each for each in told))
            good = [message for message in messages if message.body[0] % POISON_EVERY]
            for message in messages:
                if not message.body[0] % POISON_EVERY:
                    os.write(notes, b"G %d %d\n" % (message.body[0], time.monotonic_ns()))
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
        self.names: dict[int, str] = {}
        self.killed: dict[str, int] = {}
        self.started = self.kills = 0

    def run(self) -> str:
        """Make the queue, let it be worked on, kill, wait for the end, and check."""
        options = self.options
        with streamstore.open(self.path, durability=options.durability) as store:
            store.queue("jobs", visibility=VISIBILITY_S, max_receive_count=RECEIVES_MAX)
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
                self.kill(self.workers.pop(self.chance.randrange(len(self.workers))))
                self.kills += 1
                self.start_worker()
        for pid in self.workers:
            self.kill(pid)
        return self.check()

    def start_worker(self) -> None:
        seed = self.chance.randrange(1 << 30)
        self.add_worker("", lambda notes: work(self.path, seed, notes))

    def add_worker(self, kind: str, work_on: Callable[[int], None]) -> None:
        """One more, whose notes end in `kind`."""
        name = f"w{self.started}{kind}"
        self.started += 1
        self.workers.append(child(work_on, self.notes / name))
        self.names[self.workers[-1]] = name

    def kill(self, pid: int) -> None:
        """Kill a worker; at once what it holds goes to others."""
        self.killed[self.names[pid]] = time.monotonic_ns()
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

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
        history = self.read_notes()
        count = self.options.messages
        put = {number for number, each in history.puts.items() if each.answered is not None}
        if put != set(range(count)):
            raise proof.Failure(f"{count - len(put)} puts were never acknowledged")
        if wrong := queue_history.check(history):
            raise proof.Failure(f"{len(wrong)} things are wrong, the first: {wrong[0]}")
        if self.acked_once and (twice := [number for number, times in history.acked.items() if len(times) > 1]):
            raise proof.Failure(f"message {twice[0]} was acknowledged twice")
        with streamstore.open(self.path, create=False) as store:
            queue = store.open_queue("jobs")
            facts = queue.stats()
            dead = {letter.body[0]: letter.receive_count for letter in queue.dead_letters}
            self.check_dead(dead, history)
            if facts["total_acknowledged"] + len(dead) != count:
                raise proof.Failure(f"{facts} do not add up to {count}")
            if problems := store.maintain().problems:
                raise proof.Failure(f"maintenance: {problems}")
            size = disk_bytes(self.path / "streams")
            if size >= 1 << 20:
                raise proof.Failure(f"{size} bytes on disk after maintenance")
        return f"{count} messages, {self.kills} kills, {len(dead)} dead letters, {size} bytes left"

    @staticmethod
    def check_dead(dead: dict[int, int], history: QueueHistory) -> None:
        if both := dead.keys() & history.acked.keys():
            raise proof.Failure(f"{len(both)} dead letters had been acknowledged")
        for number, receives in dead.items():
            # A worker may die between the receive and its note of it.
            if receives != RECEIVES_MAX or len(history.deliveries[number]) > RECEIVES_MAX:
                raise proof.Failure(f"message {number} died after {receives} receives")
        healthy = [number for number in history.deliveries if number % POISON_EVERY == 0 and number not in dead]
        if healthy:
            raise proof.Failure(f"message {healthy[0]} failed every time and is no dead letter")

    def read_notes(self) -> QueueHistory:
        """All that everybody noted."""
        history = QueueHistory()
        for file in self.notes.iterdir():
            for line in file.read_text().splitlines():
                kind, number, *rest = line.split()
                learn(history, file.name, kind, int(number), list(map(int, rest)))
        history.killed = self.killed
        return history


def learn(history: QueueHistory, worker: str, kind: str, number: int, rest: list[int]) -> None:
    """Take in one line of somebody's notes."""
    if kind in "AP":
        end, moment = rest
        for each in range(number, end):
            history.put(each, moment) if kind == "A" else history.put_answered(each, moment)
    elif kind == "R":
        invoked, answered, until, count = rest
        history.delivered(number, Delivery(worker, invoked, answered, until, count or None))
    elif kind == "G":
        history.given_back(worker, number, rest[0])
    else:
        history.acknowledged(number, rest[0])


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
