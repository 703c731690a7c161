"""Clients of other makers against a server of ours, `make interop`. Skipped where a tool chain is not there.

What they need is installed into build/interop, or taken from where STREAMSTORE_INTEROP says.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import streamstore

pytest.importorskip("granian")
pytestmark = pytest.mark.stress

HERE = Path(__file__).resolve().parent
PLACE = Path(os.environ.get("STREAMSTORE_INTEROP", HERE.parent.parent / "build" / "interop"))
ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(params=["open", "signed"])
def server(tmp_path, request):
    """A server that takes any signature, and one that computes each."""
    options = {}
    if request.param == "signed":
        path = tmp_path / "keys.json"
        path.touch(0o600)
        key = {"access_key_id": "any", "secret_access_key": "any", "rights": ["read", "write", "admin"]}
        path.write_text(json.dumps({"keys": [key]}))
        options["credentials"] = str(path)
    with streamstore.serve_in_thread(tmp_path / "store", **options) as running:
        yield running


def have(name, command):
    """Install what a client needs, once; skip its test where that cannot be done."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"there is no {command[0]} on this machine")
    made = PLACE / f".{name}"
    if not made.exists():
        PLACE.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(command, cwd=PLACE, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"{name} cannot be installed: {done.stderr[-200:]}")
        made.touch()


def run(*command, **more):
    done = subprocess.run(
        command, env={**os.environ, **ENVIRONMENT, **more}, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def python_place(name, *packages):
    """The directory of programs of a virtual environment with these packages."""
    place = PLACE / name
    if not place.exists():
        PLACE.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    have(name, [str(place / "bin" / "pip"), "install", "-q", *packages])
    return place / "bin"


def test_the_js_sdk_over_http2(server):
    """Its default handler speaks HTTP/2 with prior knowledge; fan-out included."""
    have("js", ["npm", "install", "--no-audit", "--no-fund", "--silent", "@aws-sdk/client-kinesis"])
    script = PLACE / "client.mjs"
    shutil.copy(HERE / "client.mjs", script)
    assert run("node", str(script), server.url).strip() == "ok"


def test_the_java_sdk_over_cbor(server):
    """CBOR and HTTP/2, its defaults: byte strings, times in milliseconds, typed errors, fan-out."""
    place = PLACE / "java"
    shutil.copytree(HERE / "java", place, dirs_exist_ok=True)
    have("java", ["mvn", "-q", "-B", "-f", str(place / "pom.xml"), "compile"])
    printed = run("mvn", "-q", "-B", "-f", str(place / "pom.xml"), "compile", "exec:java", f"-Dexec.args={server.url}")
    assert "ok" in printed


def test_the_aws_cli(server):
    """Create, tag, put, read, split, list, delete; shard ids and data as it prints them."""
    aws = str(python_place("cli", "awscli") / "aws")

    def kinesis(verb, *options):
        printed = run(aws, "--endpoint-url", server.url, "--output", "json", "kinesis", verb, *options)
        return json.loads(printed) if printed.strip() else None

    name = ("--stream-name", "cli")
    kinesis("create-stream", *name, "--shard-count", "1")
    kinesis("add-tags-to-stream", *name, "--tags", "a=1,b=2")
    assert len(kinesis("list-tags-for-stream", *name)["Tags"]) == 2
    kinesis("put-record", *name, "--partition-key", "k", "--data", "hello")
    start = ("--shard-id", "shardId-000000000000", "--shard-iterator-type", "TRIM_HORIZON")
    iterator = kinesis("get-shard-iterator", *name, *start)["ShardIterator"]
    assert kinesis("get-records", "--shard-iterator", iterator)["Records"][0]["Data"] == "aGVsbG8="
    key = ("--new-starting-hash-key", str(1 << 127))
    kinesis("split-shard", *name, "--shard-to-split", "shardId-000000000000", *key)
    assert len(kinesis("list-shards", *name)["Shards"]) == 3
    kinesis("wait", "stream-exists", *name)
    kinesis("delete-stream", *name)
    assert kinesis("list-streams")["StreamNames"] == []


def test_async_kinesis(server):
    """Its producer and consumer, over aiohttp and aiobotocore."""
    python = python_place("async", "async-kinesis") / "python"
    script = """
import asyncio, sys
from kinesis import Consumer, Producer

async def main():
    url = sys.argv[1]
    async with Producer(stream_name="a", endpoint_url=url, create_stream=True, create_stream_shards=1) as producer:
        for number in range(20):
            await producer.put({"n": number})
        await producer.flush()
    found = []
    options = {"iterator_type": "TRIM_HORIZON", "sleep_time_no_records": 0.1}
    async with Consumer(stream_name="a", endpoint_url=url, **options) as consumer:
        while len(found) < 20:
            async for item in consumer:
                found.append(item["n"])
    print(sorted(found) == list(range(20)))

asyncio.run(asyncio.wait_for(main(), 60))
"""
    assert run(str(python), "-c", script, server.url, ENDPOINT_URL=server.url).strip().splitlines()[-1] == "True"
