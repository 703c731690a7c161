"""Hostile bytes on the socket: a 4xx or a closed connection, never a 5xx, and the server goes on answering others."""

from __future__ import annotations

import os
import random
import socket

import pytest
from boto_clients import remote

import streamstore

pytest.importorskip("granian")
HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\n"
LONG = b"Content-Length: 2\r\n"

REQUESTS = {
    "garbage": b"\x16\x03\x01\x02\x00" * 50,
    "no host": b"POST / HTTP/1.1\r\n" + LONG + b"\r\n{}",
    "two lengths": HEAD + LONG + b"Content-Length: 3\r\n\r\n{}x",
    "length and chunked": HEAD + LONG + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "a signed length": HEAD + b"Content-Length: +2\r\n\r\n{}",
    "a negative length": HEAD + b"Content-Length: -2\r\n\r\n{}",
    "digits of another script": HEAD + "Content-Length: \u0662\r\n\r\n{}".encode(),
    "bare line feeds": b"POST / HTTP/1.1\nHost: localhost\nContent-Length: 2\n\n{}",
    "a folded header": HEAD + b"X-A: b\r\n c\r\n" + LONG + b"\r\n{}",
    "a null in a header": HEAD + b"X-A: \0\r\n" + LONG + b"\r\n{}",
    "a space before the colon": HEAD + b"X-A : b\r\n" + LONG + b"\r\n{}",
    "a huge chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{}",
    "a bad chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "a chunk extension": HEAD + b"Transfer-Encoding: chunked\r\n\r\n2;a=b\r\n{}\r\n0\r\n\r\n",
    "many headers": HEAD + b"".join(b"X-%d: y\r\n" % number for number in range(5000)) + LONG + b"\r\n{}",
    "a large header": HEAD + b"X-A: " + b"y" * 100_000 + b"\r\n" + LONG + b"\r\n{}",
    "a long path": b"POST /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\n" + LONG + b"\r\n{}",
    "paths that climb": b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "an upgrade": b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAMAAABk\r\n\r\n",
    "a websocket": b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    "a preface and garbage": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 200,
    "a compressed body": HEAD + b"Content-Encoding: gzip\r\n" + LONG + b"\r\n\x1f\x8b",
    "an options request": b"OPTIONS / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil\r\n\r\n",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with streamstore.serve_in_thread(tmp_path_factory.mktemp("abuse") / "store") as running:
        yield running


def statuses(server, data):
    """The status lines of what comes back within a moment."""
    with socket.create_connection(("127.0.0.1", server.server.port), timeout=10) as connection:
        connection.settimeout(0.2)
        answer = b""
        try:
            connection.sendall(data)
            while chunk := connection.recv(65536):
                answer += chunk
        except OSError:
            pass  # closed in our face, or still waiting for more: both are fine
    return [int(line.split()[1]) for line in answer.split(b"\r\n") if line.startswith(b"HTTP/1.")]


@pytest.mark.parametrize("name", REQUESTS)
def test_a_malformed_request_is_a_4xx_or_a_closed_door(server, name):
    """And whoever comes next is served."""
    assert all(400 <= status < 500 for status in statuses(server, REQUESTS[name]))
    client = remote(server.url)
    assert client.list_streams()["StreamNames"] == []


def test_random_bytes_and_cut_requests(server):
    """Requests with bytes turned over, and ends missing."""
    dice = random.Random(3)
    whole = (
        HEAD
        + b"Content-Type: application/x-amz-json-1.1\r\nX-Amz-Target: Kinesis_20131202.ListStreams\r\n"
        + LONG
        + b"\r\n{}"
    )
    for _ in range(20):
        data = bytearray(whole)
        for _ in range(dice.randrange(1, 5)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        found = statuses(server, bytes(data[: dice.randrange(1, len(data) + 1)]))
        assert all(400 <= status < 500 for status in found), data
    assert remote(server.url).list_streams()["StreamNames"] == []


def test_names_touch_no_path(tmp_path):
    """Whatever a stream is called, only numbers stand on the disk."""
    with streamstore.serve_in_thread(tmp_path / "store") as running:
        client = remote(running.url)
        for name in (".", "..", "-rf", "CON", "a" * 128, "A", "a", "store.new"):
            client.create_stream(StreamName=name, ShardCount=1)
            client.put_record(StreamName=name, Data=b"x", PartitionKey="k")
        for name in ("/", "a/b", "..%2f", "a\0b", ""):
            with pytest.raises(client.exceptions.ClientError, match="ValidationException"):
                client.create_stream(StreamName=name, ShardCount=1)
    assert {path.name for path in tmp_path.iterdir()} == {"store"}
    names = {name for _, directories, files in os.walk(tmp_path / "store") for name in (*directories, *files)}
    assert not names & {"-rf", "CON", "a" * 128, "A", "a", "store.new"}
