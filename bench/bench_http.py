"""The Kinesis API over HTTP and through boto3: against kinesalite and a constant answer; what the server takes."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from bench import http_load, http_servers
from bench.board import Board
from bench.plan import Plan
from bench.race import quartiles
from streamstore.bench import machine
from streamstore.bench.result import Side

OPERATIONS = {"PutRecords": "put_records", "GetRecords": "get_records", "PutRecord": "put_record"}
PER_CALL = {"PutRecords": http_load.BATCH, "GetRecords": http_load.READ, "PutRecord": 1}
WIRE = tuple(f"http.{name}{kind}" for name in OPERATIONS.values() for kind in ("", ".sync"))
THROUGH = tuple(f"boto3.{door}.{name}" for door in ("http", "process") for name in OPERATIONS.values())
MEMORY_RECORD = 1000


@pytest.mark.rows(*WIRE)
def bench_wire(board: Board, sizes: Plan, scratch: Path, cleanup: ExitStack) -> None:
    """The same requests to both, in turn; ours with a store on the disk, kinesalite in memory."""
    rival_url, version = cleanup.enter_context(http_servers.kinesalite())
    urls = {"kinesalite": rival_url}
    for durability in ("process", "sync"):
        urls[durability] = cleanup.enter_context(http_servers.ours(scratch / durability, durability))[1]
    asked = {name: http_load.requests(http_load.prepare(http_load.client(url))) for name, url in urls.items()}
    for operation, row in OPERATIONS.items():
        rates: dict[str, list[float]] = {name: [] for name in urls}
        for number in range(1 + sizes.http_rounds):  # the first warms up
            for name, url in urls.items():
                rate, _ = http_load.load(url, asked[name][operation], sizes.http_seconds, scratch)
                if number:
                    rates[name].append(rate * PER_CALL[operation])
        rival = _side("kinesalite", "none", rates["kinesalite"], version)
        for durability, kind in (("process", ""), ("sync", ".sync")):
            ratios = [mine / theirs for mine, theirs in zip(rates[durability], rates["kinesalite"], strict=True)]
            ours = _side("streamstore", durability, rates[durability])
            board.post(f"http.{row}{kind}", statistics.median(ratios), ours, rival, spread=quartiles(ratios))


def _side(name: str, durability: str, rates: list[float], version: str = "", unit: str = "records/s") -> Side:
    return Side(name, durability, unit, statistics.median(rates), tuple(rates), version)


@pytest.mark.rows(*THROUGH)
def bench_boto3(board: Board, sizes: Plan, scratch: Path, cleanup: ExitStack) -> None:
    """boto3 through each door, against boto3 whose requests get an answer made beforehand at the same place."""
    import streamstore

    store = cleanup.enter_context(streamstore.open(scratch / "inside", durability="process"))
    inside = store.boto3_client()
    over = http_load.client(cleanup.enter_context(http_servers.ours(scratch / "over", "process"))[1])
    calls = {name: _calls(client) for name, client in (("process", inside), ("http", over))}
    answers = _record(over, calls["http"])
    hooked = http_load.client("http://constant.invalid")
    hooked.meta.events.register_first("before-send.kinesis", lambda request, **_: _constant(request, answers))
    constant = http_load.client(cleanup.enter_context(http_servers.constant(answers, scratch)))
    floors = {"process": _calls(hooked, prepared=True), "http": _calls(constant, prepared=True)}
    for door in ("http", "process"):
        for operation, row in OPERATIONS.items():
            count = max(sizes.http_calls // (50 if PER_CALL[operation] > 1 else 1), 2)
            pairs = []
            for number in range(2 + sizes.http_rounds):
                pair = _seconds(calls[door][operation], count), _seconds(floors[door][operation], count)
                if number >= 2:
                    pairs.append(pair)
            ratios = [mine / floor for mine, floor in pairs]
            ours = _side("streamstore", "process", [mine for mine, _ in pairs], unit="s")
            floor = _side("a constant answer", "none", [least for _, least in pairs], unit="s")
            board.post(f"boto3.{door}.{row}", statistics.median(ratios), ours, floor, spread=quartiles(ratios))


def _calls(kinesis: Any, *, prepared: bool = False) -> dict[str, Callable[[], Any]]:
    """The three calls of one client; `prepared` where nobody looks at the iterator."""
    iterator = "prepared" if prepared else http_load.prepare(kinesis)
    records = http_load.entries(100)
    one = records[0]
    return {
        "PutRecords": lambda: kinesis.put_records(StreamName="put", Records=records),
        "GetRecords": lambda: kinesis.get_records(ShardIterator=iterator, Limit=http_load.READ),
        "PutRecord": lambda: kinesis.put_record(StreamName="put", **one),
    }


def _record(kinesis: Any, calls: dict[str, Callable[[], Any]]) -> dict[str, tuple[list[tuple[str, str]], bytes]]:
    """What the server answers to each call: headers and body."""
    answers = {}
    session = kinesis._endpoint.http_session
    plain = session.send
    for operation, call in calls.items():
        session.send = lambda request, operation=operation: answers.setdefault(operation, plain(request))
        call()
    session.send = plain
    kept = ("content-type", "x-amzn-requestid", "x-amz-id-2")
    return {
        operation: (
            [(name.lower(), value) for name, value in found.headers.items() if name.lower() in kept],
            found.content,
        )
        for operation, found in answers.items()
    }


def _constant(request: Any, answers: dict[str, tuple[list[tuple[str, str]], bytes]]) -> Any:
    from botocore.awsrequest import AWSResponse

    target = request.headers["X-Amz-Target"]
    name = (target.decode() if isinstance(target, bytes) else target).rpartition(".")[2]
    headers, body = answers[name]
    response = AWSResponse(request.url, 200, dict(headers), None)
    response._content = body
    return response


def _seconds(call: Callable[[], Any], count: int) -> float:
    started = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - started) / count


@pytest.mark.rows("serve.start", "serve.idle", "serve.volume")
def bench_server(board: Board, sizes: Plan, scratch: Path, cleanup: ExitStack) -> None:
    """From the command to its ready line, with a store that has streams; then its memory, idle and under load."""
    starts = []
    for number in range(1 + sizes.http_rounds):
        with http_servers.ours(scratch / "store", "process") as (_, url, seconds):
            if number:
                starts.append(seconds)
            else:
                http_load.prepare(http_load.client(url), MEMORY_RECORD)
    side = Side("streamstore", "process", "s", statistics.median(starts), tuple(starts))
    board.post("serve.start", side.median, side, spread=quartiles(starts))
    process, url, _ = cleanup.enter_context(http_servers.ours(scratch / "load", "process"))
    kinesis = http_load.client(url)
    http_load.prepare(kinesis, MEMORY_RECORD)
    idle = machine.private_bytes(process.pid)
    board.post("serve.idle", idle, Side("streamstore", "process", "bytes", idle, (idle,)))
    peak, passed = 0, 0
    with _Watch(process.pid) as watch:
        while passed < sizes.http_bytes:
            requests = http_load.requests(http_load.begin(kinesis), MEMORY_RECORD)
            for name in ("PutRecords", "GetRecords"):
                _, count = http_load.load(url, requests[name], 2 * sizes.http_seconds, scratch)
                passed += count * PER_CALL[name] * MEMORY_RECORD
    peak = watch.peak
    note = f"{passed / 1e9:.2g} GB of records in and out."
    board.post("serve.volume", peak, Side("streamstore", "process", "bytes", peak, (peak,)), note=note)


class _Watch:
    """The most private memory that a process had while this was open."""

    def __init__(self, process: int) -> None:
        self.peak = 0
        self._process = process
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.02):
            self.peak = max(self.peak, machine.private_bytes(self._process))
