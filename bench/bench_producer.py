"""The producer and its aggregates: user records a second into a store and through the server; what packing costs."""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

import streamstore
from bench import http_load, http_servers
from bench.board import Board
from bench.plan import Plan
from bench.race import Lap, quartiles, race
from bench.rivals.kinesis_aggregator import pack
from bench.workload import keyed, records
from streamstore import aggregation
from streamstore.bench.result import Side
from streamstore.producer import Producer

SHARDS = 4
AGGREGATE_SIZE = 51_200


@contextmanager
def _embedded(scratch: Path) -> Iterator[Producer]:
    with streamstore.open(scratch, durability="process") as store:
        with Producer(store.create_stream("put", shard_count=SHARDS)) as producer:
            yield producer


@contextmanager
def _served(scratch: Path) -> Iterator[Producer]:
    with http_servers.ours(scratch, "process") as (_, url, _):
        client = http_load.client(url)
        client.create_stream(StreamName="put", ShardCount=SHARDS)
        # The service's rates are not ours: 100,000 records of 100 bytes are more than four of its shards may take.
        with Producer(client, "put", rate_limit=0) as producer:
            yield producer


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.rows(f"producer.{name}")) for name in ("embedded", "server")]
)
def bench_rate(name: str, board: Board, sizes: Plan, scratch: Path, cleanup: ExitStack) -> None:
    """From the first put to the return of a flush, one thread, one call a record; every future is looked at."""
    producer = cleanup.enter_context((_embedded if name == "embedded" else _served)(scratch))
    entries = keyed(records(sizes.batched * (2 if name == "embedded" else 1)))
    rates = []
    for number in range(sizes.warm_rounds + sizes.rounds):
        put = producer.put_record
        started = time.perf_counter()
        futures = [put(data, key) for data, key in entries]
        producer.flush()
        rate = len(entries) / (time.perf_counter() - started)
        assert all(future.exception() is None for future in futures)
        if number >= sizes.warm_rounds:
            rates.append(rate)
    middle = statistics.median(rates)
    side = Side("streamstore", "process", "records/s", middle, tuple(rates))
    board.post(f"producer.{name}", middle, side, spread=quartiles(rates))


@pytest.mark.rows("aggregate")
def bench_aggregate(board: Board, sizes: Plan, benchmark: Any) -> None:
    """Records of few keys into aggregates of the KPL's usual size."""
    pytest.importorskip("aws_kinesis_agg")
    entries = keyed(records(sizes.puts))

    def ours(given: list[tuple[bytes, str]]) -> None:
        aggregation.aggregate(given, size_max=AGGREGATE_SIZE)

    def theirs(given: list[tuple[bytes, str]]) -> None:
        pack(given, AGGREGATE_SIZE)

    laps = [
        Lap("streamstore", "none", len(entries), ours, lambda: entries),
        Lap("aws-kinesis-agg", "none", len(entries), theirs, lambda: entries),
    ]
    board.post_race("aggregate", race(benchmark, *laps, rounds=sizes.rounds, warm_rounds=1))


@pytest.mark.rows("deaggregate")
def bench_deaggregate(board: Board, sizes: Plan, benchmark: Any) -> None:
    """Aggregates into user records, against no more than the digest that has to be checked."""
    entries = keyed(records(sizes.batched))
    made = [each.data for each in aggregation.aggregate(entries, size_max=AGGREGATE_SIZE)]

    def ours(given: list[bytes]) -> None:
        for data in given:
            aggregation.deaggregate(data)

    def digest(given: list[bytes]) -> None:
        for data in given:
            hashlib.md5(data, usedforsecurity=False).digest()

    laps = [
        Lap("streamstore", "none", len(entries), ours, lambda: made),
        Lap("hashlib.md5", "none", len(entries), digest, lambda: made),
    ]
    board.post_race("deaggregate", race(benchmark, *laps, rounds=sizes.rounds, warm_rounds=sizes.warm_rounds))
