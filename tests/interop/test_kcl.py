"""The Kinesis Client Library over a stream that is split and merged meanwhile; its DynamoDB is moto's server."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import threading
import time

import boto3
import pytest
from test_interop import ENVIRONMENT, HERE, PLACE, have, python_place

import streamstore

pytest.importorskip("granian")
pytestmark = pytest.mark.stress
SECONDS_MAX = 600
RECORDS = 400


@contextlib.contextmanager
def moto(*options):
    """The URL of a moto server, which is a DynamoDB that holds leases, and an STS."""
    program = python_place("moto", "moto[server,dynamodb,sts]") / "moto_server"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with subprocess.Popen(
        [str(program), "-p", str(port), *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            until = time.monotonic() + 120
            while time.monotonic() < until:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


class Consumer:
    """The program of kcl/, and what it has said."""

    def __init__(self, *arguments):
        place = PLACE / "kcl"
        shutil.copytree(HERE / "kcl", place, dirs_exist_ok=True)
        have("kcl", ["mvn", "-q", "-B", "-f", str(place / "pom.xml"), "compile"])
        command = ["mvn", "-q", "-B", "-f", str(place / "pom.xml"), "compile", "exec:java"]
        command.append(f"-Dexec.args={' '.join(arguments)}")
        self.lines: list[list[str]] = []
        self.errors: list[str] = []
        self.process = subprocess.Popen(
            command, env={**os.environ, **ENVIRONMENT}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._threads = [threading.Thread(target=self._read), threading.Thread(target=self._read_errors)]
        for thread in self._threads:
            thread.start()

    def _read(self):
        with self.process.stdout as said:
            for line in said:
                # Maven may put a change of colour before the first.
                if told := re.search(r"(BEGIN|RECORD|END|LOST|SHUTDOWN) shardId-.*", line):
                    self.lines.append(told[0].split(maxsplit=3))

    def _read_errors(self):
        with self.process.stderr as said:
            self.errors.extend(said)

    def said(self, what):
        return [line[1] for line in list(self.lines) if line[0] == what]

    def records(self):
        return [(line[1], line[2], line[3].strip()) for line in list(self.lines) if line[0] == "RECORD"]

    def wait(self, condition):
        until = time.monotonic() + SECONDS_MAX
        while not condition() and time.monotonic() < until and self.process.poll() is None:
            time.sleep(0.2)
        assert condition(), ("".join(self.errors[-30:]), self.lines[-5:])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        for thread in self._threads:
            thread.join()


def put(kinesis, first, count):
    """Records whose data are numbers, under keys that fall everywhere."""
    entries = [{"Data": b"%d" % number, "PartitionKey": f"key-{number}"} for number in range(first, first + count)]
    assert kinesis.put_records(StreamName="s", Records=entries)["FailedRecordCount"] == 0


def reshard(kinesis):
    """The first shard in two, the last two in one."""
    kinesis.split_shard(StreamName="s", ShardToSplit="shardId-000000000000", NewStartingHashKey=str(1 << 125))
    kinesis.merge_shards(
        StreamName="s", ShardToMerge="shardId-000000000002", AdjacentShardToMerge="shardId-000000000003"
    )


@pytest.mark.parametrize("mode", ["polling", "fanout"])
def test_the_kcl_reads_every_record_and_parents_before_children(tmp_path, mode):
    """By GetRecords and by SubscribeToShard: four shards, one is split and two are merged while it reads."""
    with moto() as leases, streamstore.serve_in_thread(tmp_path / "store") as server:
        kinesis = boto3.client(
            "kinesis",
            endpoint_url=server.url,
            region_name="us-east-1",
            aws_access_key_id="a",
            aws_secret_access_key="a",
        )
        kinesis.create_stream(StreamName="s", ShardCount=4)
        put(kinesis, 0, RECORDS // 4)
        with Consumer(server.url, leases, "s", mode) as consumer:
            consumer.wait(lambda: len(set(consumer.records())) == RECORDS // 4)
            put(kinesis, RECORDS // 4, RECORDS // 4)
            reshard(kinesis)
            put(kinesis, RECORDS // 2, RECORDS // 2)
            consumer.wait(lambda: len(set(consumer.records())) == RECORDS)
            consumer.wait(lambda: len(consumer.said("END")) == 3)
        shards = kinesis.list_shards(StreamName="s")["Shards"]
        parents = {
            shard["ShardId"]: {shard[name] for name in ("ParentShardId", "AdjacentParentShardId") if name in shard}
            for shard in shards
        }
        stored = {
            (shard.id, record.sequence_number, record.data.decode())
            for shard in server.service.store.stream("s").shards()
            for record in shard.read()
        }
    assert len(parents) == 7
    assert {number for _, _, number in stored} == {str(number) for number in range(RECORDS)}
    assert set(consumer.records()) == stored
    ended = set()
    for what, shard, *_ in consumer.lines:
        if what == "BEGIN":
            assert parents[shard] <= ended, f"{shard} began before its parents ended"
        elif what == "END":
            ended.add(shard)
    assert ended == {f"shardId-00000000000{index}" for index in (0, 2, 3)}
    assert set(consumer.said("BEGIN")) == set(parents)
