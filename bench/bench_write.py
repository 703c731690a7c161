"""Writing in `process` mode, against LMDB without syncs: what both acknowledge survives kill -9 and no more."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from bench.board import Board
from bench.ours import StreamStore, lap
from bench.plan import Plan
from bench.race import race
from bench.rivals import open_rival
from bench.workload import records

BATCH = 500


def _open(cleanup: ExitStack, scratch: Path, durability: str, shard_count: int = 1) -> tuple[StreamStore, Any]:
    ours = StreamStore(scratch / "ours", durability, shard_count)
    cleanup.callback(ours.close)
    rival = open_rival("lmdb", scratch / "lmdb")
    cleanup.callback(rival.close)
    return ours, rival


@pytest.mark.parametrize(
    ("row", "durability"),
    [
        pytest.param("put_record", "process", marks=pytest.mark.rows("put_record")),
        pytest.param("put_record.interval", "interval", marks=pytest.mark.rows("put_record.interval")),
    ],
)
def bench_put_record(
    row: str, durability: str, board: Board, sizes: Plan, scratch: Path, cleanup: ExitStack, benchmark: Any
) -> None:
    """One record a call on one thread."""
    ours, rival = _open(cleanup, scratch, durability)
    data = records(sizes.puts)
    laps = lap(ours, "put_each", data), lap(rival, "put_each", data)
    board.post_race(row, race(benchmark, *laps, rounds=sizes.rounds, warm_rounds=sizes.warm_rounds))


@pytest.mark.parametrize(
    ("row", "shard_count", "rival_put"),
    [
        pytest.param(name, count, put, marks=pytest.mark.rows(name))
        for name, count, put in (
            ("put_records.1_shard", 1, "put_batches"),
            ("put_records.16_shards", 16, "put_batches"),
            ("put_records.putmulti", 1, "put_many_batches"),
        )
    ],
)
def bench_put_records(
    row: str, shard_count: int, rival_put: str, board: Board, sizes: Plan, scratch: Path, cleanup: ExitStack,
    benchmark: Any,
) -> None:  # fmt: skip
    """Batches of 500 on one thread."""
    ours, rival = _open(cleanup, scratch, "process", shard_count)
    data = records(sizes.batched)
    laps = lap(ours, "put_batches", data, BATCH), lap(rival, rival_put, data, BATCH)
    board.post_race(row, race(benchmark, *laps, rounds=sizes.rounds, warm_rounds=sizes.warm_rounds))
