"""Kinesis endpoints to capture from and replay to: our own server, moto, kinesis-local; each a process of its own."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from proof import die_with_parent

import streamstore
from streamstore.targets.endpoint import make_client

READY_SECONDS = 90


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def command_of(kind: str, directory: Path, port: int) -> tuple[list[str], dict[str, str]]:
    """What starts an endpoint of that kind, and its environment."""
    if kind == "ours":
        streamstore.open(directory, durability="interval").close()
        return [sys.executable, "-m", "streamstore", "serve", str(directory), "--port", str(port)], {}
    if kind == "moto":
        return [sys.executable, "-c", f"from moto.server import main; main(['-H', '127.0.0.1', '-p', '{port}'])"], {}
    main = os.environ["STREAMSTORE_KINESIS_LOCAL"]
    return ["node", main], {"KINESIS_MOCK_PLAIN_PORT": str(port), "KINESIS_MOCK_TLS_PORT": str(free_port())}


@contextlib.contextmanager
def endpoint(kind: str, directory: Path) -> Iterator[tuple[str, Any]]:
    """Start one; gives (its URL, a boto3 client), and ends it."""
    port = free_port()
    command, environment = command_of(kind, directory, port)
    with open(f"{directory}.log", "wb") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            cwd=Path(command[-1]).parent if command[0] == "node" else None,  # it reads a file beside it
            env={**os.environ, **environment},
            preexec_fn=die_with_parent,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        client = make_client(url)
        limit = time.monotonic() + READY_SECONDS
        while True:
            try:
                client.list_streams()
                break
            except Exception:
                if process.poll() is not None or time.monotonic() > limit:
                    raise
                time.sleep(0.2)
        yield url, client
    finally:
        process.kill()
        process.wait()


def make_stream(client: Any, name: str, shards: int) -> None:
    """Make a stream and wait until it can be used."""
    client.create_stream(StreamName=name, ShardCount=shards)
    active(client, name)


def active(client: Any, name: str) -> None:
    """Wait until a stream is ACTIVE."""
    limit = time.monotonic() + READY_SECONDS
    while client.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]["StreamStatus"] != "ACTIVE":
        assert time.monotonic() < limit, f"{name} never became active"
        time.sleep(0.05)


def all_shards(client: Any, name: str) -> list[dict[str, Any]]:
    """The shards, as ListShards tells of them."""
    return list(client.list_shards(StreamName=name)["Shards"])


def all_records(client: Any, name: str) -> dict[str, list[dict[str, Any]]]:
    """By shard its records, read by the API and nothing of ours."""
    found: dict[str, list[dict[str, Any]]] = {}
    for shard in all_shards(client, name):
        iterator = client.get_shard_iterator(
            StreamName=name, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        records = found[shard["ShardId"]] = []
        empty = 0
        while iterator and empty < 3:
            answer = client.get_records(ShardIterator=iterator, Limit=10_000)
            records += answer["Records"]
            empty = 0 if answer["Records"] or answer.get("MillisBehindLatest") else empty + 1
            iterator = answer.get("NextShardIterator")
    return found
