"""Reading a stream from its start, against LMDB's cursor over the same records; both from the page cache."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from bench.board import Board
from bench.ours import StreamStore, named_lap
from bench.plan import Plan
from bench.race import race
from bench.rivals import open_rival
from bench.workload import records

BATCH = 500


@pytest.mark.parametrize(
    ("row", "how"),
    [
        pytest.param(row, how, marks=pytest.mark.rows(row))
        for row, how in (
            ("read.records", "read_all"), ("read.untouched", "read_untouched"), ("read.arrow", "read_arrow")
        )
    ],
)  # fmt: skip
def bench_read(
    row: str, how: str, board: Board, sizes: Plan, scratch: Path, cleanup: ExitStack, benchmark: Any
) -> None:
    """Every record once, in order; both sides must find as many as were put."""
    ours, rival = StreamStore(scratch / "ours", "process"), open_rival("lmdb", scratch / "lmdb")
    cleanup.callback(ours.close)
    cleanup.callback(rival.close)
    data = records(sizes.reads)
    for engine in (ours, rival):
        engine.put_batches(engine.prepare_batches(data, BATCH))
    ours_read = getattr(ours, how)
    assert ours_read() == rival.read_all() == len(data)
    laps = (
        named_lap(ours, len(data), lambda _: ours_read(), durability="reads"),
        named_lap(rival, len(data), lambda _: rival.read_all(), durability="reads"),
    )
    board.post_race(row, race(benchmark, *laps, rounds=sizes.rounds, warm_rounds=sizes.warm_rounds))
