"""Many streams and many shards: create, put one small record to each, open again, read all."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import streamstore
from bench.board import Board
from bench.plan import Plan
from bench.workload import KEYS
from streamstore.bench import machine
from streamstore.bench.result import Side

STEPS = ("create", "put", "open", "read", "descriptors", "disk")
HASH_KEYS = 1 << 128
OPENS = 5


class Measured:
    """Seconds of each step, and the most descriptors seen at the end of any."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}
        self.descriptors = 0

    def step(self, name: str, run: Callable[[], Any]) -> Any:
        """Run and time one step."""
        started = time.perf_counter()
        value = run()
        self.seconds.setdefault(name, []).append(time.perf_counter() - started)
        self.descriptors = max(self.descriptors, machine.descriptors())
        return value


def _create_streams(store: Any, count: int) -> None:
    for number in range(count):
        store.create_stream(f"stream-{number:05d}", shard_count=1, durability="process")


def _create_shards(store: Any, count: int) -> None:
    store.create_stream("wide", shard_count=count, durability="process")


def _put_streams(store: Any, count: int) -> None:
    for number in range(count):
        store.stream(f"stream-{number:05d}").put_record(b"small", partition_key=KEYS[0])


def _put_shards(store: Any, count: int) -> None:
    step = HASH_KEYS // count
    entries = [(b"small", KEYS[0], step * number + step // 2) for number in range(count)]
    store.stream("wide").put_records(entries)


def _read_streams(store: Any, count: int) -> int:
    return sum(len(list(store.stream(f"stream-{number:05d}").read("TRIM_HORIZON"))) for number in range(count))


def _read_shards(store: Any, _count: int) -> int:
    return len(list(store.stream("wide").read("TRIM_HORIZON")))


CASES = {
    "streams": (_create_streams, _put_streams, _read_streams),
    "shards": (_create_shards, _put_shards, _read_shards),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.rows(*(f"scale.{name}.{step}" for step in STEPS))) for name in CASES]
)
def bench_scale(name: str, board: Board, sizes: Plan, scratch: Path) -> None:
    """Each step once, the open a few times; every record must be there."""
    create, put, read = CASES[name]
    count: int = getattr(sizes, name)
    measured = Measured()
    with streamstore.open(str(scratch), durability="process") as store:
        measured.step("create", lambda: create(store, count))
        measured.step("put", lambda: put(store, count))
    for _ in range(OPENS):
        measured.step("open", lambda: streamstore.open(str(scratch))).close()
    with streamstore.open(str(scratch)) as store:
        assert measured.step("read", lambda: read(store, count)) == count
    for step, times in measured.seconds.items():
        _post(board, f"scale.{name}.{step}", statistics.median(times), "s", f"{count:,} {name}.")
    _post(board, f"scale.{name}.descriptors", measured.descriptors, "", f"{count:,} {name}.")
    _post(board, f"scale.{name}.disk", machine.disk_bytes(scratch), "bytes", f"{count:,} {name}.")


def _post(board: Board, row: str, value: float, unit: str, note: str) -> None:
    board.post(row, value, Side("streamstore", "process", unit, value), note=note)
