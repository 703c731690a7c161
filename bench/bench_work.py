"""The queue against the embedded queues of today: put + get + acknowledge, and what waiting costs."""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from queue import Empty
from typing import Any

import pytest

import streamstore
from bench import children, floors
from bench.bench_tail import PIPE, rank
from bench.board import Board
from bench.ours import named_lap
from bench.plan import Plan
from bench.race import quartiles, race
from bench.rivals import open_rival
from bench.workload import records
from streamstore.bench.result import Side

ROUNDS = 5
BATCH = 100
THREADS = 8
WAITERS = 1_000
IDLE_SECONDS = 3.0
ONE_BY_ONE = "The rival has no calls for batches: a call a message."


class OurWork:
    """A queue in the shape in which the rivals are driven."""

    name = "streamstore"
    version = ""
    setup = 'store.queue("jobs", codec="bytes")'

    def __init__(self, directory: Path, durability: str) -> None:
        self.durability = durability
        self.store = streamstore.open(directory, durability=durability)
        self.queue = self.store.queue("jobs", codec="bytes")

    def cycle(self, data: bytes) -> None:
        """One message in, out, and done."""
        self.queue.put(data)
        message = self.queue.get()
        _body = message.body
        message.ack()

    def cycle_batch(self, batch: list[bytes]) -> None:
        """A batch in, out, and done."""
        self.queue.put_many(batch)
        messages = self.queue.get_many(len(batch))
        _bodies = [message.body for message in messages]
        self.queue.ack_many(messages)

    def close(self) -> None:
        """Close the store."""
        self.store.close()


def _lap(engine: Any, run: Callable[[Any], None], count: int, prepared: Any) -> Any:
    return named_lap(engine, count, run, lambda: prepared)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.rows(f"work.{name}.one")) for name in ("litequeue", "persist")]
)
def bench_one_at_a_time(
    name: str, board: Board, sizes: Plan, scratch: Path, cleanup: ExitStack, benchmark: Any
) -> None:
    """One message after the other, each acknowledged before the next is put; ours in `process`."""
    _race(f"work.{name}.one", name, board, sizes.queue_puts, scratch, cleanup, benchmark, batch=0)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.rows(f"work.{name}.batch")) for name in ("litequeue", "persist")]
)
def bench_batches(name: str, board: Board, sizes: Plan, scratch: Path, cleanup: ExitStack, benchmark: Any) -> None:
    """A hundred at a time; ours in `process`."""
    _race(f"work.{name}.batch", name, board, sizes.queue_puts, scratch, cleanup, benchmark, batch=BATCH)


def _race(
    row: str, name: str, board: Board, count: int, scratch: Path, cleanup: ExitStack, benchmark: Any, *, batch: int
) -> None:
    rival = open_rival(f"{name}_work", scratch / "rival")
    cleanup.callback(rival.close)
    ours = OurWork(scratch / "ours", "process")
    cleanup.callback(ours.close)
    data = records(max(count // 4, BATCH))  # a rival takes a millisecond and more for one
    count = len(data)
    batches = [data[start : start + batch] for start in range(0, count, batch)] if batch else []

    def one_by_one(engine: Any) -> Callable[[Any], None]:
        return lambda items: [engine.cycle(item) for item in items] and None

    def in_batches(engine: Any) -> Callable[[Any], None]:
        return lambda items: [engine.cycle_batch(item) for item in items] and None

    runs = in_batches if batch else one_by_one
    laps = [_lap(engine, runs(engine), count, batches if batch else data) for engine in (ours, rival)]
    outcome = race(benchmark, *laps, rounds=ROUNDS, warm_rounds=1)
    board.post_race(row, outcome, note=ONE_BY_ONE if batch else "")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.rows(f"work.{name}.sync")) for name in ("litequeue", "persist")]
)
def bench_sync(name: str, board: Board, sizes: Plan, scratch: Path, cleanup: ExitStack, benchmark: Any) -> None:
    """Eight threads that put, get and acknowledge, with syncing on, on both sides."""
    rival = open_rival(f"{name}_work_sync", scratch / "rival")
    cleanup.callback(rival.close)
    ours = OurWork(scratch / "ours", "sync")
    cleanup.callback(ours.close)
    data = records(max(sizes.sync_puts // THREADS, 1) * THREADS)
    parts = [data[index::THREADS] for index in range(THREADS)]
    pool = cleanup.enter_context(ThreadPoolExecutor(THREADS))

    def together(engine: Any) -> Callable[[Any], None]:
        def run(items: Any) -> None:
            list(pool.map(lambda part: [engine.cycle(item) for item in part] and None, items))

        return run

    laps = [_lap(engine, together(engine), len(data), parts) for engine in (ours, rival)]
    board.post_race(f"work.{name}.sync", race(benchmark, *laps, rounds=ROUNDS, warm_rounds=1))


@pytest.mark.rows("work.hand_over")
def bench_hand_over(board: Board, sizes: Plan, scratch: Path) -> None:
    """From a put in one process to the message in the hands of a worker that waits in another."""
    ours = OurWork(scratch, "process")
    data = records(sizes.pings)
    ratios, mine, halves = [], [], []
    with children.child("echo") as echo, children.child("work", scratch) as worker:
        assert os.read(worker.output, 8) == children.READY
        for number in range(sizes.warm_rounds + sizes.rounds):
            half = rank([trip / 2 for trip in floors.pipe_round_trips(echo.input, echo.output, sizes.pings)], 0.5)
            took = rank(_hand_overs(ours, worker, data), 0.5)
            if number >= sizes.warm_rounds:
                ratios.append(took / half)
                mine.append(took)
                halves.append(half)
    ours.close()
    middle = sorted(ratios)[len(ratios) // 2]
    side = Side("streamstore", "process", "s", sorted(mine)[len(mine) // 2], tuple(mine))
    pipe = Side("pipe", "none", "s", sorted(halves)[len(halves) // 2], tuple(halves), setup=PIPE)
    board.post("work.hand_over", middle, side, pipe, spread=quartiles(ratios))


def _hand_overs(ours: OurWork, worker: children.Child, data: list[bytes]) -> list[float]:
    times, clock, put = [], time.perf_counter_ns, ours.queue.put
    for item in data:
        started = clock()
        put(item)
        (seen,) = children.STAMP.unpack(os.read(worker.output, 8))
        times.append((seen - started) * 1e-9)
    return times


@pytest.mark.rows("work.waiting")
def bench_waiting(board: Board, scratch: Path) -> None:
    """Processor time of a thousand threads that wait for a message, as a part of one core."""
    ours = OurWork(scratch, "process")

    def wait() -> None:
        with suppress(Empty):
            ours.queue.get(timeout=IDLE_SECONDS + 30)

    threads = [threading.Thread(target=wait) for _ in range(WAITERS)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    before, began = _processor_seconds(), time.perf_counter()
    time.sleep(IDLE_SECONDS)
    used = (_processor_seconds() - before) / (time.perf_counter() - began)
    ours.queue.put_many([b"x"] * WAITERS)
    for thread in threads:
        thread.join()
    ours.close()
    board.post("work.waiting", used, Side("streamstore", "process", "cores", used, (used,)))


def _processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
