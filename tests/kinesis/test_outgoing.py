"""A subscriber that does not read: what waits for it stays on the disk, and it holds up nobody."""

from __future__ import annotations

import json
import os
import socket
import threading
import time

import pytest
from boto_clients import remote

import streamstore
from streamstore.server import outgoing

pytest.importorskip("granian")
CHUNK = bytes(750_000)
CHUNKS = 32


def subscribe(server, arn):
    """A subscription over a plain connection, of which nobody reads more than the head."""
    body = json.dumps({"ConsumerARN": arn, "ShardId": "0", "StartingPosition": {"Type": "TRIM_HORIZON"}}).encode()
    head = {
        "Host": "localhost",
        "Content-Type": "application/x-amz-json-1.1",
        "X-Amz-Target": "Kinesis_20131202.SubscribeToShard",
        "X-Amz-Date": "20261121T000000Z",
        "Authorization": "AWS4-HMAC-SHA256 Credential=any/20261121/us-east-1/kinesis/aws4_request, "
        "SignedHeaders=host;x-amz-date, Signature=" + "0" * 64,
        "Content-Length": str(len(body)),
    }
    connection = socket.create_connection(("127.0.0.1", server.server.port), timeout=30)
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    connection.sendall(f"POST / HTTP/1.1\r\n{lines}\r\n".encode() + body)
    assert connection.recv(15) == b"HTTP/1.1 200 OK"
    return connection


def test_what_is_not_read_is_not_sent(tmp_path, monkeypatch):
    """The server stops at the bound, goes on when it is read, and others get all of it meanwhile."""
    monkeypatch.setattr(outgoing, "BOUNDS", {True: 1 << 20, False: 1 << 20})
    with (
        streamstore.open(tmp_path / "d", durability="process") as store,
        streamstore.serve_in_thread(store) as server,
    ):
        kinesis = remote(server.url)
        kinesis.create_stream(StreamName="s", ShardCount=1)
        arn = kinesis.describe_stream(StreamName="s")["StreamDescription"]["StreamARN"]
        arns = [
            kinesis.register_stream_consumer(StreamARN=arn, ConsumerName=name)["Consumer"]["ConsumerARN"]
            for name in ("slow", "quick")
        ]
        for _ in range(CHUNKS):
            kinesis.put_record(StreamName="s", Data=CHUNK, PartitionKey="k")
        with subscribe(server, arns[0]) as slow:
            (account,) = server.server.application._accounts._open.values()
            events = kinesis.subscribe_to_shard(
                ConsumerARN=arns[1], ShardId="0", StartingPosition={"Type": "TRIM_HORIZON"}
            )["EventStream"]
            count = 0
            for event in events:
                count += len(event["SubscribeToShardEvent"]["Records"])
                if count == CHUNKS:
                    break
            events.close()
            before = -1
            while account._given != before:  # it has come to where it waits
                before = account._given
                time.sleep(1)
            on_the_way = account._given
            assert on_the_way < CHUNKS * len(CHUNK)
            seen = 0
            while seen < CHUNKS * len(CHUNK) * 4 // 3:
                part = slow.recv(1 << 20)
                assert part
                seen += len(part)
        assert account._given > on_the_way


def test_the_kernel_is_asked_about_the_right_connection():
    """By its peer; what is gone, or is no connection, is found out, and no descriptor is left behind."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.create_connection(listening.getsockname())
        server, peer = listening.accept()
        account = outgoing.Outgoing(f"{peer[0]}:{peer[1]}", alone=True)
        before = len(os.listdir("/proc/self/fd"))
        account.give(outgoing.UNTOLD_MAX + 1)
        assert not account.too_much()
        account.give(outgoing.BOUNDS[True] + 1)
        assert account.too_much()
        size = outgoing.BOUNDS[True]
        taking = threading.Thread(target=_take, args=(client, size))
        taking.start()
        server.sendall(bytes(size))
        taking.join()
        until = time.monotonic() + 10
        while account.too_much() and time.monotonic() < until:
            time.sleep(0.01)
        assert not account.too_much()
        account.give(100 << 20)
        assert account.too_much()
        assert len(os.listdir("/proc/self/fd")) == before
        server.close()
        client.close()
        assert not account.too_much()  # nobody to wait for
        assert len(os.listdir("/proc/self/fd")) == before - 2


def _take(connection, size):
    while size > 0:
        size -= len(connection.recv(1 << 20))
