"""The C core alone: builds bench/c/core_bench.c with csrc/ and posts what it measured."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
from pathlib import Path

import pytest

from bench.board import Board
from bench.plan import Plan
from bench.race import quartiles
from streamstore.bench.result import Side

ROOT = Path(__file__).parent.parent
FLAGS = ["-std=c11", "-O3", "-pthread", f"-I{ROOT / 'csrc'}"]
SIZE = 1024
FLOOR = "one core, records resident in its cache, every page of the mapping there before the clock starts"


def build(target: Path) -> None:
    """Compile the program with the same optimisation as the extension module, asserts on."""
    sources = [*sorted((ROOT / "csrc").glob("*.c")), ROOT / "bench/c/core_bench.c"]
    subprocess.run([os.environ.get("CC", "gcc"), *FLAGS, *map(str, sources), "-o", str(target)], check=True)


@pytest.mark.rows("core.append", "core.append_batch")
def bench_core_append(board: Board, sizes: Plan, scratch: Path) -> None:
    """Append one by one and in batches, in turn with the floor, all inside one program."""
    program = scratch / "core_bench"
    build(program)
    command = [str(program), str(scratch), str(sizes.rounds), str(sizes.batched), str(SIZE)]
    times = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    floor = Side("memcpy + checksum", "none", "records/s", 1 / statistics.median(times["floor"]), setup=FLOOR)
    for row, name in (("core.append", "append"), ("core.append_batch", "batch")):
        ratios = [least / taken for least, taken in zip(times["floor"], times[name], strict=True)]
        rates = tuple(1 / taken for taken in times[name])
        ours = Side("streamstore", "process", "records/s", statistics.median(rates), rates)
        board.post(row, statistics.median(ratios), ours, floor, spread=quartiles(ratios))
