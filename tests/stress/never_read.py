"""Connections that ask for 10 MiB each and never read, on a server that goes on answering others: what it took.

python never_read.py DIRECTORY --connections 200
"""

from __future__ import annotations

import argparse
import socket
import threading
import time
from pathlib import Path

import boto3
import proof
from botocore.config import Config
from serve_many import SHARD, request

import streamstore

RECORD = (1 << 20) - 1  # and its key
RECORDS = 10
MIB_MAX = 200


class Watch:
    """The most private memory of a process while this is open, in MiB."""

    def __init__(self, pid: int) -> None:
        self.most = self.first = self._now(pid)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, args=(pid,))
        self._thread.start()

    def _look(self, pid: int) -> None:
        while not self._ended.wait(0.01):
            self.most = max(self.most, self._now(pid))

    @staticmethod
    def _now(pid: int) -> float:
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) / 1024
        return 0.0

    def end(self) -> None:
        """Stop looking."""
        self._ended.set()
        self._thread.join()


def ask_and_not_read(port: int, iterator: str) -> socket.socket:
    """A connection whose answer nobody takes."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(60)
    connection.connect(("127.0.0.1", port))
    connection.sendall(request("GetRecords", {"ShardIterator": iterator}))
    return connection


def run(port: int, pid: int, count: int) -> None:
    """Have all ask, and others get all of theirs meanwhile."""
    config = Config(read_timeout=300, retries={"total_max_attempts": 1})
    kinesis = boto3.client(
        "kinesis", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1", config=config,
        aws_access_key_id="any", aws_secret_access_key="any",
    )  # fmt: skip
    found = kinesis.get_shard_iterator(StreamName="s", ShardId=SHARD, ShardIteratorType="TRIM_HORIZON")
    watch = Watch(pid)
    began = time.monotonic()
    try:
        silent = [ask_and_not_read(port, found["ShardIterator"]) for _ in range(count)]
        for _ in range(5):
            kinesis.put_record(StreamName="t", Data=b"x", PartitionKey="k")
            records = kinesis.get_records(ShardIterator=found["ShardIterator"])["Records"]
            if [len(record["Data"]) for record in records] != [RECORD] * len(records) or not records:
                raise proof.Failure("somebody else did not get the records")
        took = time.monotonic() - began
        time.sleep(3)
    finally:
        watch.end()
    for connection in silent:
        connection.close()
    print(
        f"{count} connections that do not read {RECORDS} MiB: {watch.first:.0f} MiB private before, "
        f"{watch.most:.0f} MiB at most; 5 puts and 5 reads of others took {took:.1f} s"
    )
    if watch.most > MIB_MAX:
        raise proof.Failure(f"more than {MIB_MAX} MiB")


def main() -> None:
    """Make a store, serve it, run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path")
    parser.add_argument("--connections", type=int, default=200)
    options = parser.parse_args()
    with streamstore.open(options.path, durability="process") as store:
        store.create_stream("t")
        stream = store.create_stream("s")
        for number in range(RECORDS):
            stream.put_record(bytes([number]) * RECORD, "k")
    with proof.served(options.path) as (port, pid):
        run(port, pid, options.connections)


if __name__ == "__main__":
    main()
