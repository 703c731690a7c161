"""What a queue costs that has a history: opened again after a kill, in memory and on disk."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest

import streamstore
from bench import children
from bench.board import Board
from bench.plan import Plan
from streamstore.bench import machine
from streamstore.bench.result import Side

OPENS = 5


@pytest.mark.rows("work.history.open", "work.history.memory")
def bench_open_after_history(board: Board, sizes: Plan, scratch: Path) -> None:
    """A queue over a stream that keeps its records, against one of which nothing was received before; every process is
    killed with a message in its hands, which the next one gets.
    """
    with children.child("work_off", scratch / "old", "kept", sizes.history) as worker:
        worker.line()
        worker.kill()
    with children.child("work_off", scratch / "new", "kept", 0) as worker:
        worker.line()
        worker.kill()
    old, new = [[_open(scratch / name) for _ in range(OPENS)] for name in ("old", "new")]
    note = f"{sizes.history:,} messages were received and acknowledged; median of {OPENS} processes."
    times = tuple(said["seconds"] for said in old)
    taken = statistics.median(times)
    side = Side("streamstore", "process", "s", taken, times)
    board.post("work.history.open", taken, side, spread=(min(times), max(times)), note=note)
    memory = [statistics.median(said["memory"] for said in side) for side in (old, new)]
    sides = [Side(name, "process", "bytes", value) for name, value in zip(("streamstore", "new"), memory, strict=True)]
    board.post("work.history.memory", memory[0] / memory[1], *sides, note=note)


def _open(directory: Path) -> dict[str, float]:
    with children.child("take", directory) as process:
        said: dict[str, float] = process.line()
        process.kill()
    return said


@pytest.mark.rows("work.history.disk")
def bench_disk_after_history(board: Board, sizes: Plan, scratch: Path) -> None:
    """A queue with a stream of its own keeps what is not acknowledged, and no more."""
    with children.child("work_off", scratch, "own", sizes.history) as worker:
        worker.line()
        worker.kill()
    with streamstore.open(scratch) as store:
        store.maintain()
    size = machine.disk_bytes(scratch / "streams")  # beside it the store has a reserve, catalog and control file
    note = f"{sizes.history:,} messages were received and acknowledged."
    board.post("work.history.disk", size, Side("streamstore", "process", "bytes", size), note=note)
