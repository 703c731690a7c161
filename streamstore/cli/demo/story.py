"""The demo's story from first put to last check. Prints nothing: it says where it is through a callback and returns
what it measured.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import streamstore
from streamstore.cli.demo.checks import check_store
from streamstore.cli.demo.child import Child
from streamstore.cli.demo.writer import PACED
from streamstore.generate.clickstream import clickstream, part_of

STREAM = "clickstream"
SHARDS = 4

Say = Callable[[str], None]


class Story:
    """One run in one directory; `figures` fills as it goes."""

    def __init__(self, directory: Path, events: int, say: Say) -> None:
        self.figures: dict[str, Any] = {"events": events, "shards": SHARDS, "durability": "sync"}
        self.checks: dict[str, bool] = {}
        self.tailed: dict[str, Any] = {}
        self._directory = directory
        self._store = directory / "store"
        self._events = events
        self._say = say
        self._parts = [directory / f"part-{number}.jsonl" for number in (0, 1)]
        self._children: list[Child] = []

    def run(self) -> None:
        """Tell it; whatever happens, no process is left behind."""
        try:
            self._generate()
            self._create()
            self._write_and_kill()
            self._reopen()
        finally:
            for child in self._children:
                if child.process.poll() is None:
                    child.kill()

    def _generate(self) -> None:
        self._say(f"generating {self._events:,} events")
        sizes = [0, 0]
        counts = [0, 0]
        with open(self._parts[0], "wb") as first, open(self._parts[1], "wb") as second:
            for event in clickstream(self._events):
                part = part_of(event.user)
                (second if part else first).write(event.data + b"\n")
                sizes[part] += len(event.data)
                counts[part] += 1
        self._counts = counts
        self.figures["bytes"] = sum(sizes)

    def _create(self) -> None:
        with streamstore.open(self._store, create=True) as store:
            store.create_stream(STREAM, shard_count=SHARDS, durability="sync")

    def _start(self, module: str, *arguments: object) -> Child:
        child = Child(module, self._store, STREAM, *arguments)
        self._children.append(child)
        return child

    def _write_and_kill(self) -> None:
        self._say("two processes write, a third one tails")
        tailer = self._start("tailer", self._events - 2 * PACED, self._events)
        writers = [self._start("writer", part, number) for number, part in enumerate(self._parts)]
        for child in (tailer, *writers):
            child.wait_for("ready")
        for writer in writers:
            writer.go()
        victim = writers[1]
        victim.wait_for_acks(self._counts[1] // 2)
        victim.kill()
        killed_ns = time.monotonic_ns()
        half_way = victim.process.returncode == -signal.SIGKILL and victim.acked < self._counts[1] - PACED
        self.checks["one writer was killed in the middle of its work"] = half_way
        self._say("killed a writer half-way (SIGKILL); a fresh process takes over its part")
        successor = self._start("writer", self._parts[1], 1)
        successor.wait_for("ready")
        successor.go()
        last_writers = [writers[0], successor]
        ends = [int(writer.wait_for("bulk")[0]) for writer in last_writers]
        tailer.wait_for("bulk")
        self._say("the last events one by one, to time the tailing process without a queue before it")
        for writer in last_writers:
            writer.go()
            writer.wait_for("done")
        self.tailed = json.loads(tailer.end() or b"{}")
        for writer in last_writers:
            writer.kill()  # nobody closes the store: the reopening that follows is one after a crash
        self._measure_puts(writers, successor, killed_ns, ends)

    def _measure_puts(self, writers: Sequence[Child], successor: Child, killed_ns: int, ends: Sequence[int]) -> None:
        taken_over = successor.parsed_acks()
        every = self._acks = writers[0].parsed_acks() + writers[1].parsed_acks() + taken_over
        begin = min(int(writer.wait_for("begin")[0]) for writer in writers)
        both = [ack for ack in every if ack.clock_ns <= killed_ns]
        both_seconds = (max(ack.clock_ns for ack in both) - begin) / 1e9
        records = sum(len(ack.events) for ack in both)
        mean_size = self.figures["bytes"] / self._events
        self.figures |= {
            "records_per_s": records / both_seconds,
            "bytes_per_s": records * mean_size / both_seconds,
            "whole_run_records_per_s": (self._events - 2 * PACED) / ((max(ends) - begin) / 1e9),
            "put_one_ns": quantiles([ack.elapsed_ns for ack in every if ack.kind == "one"]),
            "put_batch_ns": quantiles(
                [ack.elapsed_ns for ack in every if ack.kind == "batch" and len(ack.events) >= 500]
            ),
            "acknowledged_before_kill": writers[1].acked,
            "taken_over_after_ns": min(ack.clock_ns for ack in taken_over) - killed_ns,
        }

    def _reopen(self) -> None:
        self._say("every process is gone without a close; reopening and checking every record")
        began = time.perf_counter_ns()
        with streamstore.open(self._store, create=False) as store:
            stream = store.stream(STREAM)
            opened = time.perf_counter_ns()
            counts = [shard.record_count for shard in stream.shards()]
            touched = time.perf_counter_ns()
            self.figures |= {"open_ns": opened - began, "reopen_ns": touched - began, "shard_records": counts}
            check_store(stream, self._parts, self._acks, self.figures, self.checks)
        self.check_tail()

    def check_tail(self) -> None:
        """What the tailing process reported, against what it must have seen."""
        tailed = self.tailed
        latencies = [us * 1000 for us in tailed.get("latencies_us", [])]
        self.figures["tail_loaded_ns"] = quantiles(latencies[: -2 * PACED])
        self.figures["tail_ns"] = quantiles(latencies[-2 * PACED :])
        self.checks["the tailing process saw every record once"] = (
            tailed.get("count") == tailed.get("distinct") == self._events
        )
        self.checks["and each shard in order"] = tailed.get("out_of_order") == 0


def quantiles(values: Sequence[int]) -> dict[str, int]:
    """p50, p99 and the largest of the values, and how many there are."""
    ordered = sorted(values)
    if not ordered:
        return {"p50": 0, "p99": 0, "max": 0, "count": 0}
    last = len(ordered) - 1
    return {"p50": ordered[last // 2], "p99": ordered[last * 99 // 100], "max": ordered[-1], "count": len(ordered)}
