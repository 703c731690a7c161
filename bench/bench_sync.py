"""Writing in `sync` mode: an acknowledgement survives a power cut, on both sides of every row."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from bench.board import Board
from bench.floors import RawFile
from bench.ours import StreamStore, lap, named_lap
from bench.plan import Plan
from bench.race import Lap, race
from bench.rivals import open_rival
from bench.workload import KEYS, records
from streamstore.bench.result import Side

BATCH = 500
THREADS = 16
FRAME_HEADER_SIZE = 48


def _frame_size(data_size: int) -> int:
    return -(-(FRAME_HEADER_SIZE + len(KEYS[0]) + data_size) // 8) * 8


@pytest.mark.rows("put_record.sync")
def bench_put_record_sync(board: Board, sizes: Plan, scratch: Path, cleanup: ExitStack, benchmark: Any) -> None:
    """One durable record at a time, against the two system calls that it cannot do without."""
    ours, floor = StreamStore(scratch / "ours", "sync"), RawFile(scratch / "raw")
    cleanup.callback(ours.close)
    cleanup.callback(floor.close)
    data = records(sizes.sync_puts)
    frames = records(sizes.sync_puts, _frame_size(len(data[0])))
    raw = _raw_lap(floor, frames, len(data))
    outcome = race(benchmark, lap(ours, "put_each", data), raw, rounds=sizes.rounds, warm_rounds=sizes.warm_rounds)
    board.post_race("put_record.sync", outcome)


@pytest.mark.rows("put_records.sync.floor")
def bench_put_records_sync_floor(board: Board, sizes: Plan, scratch: Path, cleanup: ExitStack, benchmark: Any) -> None:
    """Durable batches of 500, against one pwrite and one fdatasync for all bytes of a batch."""
    ours, floor = StreamStore(scratch / "ours", "sync"), RawFile(scratch / "raw")
    cleanup.callback(ours.close)
    cleanup.callback(floor.close)
    data = records(sizes.sync_batches * BATCH)
    frames = records(sizes.sync_batches, _frame_size(len(data[0])) * BATCH)
    laps = lap(ours, "put_batches", data, BATCH), _raw_lap(floor, frames, len(data))
    outcome = race(benchmark, *laps, rounds=sizes.rounds, warm_rounds=sizes.warm_rounds)
    board.post_race("put_records.sync.floor", outcome)


def _raw_lap(floor: RawFile, frames: list[bytes], count: int) -> Lap:
    return Lap(floor.name, floor.durability, count, floor.put_each, lambda: frames, setup=floor.setup)


@pytest.mark.rows("put_record.sync.16_threads", "put_record.sync.group")
def bench_put_record_sync_threads(board: Board, sizes: Plan, scratch: Path, cleanup: ExitStack, benchmark: Any) -> None:
    """Sixteen threads share syncs; one thread has each to itself."""
    alone, shared = StreamStore(scratch / "alone", "sync"), StreamStore(scratch / "shared", "sync")
    cleanup.callback(alone.close)
    cleanup.callback(shared.close)
    pool = cleanup.enter_context(ThreadPoolExecutor(THREADS))
    data = records(sizes.sync_puts)
    parts = [shared.prepare(data)] * THREADS
    list(pool.map(shared.put_each, parts))  # start every thread before the clock
    before = shared.group_totals()
    many = named_lap(shared, THREADS * len(data), lambda _: list(pool.map(shared.put_each, parts)))
    one = lap(alone, "put_each", data)
    one = Lap("one thread", one.durability, one.count, one.run, one.prepare)
    outcome = race(benchmark, many, one, rounds=sizes.rounds, warm_rounds=sizes.warm_rounds)
    board.post_race("put_record.sync.16_threads", outcome)
    puts, syncs = (after - first for after, first in zip(shared.group_totals(), before, strict=True))
    mean = puts / syncs
    board.post("put_record.sync.group", mean, Side("streamstore", "sync", "puts", mean))


@pytest.mark.rows("put_records.sync")
def bench_put_records_sync(board: Board, sizes: Plan, scratch: Path, cleanup: ExitStack, benchmark: Any) -> None:
    """Durable batches of 500, against SQLite committing as many rows durably."""
    ours, rival = StreamStore(scratch / "ours", "sync"), open_rival("sqlite_sync", scratch / "sqlite")
    cleanup.callback(ours.close)
    cleanup.callback(rival.close)
    data = records(sizes.sync_batches * BATCH)
    laps = lap(ours, "put_batches", data, BATCH), lap(rival, "put_batches", data, BATCH)
    board.post_race("put_records.sync", race(benchmark, *laps, rounds=sizes.rounds, warm_rounds=sizes.warm_rounds))
