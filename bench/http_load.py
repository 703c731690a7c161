"""The load of the rows over HTTP: three requests as any Kinesis client sends them, and wrk to send them."""

from __future__ import annotations

import base64
import json
import os
import random
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

CONNECTIONS = 8
BATCH = 500
READ = 1000
SHARD = "shardId-000000000000"
AUTHORIZATION = (
    "AWS4-HMAC-SHA256 Credential=bench/20260101/us-east-1/kinesis/aws4_request, "
    "SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature=" + "0123456789abcdef" * 4
)
_SCRIPT = """
local file = io.open(os.getenv("BENCH_BODY"), "r")
local body = file:read("*a")
file:close()
local headers = {
  ["Content-Type"] = "application/x-amz-json-1.1", ["X-Amz-Date"] = "20260101T000000Z",
  ["X-Amz-Target"] = "Kinesis_20131202." .. os.getenv("BENCH_OPERATION"),
  ["Authorization"] = os.getenv("BENCH_AUTHORIZATION"),
}
request = function() return wrk.format("POST", "/", headers, body) end
"""


@dataclass(frozen=True)
class Request:
    """One request, sent again and again."""

    operation: str
    body: bytes


def client(url: str) -> Any:
    """A boto3 client that asks once."""
    import boto3
    from botocore.config import Config

    options = {"aws_access_key_id": "bench", "aws_secret_access_key": "bench", "region_name": "us-east-1"}
    return boto3.client("kinesis", endpoint_url=url, config=Config(retries={"total_max_attempts": 1}), **options)


def entries(size: int, count: int = BATCH) -> list[dict[str, Any]]:
    """Entries of a PutRecords, of random bytes."""
    dice = random.Random(1)
    return [{"Data": dice.randbytes(size), "PartitionKey": f"user-{number}"} for number in range(count)]


def prepare(kinesis: Any, size: int = 100) -> str:
    """Make the streams `put` and `read`, the second with records in it; the iterator of its beginning."""
    for name in ("put", "read"):
        kinesis.create_stream(StreamName=name, ShardCount=1)
        while kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]["StreamStatus"] != "ACTIVE":
            time.sleep(0.05)
    for _ in range(READ // BATCH):
        kinesis.put_records(StreamName="read", Records=entries(size))
    return begin(kinesis)


def begin(kinesis: Any) -> str:
    """An iterator of the beginning of `read`, good for five minutes."""
    found = kinesis.get_shard_iterator(StreamName="read", ShardId=SHARD, ShardIteratorType="TRIM_HORIZON")
    iterator: str = found["ShardIterator"]
    return iterator


def requests(iterator: str, size: int = 100) -> dict[str, Request]:
    """The three requests of the rows, for streams made by `prepare`."""
    records = [
        {"Data": base64.b64encode(item["Data"]).decode(), "PartitionKey": item["PartitionKey"]}
        for item in entries(size)
    ]
    bodies: dict[str, dict[str, Any]] = {
        "PutRecords": {"StreamName": "put", "Records": records},
        "GetRecords": {"ShardIterator": iterator, "Limit": READ},
        "PutRecord": {"StreamName": "put", **records[0]},
    }
    return {name: Request(name, json.dumps(body).encode()) for name, body in bodies.items()}


def load(url: str, request: Request, seconds: float, scratch: Path) -> tuple[float, int]:
    """Send a request over eight connections that are kept; requests a second, and how many. Raises for any answer but
    200, skips where there is no wrk.
    """
    if shutil.which("wrk") is None:
        pytest.skip("there is no wrk on this machine: apt install wrk")
    script, body = scratch / "load.lua", scratch / f"{request.operation}.json"
    script.write_text(_SCRIPT, encoding="utf-8")
    body.write_bytes(request.body)
    environment = {
        "BENCH_BODY": str(body),
        "BENCH_OPERATION": request.operation,
        "BENCH_AUTHORIZATION": AUTHORIZATION,
    }
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{max(round(seconds), 1)}s", "--timeout", "30s"]
    command += ["-s", str(script), url]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise RuntimeError(f"{request.operation} at {url} was refused: {done.stdout.splitlines()[-4:]}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    count = re.search(r"(\d+) requests in", done.stdout)
    assert rate is not None
    assert count is not None
    return float(rate[1]), int(count[1])
