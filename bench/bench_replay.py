"""Replaying a stream flat out, over several shards in one order, against reading the same stream."""

from __future__ import annotations

import math
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from bench.board import Board
from bench.ours import StreamStore, named_lap
from bench.plan import Plan
from bench.race import race
from bench.workload import records
from streamstore import PutEntry, Replay
from streamstore.targets import NullTarget

BATCH = 500
SHARDS = 4
BEGIN = 1_431_857_103  # 2015-05-17 10:05:03 UTC
GAP = 0.01


@pytest.mark.parametrize(
    ("row", "by"),
    [
        pytest.param(row, by, marks=pytest.mark.rows(row))
        for row, by in (("replay.arrival", "arrival"), ("replay.event", "event"))
    ],
)
def bench_replay(
    row: str, by: str, board: Board, sizes: Plan, scratch: Path, cleanup: ExitStack, benchmark: Any
) -> None:
    """Every record once on both sides; each has an event time, as the lines of a log have."""
    store = StreamStore(scratch / "store", "process", SHARDS)
    cleanup.callback(store.close)
    entries = [
        PutEntry(data, key, event_time=BEGIN + number * GAP)
        for number, (data, key) in enumerate(store.prepare(records(sizes.reads)))
    ]
    for first in range(0, len(entries), BATCH):
        store.stream.put_records(entries[first : first + BATCH])

    def replay(_: Any = None) -> int:
        return Replay(store.stream, by=by, speed=math.inf).run(NullTarget()).records

    assert replay() == store.read_untouched() == len(entries)
    laps = (
        named_lap(store, len(entries), replay, durability="reads"),
        named_lap(store, len(entries), lambda _: store.read_untouched(), durability="reads"),
    )
    board.post_race(row, race(benchmark, *laps, rounds=sizes.rounds, warm_rounds=sizes.warm_rounds))
