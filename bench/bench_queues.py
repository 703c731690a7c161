"""For information: the embedded queues and stores that people use today, one record a call, at equal promises."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from bench.board import Board
from bench.ours import StreamStore, lap, named_lap
from bench.plan import Plan
from bench.race import race
from bench.rivals import open_rival
from bench.rows import RIVAL_QUEUES
from bench.workload import records

ROUNDS = 5
QUEUES = ("persist_files", "persist_sqlite", "litequeue")
TAKEN = "The queue takes each item out and says so; ours reads it and leaves it there."


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.rows(f"queues.{name}.put")) for name in RIVAL_QUEUES]
)
def bench_queue_put(name: str, board: Board, sizes: Plan, scratch: Path, cleanup: ExitStack, benchmark: Any) -> None:
    """One put a record, acknowledged each, on both sides with the same promise."""
    rival = open_rival(name, scratch / "rival")
    cleanup.callback(rival.close)
    ours = StreamStore(scratch / "ours", rival.durability)
    cleanup.callback(ours.close)
    data = records(sizes.queue_puts if rival.durability == "process" else sizes.sync_puts)
    laps = lap(ours, "put_each", data), lap(rival, "put_each", data)
    board.post_race(f"queues.{name}.put", race(benchmark, *laps, rounds=ROUNDS, warm_rounds=1))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.rows(f"queues.{name}.get")) for name in RIVAL_QUEUES]
)
def bench_queue_get(name: str, board: Board, sizes: Plan, scratch: Path, cleanup: ExitStack, benchmark: Any) -> None:
    """Everything that was put, taken one by one: a queue forgets it, a store (and ours) reads it from the start."""
    rival = open_rival(name, scratch / "rival")
    cleanup.callback(rival.close)
    ours = StreamStore(scratch / "ours", "process")
    cleanup.callback(ours.close)
    data = records(sizes.queue_puts if rival.durability == "process" else sizes.sync_puts)
    ours.put_each(ours.prepare(data))
    laps = _reading(ours, len(data), lambda: None), _reading(rival, len(data), _refill(rival, name, data))
    outcome = race(benchmark, *laps, rounds=ROUNDS, warm_rounds=1)
    board.post_race(f"queues.{name}.get", outcome, note=TAKEN if name in QUEUES else "")


def _refill(rival: Any, name: str, data: list[bytes]) -> Callable[[], None]:
    """Return what fills a queue again before each round; a store is filled once."""
    if name in QUEUES:
        return lambda: rival.put_each(rival.prepare(data))
    rival.put_each(rival.prepare(data))
    return lambda: None


def _reading(engine: Any, count: int, prepare: Callable[[], None]) -> Any:
    def run(_: object) -> None:
        found = engine.read_all()
        assert found == count, f"{engine.name} gave back {found} of {count}"

    return named_lap(engine, count, run, prepare, durability="reads")
