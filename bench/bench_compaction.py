"""Compaction: what it saves on a real log, what reading pays for it, and whether writers feel it."""

from __future__ import annotations

import gc
import itertools
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import streamstore
from bench.board import Board
from bench.ours import StreamStore, named_lap
from bench.plan import MB, Plan
from bench.race import quartiles, race
from bench.workload import keyed
from streamstore.bench.result import Side

BATCH = 500
SEGMENT_SIZE = 8 << 20
RUNS = 5
WARM_PUTS = 20_000
METHODS = ("GET", "POST", "PUT")


def lines(count: int) -> list[bytes]:
    """Return `count` lines of a web server's log; they compress as such lines do."""
    return [
        b'10.%d.%d.%d - - [17/May/2015:10:05:%02d +0000] "%s /page/%d HTTP/1.1" 200 %d'
        % (n % 7, n % 251, n * 31 % 253, n % 60, METHODS[n % 3].encode(), n * n % 977, n * 7919 % 100_000)
        for n in range(count)
    ]


@pytest.mark.rows("compaction.read")
def bench_read_compacted(board: Board, sizes: Plan, scratch: Path, cleanup: ExitStack, benchmark: Any) -> None:
    """Every record once, in order, out of blocks; the rival is the same stream as it was written."""
    data = lines(sizes.reads)
    stores = [StreamStore(scratch / name, "process") for name in ("compacted", "plain")]
    for store in stores:
        cleanup.callback(store.close)
        store.put_batches(store.prepare_batches(data, BATCH))
        store.stream.log(0).roll()
        store.store.flush()
    compacted, plain = stores
    assert compacted.stream.compact(rate=0).files
    assert compacted.read_all() == plain.read_all() == len(data)
    laps = (
        named_lap(compacted, len(data), lambda _: compacted.read_all(), durability="reads"),
        named_lap(plain, len(data), lambda _: plain.read_all(), durability="reads"),
    )
    board.post_race("compaction.read", race(benchmark, *laps, rounds=sizes.rounds, warm_rounds=sizes.warm_rounds))


@pytest.mark.rows("compaction.append")
def bench_append_beside(board: Board, sizes: Plan, scratch: Path) -> None:
    """The 99.9th percentile of one put while the same process compacts at its default rate, over that while it does
    not; medians of five runs, in turn."""
    beside, alone = [], []
    with streamstore.open(scratch / "store", durability="process", maintenance=False) as store:
        full = store.create_stream("full", segment_size=SEGMENT_SIZE, compact_after=None)
        written = store.create_stream("written", compact_after=None)
        data = lines(100_000)
        for _ in range(WARM_PUTS // 1000):
            _p999(written, data, 1000)
        for _ in range(RUNS):
            for start in range(0, len(data), BATCH):
                full.put_records(keyed(data[start : start + BATCH]))
            full.log(0).roll()
            store.flush()
            alone.append(_p999(written, data, sizes.puts))
            thread = threading.Thread(target=full.compact)
            thread.start()
            beside.append(_p999(written, data, sizes.puts, while_alive=thread))
            thread.join()
    sides = [Side("streamstore", "process", "s", statistics.median(times), tuple(times)) for times in (beside, alone)]
    ratios = [after / before for after, before in zip(beside, alone, strict=True)]
    board.post("compaction.append", sides[0].median / sides[1].median, *sides, spread=quartiles(ratios))


def _p999(stream: Any, data: list[bytes], count: int, while_alive: threading.Thread | None = None) -> float:
    put, clock = stream.put_record, time.perf_counter
    times = []
    gc.collect()
    for record in itertools.islice(itertools.cycle(data), count):
        began = clock()
        put(record, partition_key="user-42")
        times.append(clock() - began)
        if while_alive is not None and not while_alive.is_alive():
            break  # what comes now is written alone
    times.sort()
    return times[int(len(times) * 0.999)]


@pytest.mark.rows("compaction.ratio")
def bench_ratio(board: Board, sizes: Plan, scratch: Path, pytestconfig: pytest.Config) -> None:
    """A log file over and over, a record a line, as `ingest` takes it in."""
    path = pytestconfig.getoption("--web-log")
    if path is None:
        pytest.skip("no --log-file")
    with streamstore.open(scratch / "store", durability="process", maintenance=False) as store:
        stream = store.create_stream("log", compact_after=None)
        size = _fill(stream, Path(path).read_bytes().splitlines(), sizes.small_bytes)
        store.flush()
        began = time.perf_counter()
        done = stream.compact(rate=0)
        took = time.perf_counter() - began
    ours = Side("streamstore", "process", "bytes", done.file_bytes)
    note = (
        f"{size / 1e9:.2g} GB of {Path(path).name}, {done.log_bytes / 1e9:.3g} GB with keys and frames; "
        f"{done.log_bytes / took / MB:.0f} MB/s at full speed, read back and compared."
    )
    board.post("compaction.ratio", done.ratio, ours, note=note)


def _fill(stream: Any, source: list[bytes], size: int) -> int:
    written = 0
    for batch in _batches(source):
        stream.put_records([(line, line.split(maxsplit=1)[0].decode()) for line in batch])
        written += sum(map(len, batch))
        if written >= size:
            break
    stream.log(0).roll()
    return written


def _batches(source: list[bytes]) -> Iterator[list[bytes]]:
    endless = itertools.cycle(line for line in source if line)
    while True:
        yield list(itertools.islice(endless, BATCH))
