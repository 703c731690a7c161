"""From a put in one process to the record in the hands of another that waits for it, against half a pipe round trip."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import children, floors
from bench.board import Board
from bench.ours import StreamStore
from bench.plan import Plan
from bench.race import quartiles
from bench.workload import records
from streamstore.bench.result import Side

PIPE = "8 bytes to a Python process that sends them back, both blocking, half of it"


def _hand_overs(ours: StreamStore, follower: children.Child, data: list[bytes]) -> list[float]:
    """Put each record once the last one was answered; return seconds from before the put to the data in hand."""
    times, clock, put = [], time.perf_counter_ns, ours.stream.put_record
    for item in data:
        started = clock()
        put(item, partition_key="user-42")
        (seen,) = children.STAMP.unpack(os.read(follower.output, 8))
        times.append((seen - started) * 1e-9)
    return times


@pytest.fixture
def two_cores() -> Iterator[int]:
    """Hold this process on one core and return another; skips where there is one only."""
    allowed = os.sched_getaffinity(0)
    if len(allowed) < 2:
        pytest.skip("one core")
    here, there = sorted(allowed)[:2]
    os.sched_setaffinity(0, {here})
    yield there
    os.sched_setaffinity(0, allowed)


@pytest.mark.rows("tail", "tail.p99")
def bench_tail(board: Board, sizes: Plan, scratch: Path) -> None:
    """The scheduler places both processes as it likes."""
    _measure(board, sizes, scratch, {"tail": 0.5, "tail.p99": 0.99}, os.sched_getaffinity(0))


@pytest.mark.rows("tail.two_cores")
def bench_tail_two_cores(board: Board, sizes: Plan, scratch: Path, two_cores: int) -> None:
    """Each hand-over wakes another core, for the pipe and for ours."""
    _measure(board, sizes, scratch, {"tail.two_cores": 0.5}, {two_cores})


def _measure(board: Board, sizes: Plan, scratch: Path, ranks: dict[str, float], cores: set[int]) -> None:
    """A follower in another process answers through a pipe, so that it waits again before the next put."""
    ours = StreamStore(scratch, "process")
    data = records(sizes.pings)
    hand_overs, halves = [], []
    with children.child("echo") as echo, children.child("follow", scratch, "bench") as follower:
        assert os.read(follower.output, 8) == children.READY
        for other in (echo, follower):
            os.sched_setaffinity(other.process.pid, cores)
        for number in range(sizes.warm_rounds + sizes.rounds):
            halves.append([trip / 2 for trip in floors.pipe_round_trips(echo.input, echo.output, sizes.pings)])
            hand_overs.append(_hand_overs(ours, follower, data))
            if number < sizes.warm_rounds:
                halves.clear()
                hand_overs.clear()
    ours.close()
    for row, part in ranks.items():
        mine, floor = [rank(times, part) for times in hand_overs], [rank(times, part) for times in halves]
        ratios = [took / least for took, least in zip(mine, floor, strict=True)]
        side = Side("streamstore", "process", "s", statistics.median(mine), tuple(mine))
        pipe = Side("pipe", "none", "s", statistics.median(floor), tuple(floor), setup=PIPE)
        board.post(row, statistics.median(ratios), side, pipe, spread=quartiles(ratios))


def rank(times: list[float], part: float) -> float:
    """Return the value below which that part of the times lies."""
    return sorted(times)[min(int(len(times) * part), len(times) - 1)]
