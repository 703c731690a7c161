"""PutRecords answered in the HTTP library's own thread: which are, and that nothing stays behind of the others."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time

import pytest
from boto_clients import remote
from test_at_once import HEADERS

import streamstore

pytest.importorskip("granian")
from streamstore.kinesis import at_once
from streamstore.server import app


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server that gives up on bodies after a moment, and its entrance."""
    monkeypatch.setattr(app, "BODY_SECONDS", 0.5)
    with (
        streamstore.open(tmp_path / "d", durability="process") as store,
        streamstore.serve_in_thread(store) as running,
    ):
        store.create_stream("s", 1)
        yield running


def entrance(server):
    return server.server.application._entrance


def head(length, **more):
    lines = {"Host": "localhost", **HEADERS, "Content-Length": length, **more}
    return ("POST / HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items()) + "\r\n").encode()


def ask(server, body, **more):
    """The status of a PutRecord over a connection of its own, whose body comes after its head."""
    with socket.create_connection(("127.0.0.1", server.server.port), timeout=20) as connection:
        connection.sendall(head(len(body), **more))
        time.sleep(0.02)
        connection.sendall(body)
        return int(connection.recv(65536).split()[1])


def body(name="s", data="aGVsbG8=", key="k"):
    return json.dumps({"StreamName": name, "Data": data, "PartitionKey": key}).encode()


def settled(server):
    """Nothing that came in is kept."""
    application = server.server.application
    until = time.monotonic() + 10
    while application.under_way and time.monotonic() < until:
        time.sleep(0.01)
    return not entrance(server).pending and not application.early and not application.under_way


def test_the_installed_library_hands_requests_over_as_we_expect(server):
    """All puts but the first, which teaches, are answered there. Fails where a new granian does it otherwise."""
    kinesis = remote(server.url)
    answers = [kinesis.put_record(StreamName="s", Data=b"%d" % number, PartitionKey="k") for number in range(20)]
    assert entrance(server).taken == 19
    stream = server.service.store.stream("s")
    assert [record.sequence_number for record in stream.read()] == [each["SequenceNumber"] for each in answers]
    assert [record.data for record in stream.read()] == [b"%d" % number for number in range(20)]
    assert settled(server)


@pytest.mark.parametrize(
    ("content", "more", "status"),
    [
        (body(data="AAA"), {}, 400),
        (b"{", {}, 400),
        (b"", {}, 400),
        (body(name="absent"), {}, 400),
        (body(), {"authorization": "nonsense"}, 400),
        (body(), {"Host": "elsewhere.example"}, 421),
        (body(data="AAAA" * (at_once.BODY_SIZE_MAX // 4)), {}, 200),
        (body(), {"content-type": "text/plain"}, 404),
        (body(), {"x": "y" * 70_000}, 431),
    ],
)
def test_what_is_unusual_or_wrong_is_answered_by_the_loop(server, content, more, status):
    """With the body that was read already; and leaves nothing behind."""
    assert [ask(server, body()) for _ in range(2)] == [200, 200]
    assert entrance(server).taken == 1
    assert ask(server, content, **more) == status
    assert entrance(server).taken == 1
    assert ask(server, body()) == 200
    assert entrance(server).taken == 2
    assert settled(server)


def test_a_put_of_a_sync_stream_waits_for_the_disk_elsewhere(server):
    """Never in the thread that all requests come through."""
    server.service.store.create_stream("safe", 1, durability="sync")
    assert [ask(server, body("safe")) for _ in range(3)] == [200] * 3
    assert entrance(server).taken == 0
    assert settled(server)


def test_a_body_that_does_not_come_is_given_up(server):
    """In time; the connection that closes before is forgotten at once."""
    with socket.create_connection(("127.0.0.1", server.server.port), timeout=20) as connection:
        connection.sendall(head(100) + b"{")
        until = time.monotonic() + 10
        while not entrance(server).pending and time.monotonic() < until:
            time.sleep(0.001)
        assert server.server.application.under_way == 1
        assert ask(server, body()) == 200
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413") or answer == b""
    with socket.create_connection(("127.0.0.1", server.server.port), timeout=20) as connection:
        connection.sendall(head(100) + b"{")
    assert settled(server)


def test_who_verifies_signatures_looks_at_each_request_elsewhere(tmp_path):
    """Computing one takes longer than a put."""
    path = tmp_path / "keys.json"
    path.touch(0o600)
    path.write_text(json.dumps({"keys": [{"access_key_id": "a", "secret_access_key": "b", "rights": ["write"]}]}))
    with streamstore.serve_in_thread(tmp_path / "d", credentials=str(path)) as running:
        assert entrance(running) is None
        assert ask(running, body()) == 400


def test_over_http2_with_prior_knowledge(server, tmp_path):
    """By curl; every answer has ids of its own."""
    curl = shutil.which("curl")
    if curl is None or "HTTP2" not in subprocess.run([curl, "-V"], capture_output=True, text=True, check=False).stdout:
        pytest.skip("there is no curl that speaks HTTP/2")
    command = [curl, "-sS", "--max-time", "30", "--http2-prior-knowledge", "-D", str(tmp_path / "heads"), "-d", body()]
    for name, value in HEADERS.items():
        command += ["-H", f"{name}: {value}"]
    command += ["-w", "%{http_version} %{http_code}\n", "-o", "/dev/null"]
    heads = []
    for _ in range(3):  # a connection each: some curls fail where they use one again
        said = subprocess.run([*command, server.url], capture_output=True, text=True, check=True).stdout
        assert said.split() == ["2", "200"]
        heads.append((tmp_path / "heads").read_text().lower())
    assert entrance(server).taken == 2
    ids = {line.strip() for head in heads for line in head.splitlines() if line.startswith("x-amzn-requestid: ")}
    assert len(ids) == 3
    assert all(re.fullmatch(r"x-amzn-requestid: [0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", each) for each in ids)
    assert all("x-amz-id-2: " in head and "content-type: application/x-amz-json-1.1" in head for head in heads)
