"""What must not grow with the store: opening after a kill, the first touch, a get, and private memory."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import streamstore
from bench import children
from bench.board import Board
from bench.plan import MB, Plan
from bench.race import quartiles
from streamstore.bench.result import Side

RECORD_SIZE = 1024
ROWS = ("get", "get.flat", "open", "open.flat", "touch", "touch.flat", "memory.write", "memory.read")


@dataclass(frozen=True)
class Level:
    """What was measured at one size of the store, in seconds and bytes."""

    seconds: Mapping[str, Sequence[float]]  # by row
    written: int
    peak_bytes: int


@pytest.mark.rows(*ROWS)
def bench_volume(board: Board, sizes: Plan, scratch: Path) -> None:
    """The same figures at two sizes of one store, whose writer is killed each time."""
    small = _level(scratch, sizes, sizes.small_bytes)
    large = _level(scratch, sizes, sizes.large_bytes)
    told = f"{small.written / 1e9:.2g} and {(small.written + large.written) / 1e9:.2g} GB of records"
    for row, durability in (("get", "reads"), ("open", "process"), ("touch", "process")):
        before, after = small.seconds[row], large.seconds[row]
        sides = [
            Side("streamstore", durability, "s", statistics.median(times), tuple(times)) for times in (after, before)
        ]
        board.post(row, sides[0].median, sides[0], spread=quartiles(after), note=f"Store of {told.split(' and ')[1]}.")
        smaller = Side("the small store", durability, "s", sides[1].median, tuple(before))
        board.post(f"{row}.flat", sides[0].median / sides[1].median, sides[0], smaller, note=f"Stores of {told}.")
    _post_memory(board, "memory.write", large.peak_bytes, large.written, "process")
    with children.child("drain", scratch) as reader:
        told_by_reader = reader.line()
    assert told_by_reader["bytes"] >= small.written + large.written
    _post_memory(board, "memory.read", told_by_reader["peak"], told_by_reader["bytes"], "reads")


def _post_memory(board: Board, row: str, peak: int, passed: int, durability: str) -> None:
    ours = Side("streamstore", durability, "bytes", peak)
    board.post(row, peak, ours, note=f"While {passed / 1e9:.3g} GB of records passed, the interpreter included.")


def _level(directory: Path, sizes: Plan, size: int) -> Level:
    filled = _fill_and_kill(directory, size)
    opens, touches = [], []
    for number in range(sizes.kills):
        if number:
            _fill_and_kill(directory, MB)
        opened, touched = _open_and_touch(directory)
        opens.append(opened)
        touches.append(touched)
    gets = _gets(directory, filled["samples"], sizes)
    return Level({"open": opens, "touch": touches, "get": gets}, filled["bytes"], filled["peak"])


def _fill_and_kill(directory: Path, size: int) -> Any:
    with children.child("fill", directory, size, RECORD_SIZE) as writer:
        told = writer.line()
        time.sleep(0.01)  # so that it dies while it puts
        writer.kill()
    return told


def _open_and_touch(directory: Path) -> tuple[float, float]:
    """Return the seconds of the open, and of one read and one put in a shard that is untouched since the kill."""
    started = time.perf_counter()
    store = streamstore.open(str(directory))
    opened = time.perf_counter() - started
    with store:
        stream = store.stream(children.STREAM)
        started = time.perf_counter()
        batch = stream.shards()[0].read(start="TRIM_HORIZON", limit=1)
        stream.put_record(b"after the kill", partition_key="user-42")
        touched = time.perf_counter() - started
        assert len(batch) == 1
    return opened, touched


def _gets(directory: Path, samples: Sequence[str], sizes: Plan) -> list[float]:
    """Return seconds a get, round by round, over numbers from all of the store, each got before the clock starts."""
    with streamstore.open(str(directory)) as store:
        shard = store.stream(children.STREAM).shards()[0]
        wanted = (list(samples) * (sizes.gets // len(samples) + 1))[: sizes.gets]
        times = []
        for _ in range(sizes.warm_rounds + sizes.rounds):
            get = shard.get
            started = time.perf_counter()
            for number in wanted:
                get(number)
            times.append((time.perf_counter() - started) / len(wanted))
        assert all(len(get(number).data) == RECORD_SIZE for number in wanted)
    return times[sizes.warm_rounds :]
