"""How late a replay hands records out, and the gaps of a stream that was captured, replayed and captured again."""

from __future__ import annotations

import gc
import json
import random
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import streamstore
from bench import http_servers
from bench.bench_tail import rank
from bench.board import Board
from bench.ours import StreamStore
from bench.plan import Plan
from bench.race import quartiles
from bench.workload import KEYS, SEED, records
from streamstore import Capture, PutEntry, Replay
from streamstore.bench.result import Side
from streamstore.stream import Stream
from streamstore.targets import KinesisTarget
from streamstore.targets.endpoint import make_client

BATCH = 500
SHARDS = 4
BEGIN = 1_431_857_103  # 2015-05-17 10:05:03 UTC
SPEED = 3600
RATE = 10_000  # records a second as they are replayed
PUT_RATE = 200  # a call each, and calls that do not queue up
RANKS = {"": 0.5, ".p99": 0.99}


@pytest.mark.rows(*(f"replay.timing{name}" for name in RANKS))
def bench_timing(board: Board, sizes: Plan, scratch: Path) -> None:
    """The verb itself at 3600 times the speed of event times with random gaps; its own histogram is what counts."""
    chance, moment = random.Random(SEED), float(BEGIN)
    entries = []
    for number, data in enumerate(records(int(RATE * sizes.replay_seconds))):
        entries.append(PutEntry(data, KEYS[number % len(KEYS)], event_time=moment))
        moment += chance.expovariate(RATE / SPEED)
    store = StreamStore(scratch / "store", "process", SHARDS)
    for first in range(0, len(entries), BATCH):
        store.stream.put_records(entries[first : first + BATCH])
    store.close()
    verb = [sys.executable, "-m", "streamstore", "replay", str(scratch / "store"), "bench", "null:", "--json"]
    late: list[dict[str, float]] = []
    for _ in range(1 + sizes.http_rounds):  # the first warms up
        asked = [*verb, "--by", "event", "--speed", f"{SPEED}x"]
        said = json.loads(subprocess.run(asked, cwd=http_servers.ROOT, capture_output=True, check=True).stdout)
        assert said["records"] == len(entries)
        late.append(said["timing_error_ms"])
    for name, part in RANKS.items():
        _post(board, f"replay.timing{name}", [each[f"p{100 * part:g}"] / 1000 for each in late[1:]])


@pytest.mark.rows(*(f"replay.gaps{name}" for name in RANKS))
def bench_gaps(board: Board, sizes: Plan, scratch: Path, cleanup: ExitStack) -> None:
    """Records put to one server at random moments, captured, replayed to another one as they came, captured again."""
    urls = [cleanup.enter_context(http_servers.ours(scratch / name, "process"))[1] for name in ("origin", "fresh")]
    clients = [make_client(url) for url in urls]
    store = cleanup.enter_context(streamstore.open(scratch / "copies", durability="process"))
    errors = []
    for number in range(1 + sizes.http_rounds):  # the first warms up
        name = f"round-{number}"
        for client in clients:
            client.create_stream(StreamName=name, ShardCount=SHARDS)
            client.get_waiter("stream_exists").wait(StreamName=name, WaiterConfig={"Delay": 1})
        _put_at_random_moments(clients[0], name, sizes.http_seconds)
        first = _captured(store, f"first-{number}", f"{urls[0]}/{name}")
        gc.collect()  # boto3 leaves garbage that takes a tenth of a second, and is not to be collected meanwhile
        Replay(first, by="source").run(KinesisTarget(clients[1], name))
        second = _captured(store, f"second-{number}", f"{urls[1]}/{name}")
        errors.append(_gap_errors(first, second))
    for name, part in RANKS.items():
        _post(board, f"replay.gaps{name}", [rank(each, part) for each in errors[1:]])


def _put_at_random_moments(client: Any, name: str, seconds: float) -> None:
    chance = random.Random(SEED)
    due = time.monotonic()
    for number, data in enumerate(records(int(PUT_RATE * seconds))):
        client.put_record(StreamName=name, Data=b"%d " % number + data, PartitionKey=KEYS[number % len(KEYS)])
        due += chance.expovariate(PUT_RATE)
        time.sleep(max(0.0, due - time.monotonic()))


def _captured(store: Any, name: str, address: str) -> Stream:
    """Through the API, into as many shards as it has there."""
    stream: Stream = store.create_stream(name, shard_count=SHARDS)
    with Capture(stream, address, interval=0.05) as capture:
        capture.run(follow=False)
    return stream


def _gap_errors(first: Stream, second: Stream) -> list[float]:
    """By how many seconds each record's distance to the others differs, of two captures with the same data in the same
    order. What all of the second are later by is no gap.
    """
    lanes: list[dict[str, list[bytes]]] = []
    arrivals: list[dict[bytes, int]] = []
    for stream in (first, second):
        found = list(stream.read())
        lanes.append({})
        for record in found:
            lanes[-1].setdefault(record.shard_id, []).append(record.data)
        arrivals.append({record.data: record.source["arrival_us"] for record in found})
    assert lanes[0] == lanes[1], "the second capture has other records, or another order"
    later = [arrivals[1][data] - arrival for data, arrival in arrivals[0].items()]
    usual = statistics.median_low(later)
    return [abs(each - usual) * 1e-6 for each in later]


def _post(board: Board, row: str, values: list[float]) -> None:
    usual = statistics.median(values)
    board.post(row, usual, Side("streamstore", "process", "s", usual, tuple(values)), spread=quartiles(values))
