"""Clients of other makers against a server of ours, `make interop`. Skipped where a tool chain is not there.

What they need is installed into build/interop, or taken from where STREAMSTORE_INTEROP says.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import streamstore
from streamstore import aggregation

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


def run(*command, timeout=120, **more):
    done = subprocess.run(
        command, env={**os.environ, **ENVIRONMENT, **more}, capture_output=True, text=True, timeout=timeout, check=False
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


def test_aggregates_both_ways_with_npm():
    """10,000 random aggregates: aws-kinesis-agg of npm takes ours apart, and we take apart its own."""
    have("agg", ["npm", "install", "--no-audit", "--no-fund", "--silent", "aws-kinesis-agg"])
    shutil.copy(HERE / "aggregates.mjs", PLACE / "aggregates.mjs")
    chance = random.Random(7)
    cases = []
    for number in range(10_000):
        # Theirs takes no empty data, and puts keys that look like small numbers in another order than it counts them.
        records = [
            (chance.randbytes(chance.randrange(1, 40)), f"key-{chance.randrange(6)}", chance.getrandbits(127) | 1 << 64)
            for _ in range(chance.randrange(2, 12))
        ]
        cases.append([record[:2] for record in records] if number % 2 else records)

    def encoded(records):
        return [[base64.b64encode(each[0]).decode(), each[1], *map(str, each[2:])] for each in records]

    asked = [
        json.dumps({"records": encoded(case), "made": base64.b64encode(aggregation.aggregate(case)[0].data).decode()})
        for case in cases
    ]
    answered = subprocess.run(
        ["node", str(PLACE / "aggregates.mjs")], input="\n".join(asked), capture_output=True, text=True, timeout=300,
        check=True,
    )  # fmt: skip
    lines = answered.stdout.splitlines()
    assert len(lines) == len(cases)
    for case, line in zip(cases, map(json.loads, lines), strict=True):
        users = aggregation.deaggregate(base64.b64decode(line["theirs"]))
        hashes = [user.explicit_hash_key for user in users]
        assert [(user.data, user.partition_key) for user in users] == [entry[:2] for entry in case]
        assert hashes == [entry[2] if len(entry) == 3 else None for entry in case]
        assert [each[: len(entry)] for each, entry in zip(line["seen"], case, strict=True)] == encoded(case)


def test_the_java_sdk_over_cbor(server):
    """CBOR and HTTP/2, its defaults: byte strings, times in milliseconds, typed errors, fan-out."""
    place = PLACE / "java"
    shutil.copytree(HERE / "java", place, dirs_exist_ok=True)
    have("java", ["mvn", "-q", "-B", "-f", str(place / "pom.xml"), "compile"])
    printed = run("mvn", "-q", "-B", "-f", str(place / "pom.xml"), "compile", "exec:java", f"-Dexec.args={server.url}")
    assert "ok" in printed


def test_the_aws_cli(server):
    """Every command and waiter that it has, in one process of its interpreter."""
    python = python_place("cli", "awscli") / "python"
    assert run(str(python), str(HERE / "every_cli_operation.py"), server.url).startswith("ok")


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


def judged():
    """The requests whose differences docs/kinesis.md judges."""
    page = (HERE.parent.parent / "docs" / "kinesis.md").read_text(encoding="utf-8").partition("## Beside two")[2]
    return {line.split("|")[1].strip() for line in page.splitlines() if line.startswith("| ")}


@contextlib.contextmanager
def emulators():
    """kinesis-local and moto, as processes of their own: NAME=URL of each."""
    have("kinesis-local", ["npm", "install", "--no-audit", "--no-fund", "--silent", "kinesis-local"])
    moto = python_place("moto", "moto[server]") / "moto_server"
    ports = {"kinesis-local": free_port(), "moto": free_port()}
    changes = "CREATE_STREAM DELETE_STREAM REGISTER_STREAM_CONSUMER DEREGISTER_STREAM_CONSUMER START_STREAM_ENCRYPTION "
    changes += "STOP_STREAM_ENCRYPTION MERGE_SHARDS SPLIT_SHARD UPDATE_SHARD_COUNT UPDATE_STREAM_MODE"
    settings = {f"{name}_DURATION": "0ms" for name in changes.split()}
    settings |= {"KINESIS_MOCK_PLAIN_PORT": str(ports["kinesis-local"]), "KINESIS_MOCK_TLS_PORT": str(free_port())}
    settings |= {"SHARD_LIMIT": "1000", "LOG_LEVEL": "ERROR"}
    commands = {
        "kinesis-local": (["node", "main.js"], PLACE / "node_modules" / "kinesis-local", settings),
        "moto": ([str(moto), "-p", str(ports["moto"])], PLACE, {}),
    }
    running = [
        subprocess.Popen(
            command, cwd=place, env={**os.environ, **more}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for command, place, more in commands.values()
    ]
    try:
        for port in ports.values():
            wait_for(port)
        yield [f"{name}=http://127.0.0.1:{port}" for name, port in ports.items()]
    finally:
        for process in running:
            process.terminate()
            process.wait()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port):
    for _ in range(300):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    pytest.fail(f"nobody listens at port {port}")


def test_every_difference_to_two_emulators_is_judged(tmp_path):
    """The same requests to all three; what does not come out alike stands in docs/kinesis.md with a verdict."""
    with emulators() as others, streamstore.serve_in_thread(tmp_path / "store") as server:
        script = str(HERE / "differential.py")
        found = json.loads(run(sys.executable, script, f"here={server.url}", *others, timeout=400))
    differing = {name for name, said in found.items() if len({json.dumps(one) for one in said.values()}) > 1}
    assert differing
    assert differing - judged() == set()
    assert judged() - set(found) == {"request"}  # the head of the table
