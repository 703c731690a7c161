"""One directory behind several doors at the same time: two servers, a program in process, boto3 in process."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from running import STRESS
from serving import end, serve

import streamstore

boto3 = pytest.importorskip("boto3")
pytest.importorskip("granian")
SHARDS = 3


@contextlib.contextmanager
def served(directory: Path) -> Iterator[str]:
    """A server of the directory, as a process of its own."""
    process, (url,) = serve(directory)
    try:
        yield url
    finally:
        end(process)


def client(url: str) -> Any:
    """A client of a server."""
    credentials = {"aws_access_key_id": "any", "aws_secret_access_key": "any", "region_name": "us-east-1"}
    return boto3.client("kinesis", endpoint_url=url, **credentials)


def put_through(kinesis: Any, who: str, count: int, numbers: dict[bytes, str]) -> None:
    """Put records by a client; their numbers by their data."""
    for number in range(count):
        data = f"{who}-{number}".encode()
        numbers[data] = kinesis.put_record(StreamName="s", Data=data, PartitionKey=str(number))["SequenceNumber"]


def read_by_turns(doors: list[Any]) -> list[tuple[bytes, str]]:
    """All records of all shards, each page asked of another door than the one before with the iterator that gave."""
    found = []
    for index in range(SHARDS):
        shard = f"shardId-{index:012d}"
        answer = doors[0].get_shard_iterator(StreamName="s", ShardId=shard, ShardIteratorType="TRIM_HORIZON")
        at, turn = answer["ShardIterator"], 0
        while True:
            turn += 1
            answer = doors[turn % len(doors)].get_records(ShardIterator=at, Limit=7)
            found += [(item["Data"], item["SequenceNumber"]) for item in answer["Records"]]
            if not answer["Records"]:
                break
            at = answer["NextShardIterator"]
    return found


@pytest.mark.parametrize("count", [20, pytest.param(2000, marks=STRESS)])
def test_numbers_and_iterators_hold_behind_every_door(tmp_path: Path, count: int) -> None:
    """What each of four writers got a number for stands once under that number, whichever doors it is read through."""
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(streamstore.open(tmp_path / "d"))
        stream = store.create_stream("s", SHARDS)
        remote = [client(stack.enter_context(served(tmp_path / "d"))) for _ in range(2)]
        doors = [*remote, store.boto3_client()]
        numbers: dict[bytes, str] = {}

        def put_inside() -> None:
            for number in range(count):
                data = f"inside-{number}".encode()
                numbers[data] = stream.put_record(data, str(number)).sequence_number

        threads = [
            threading.Thread(target=put_through, args=(door, f"door{place}", count, numbers))
            for place, door in enumerate(doors)
        ]
        threads.append(threading.Thread(target=put_inside))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(numbers) == 4 * count
        found = read_by_turns(doors)
        assert len(found) == len(numbers)
        assert dict(found) == numbers
        assert {record.data: record.sequence_number for record in stream.read()} == numbers
        for door in remote:
            door.close()
