"""What a backup costs on the large store: a snapshot, verifying it against reading its files, a seek by time."""

from __future__ import annotations

import os
import random
import shutil
import statistics
import time
from pathlib import Path

import pytest

import streamstore
from bench import children
from bench.bench_volume import RECORD_SIZE
from bench.board import Board
from bench.plan import Plan
from bench.race import quartiles
from streamstore.bench.result import Side

ROWS = ("snapshot", "verify", "seek.time")
_READ_SIZE = 1 << 20


@pytest.mark.rows(*ROWS)
def bench_backup(board: Board, sizes: Plan, scratch: Path) -> None:
    """One store, whose writer was killed; each figure is taken several times."""
    place = scratch / "store"
    with children.child("fill", place, sizes.large_bytes, RECORD_SIZE) as writer:
        told = writer.line()
        writer.kill()
    streamstore.open(str(place)).close()
    size = f"Store of {told['bytes'] / 1e9:.2g} GB of records."
    snapshots = [_snapshot(place, scratch / "copy") for _ in range(sizes.kills)]
    ours = Side("streamstore", "process", "s", statistics.median(snapshots), tuple(snapshots))
    board.post("snapshot", ours.median, ours, spread=quartiles(snapshots), note=size)
    rates = [(_verify(place), _read(place)) for _ in range(sizes.kills)]
    verified = _side("streamstore", [ours for ours, _ in rates])
    read = _side("pread of the files", [theirs for _, theirs in rates])
    ratios = [a / b for a, b in rates]
    board.post("verify", statistics.median(ratios), verified, read, spread=quartiles(ratios), note=size)
    seeks = _seeks(place, sizes)
    ours = Side("streamstore", "reads", "s", statistics.median(seeks), tuple(seeks))
    board.post("seek.time", ours.median, ours, spread=quartiles(seeks), note=size)


def _side(name: str, rates: list[float]) -> Side:
    return Side(name, "reads", "bytes/s", statistics.median(rates), tuple(rates))


def _snapshot(place: Path, target: Path) -> float:
    """Return the seconds of a snapshot that a program takes which has the store open and has just written."""
    with streamstore.open(str(place), durability="process") as store:
        store.stream(children.STREAM).put_record(b"before the snapshot", partition_key="k")
        started = time.perf_counter()
        store.snapshot(target)
        taken = time.perf_counter() - started
    shutil.rmtree(target)
    return taken


def _forget(place: Path) -> int:
    """Drop the files from the page cache, so that the disk is read; returns their size."""
    size = 0
    for path in place.rglob("*.seg"):
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)
        size += path.stat().st_size
    return size


def _verify(place: Path) -> float:
    _forget(place)
    started = time.perf_counter()
    report = streamstore.verify(place)
    taken = time.perf_counter() - started
    assert report.damage == []
    return report.bytes / taken


def _read(place: Path) -> float:
    size = _forget(place)
    started = time.perf_counter()
    for path in sorted(place.rglob("*.seg")):
        handle = os.open(path, os.O_RDONLY)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        offset = 0
        while block := os.pread(handle, _READ_SIZE, offset):
            offset += len(block)
        os.close(handle)
    return size / (time.perf_counter() - started)


def _seeks(place: Path, sizes: Plan) -> list[float]:
    """Return seconds a seek by time, round by round, over times from all of the store; the first rounds warm it."""
    with streamstore.open(str(place)) as store:
        shard = store.stream(children.STREAM).shards()[0]
        first = shard.read(start="TRIM_HORIZON", limit=1)[0].arrival_us
        last = store.stream(children.STREAM).last(1)[0].arrival_us
        chosen = random.Random(1)
        moments = [chosen.randint(first, last) / 1e6 for _ in range(200)]
        times = []
        for _ in range(sizes.warm_rounds + sizes.rounds):
            started = time.perf_counter()
            for moment in moments:
                shard.seek_time(moment)
            times.append((time.perf_counter() - started) / len(moments))
    return times[sizes.warm_rounds :]
