"""What hostile clients send, class by class: each is refused with a 4xx or a closed connection, and others are served.

Framing and names are in test_abuse.py, signatures in test_gate.py, random requests in tests/stress.
"""

from __future__ import annotations

import base64
import gzip
import json
import logging
import socket
import ssl
import threading
import time

import pytest
from boto_clients import remote

import streamstore
from streamstore.kinesis import wire
from streamstore.kinesis.service import Service
from streamstore.kinesis.wire import HttpRequest
from streamstore.server import app
from streamstore.server.gate import Gate

pytest.importorskip("granian")
cbor2 = pytest.importorskip("cbor2")
JSON, CBOR = "application/x-amz-json-1.1", "application/x-amz-cbor-1.1"
AUTHORIZATION = (
    "AWS4-HMAC-SHA256 Credential=any/20261121/us-east-1/kinesis/aws4_request, SignedHeaders=host;x-amz-date, "
    "Signature=" + "0" * 64
)


def headers(operation, content_type=JSON):
    return {
        "host": "localhost",
        "content-type": content_type,
        "x-amz-target": f"Kinesis_20131202.{operation}",
        "x-amz-date": "20261121T000000Z",
        "authorization": AUTHORIZATION,
    }


@pytest.fixture
def ask(service):
    """Ask the service; the status and the error's type."""
    service.store.create_stream("s", 1)
    gate = Gate(service, None)

    def answer(operation, body, content_type=JSON, **more):
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        request = HttpRequest("POST", "/", "", {**headers(operation, content_type), **more}, body)
        response = wire.answer(service, request, gate.who, gate.allow)
        return response.status, dict(response.headers).get("x-amzn-errortype", "")

    return answer


DEEP = 100_000
PUT = {"StreamName": "s", "PartitionKey": "k"}
BODIES = {
    "lists in lists": (b"[" * DEEP, JSON),
    "maps in maps": (b'{"a":' * DEEP, JSON),
    "arrays in arrays": (b"\x81" * DEEP, CBOR),
    "endless arrays": (b"\x9f" * DEEP, CBOR),
    "tags in tags": (b"\xc1" * DEEP, CBOR),
    "an array said to be huge": (b"\x9b\x7f\xff\xff\xff\xff\xff\xff\xff", CBOR),
    "a text said to be huge": (b"\x7b\x7f\xff\xff\xff\xff\xff\xff\xff", CBOR),
    "bytes said to be huge": (b"\xa1\x64Data\x5b\x00\x00\x00\xff\xff\xff\xff\xff", CBOR),
    "a map said to be huge": (b"\xbb\x00\x00\x00\x7f\xff\xff\xff\xff", CBOR),
    "a tag that means an address": (b"\xd8\x34\x44\x7f\x00\x00\x01", CBOR),
    "a large number by tag": (b"\xa1\x65Limit\xc2\x58\x64" + b"\xff" * 100, CBOR),
    "a text with half a surrogate": (b"\xa1\x6aStreamName\x63\xed\xa0\x80", CBOR),
    "no number": (b'{"Limit": NaN}', JSON),
    "no end": (b'{"Limit": Infinity}', JSON),
    "a number of many digits": (b'{"Limit": ' + b"9" * 10_000 + b"}", JSON),
    "a number with a huge exponent": (b'{"Limit": 1e999999}', JSON),
    "half a surrogate pair": (b'{"StreamName": "\\ud800"}', JSON),
    "no UTF-8": (b'{"StreamName": "\xff\xfe"}', JSON),
    "UTF-16": ("\ufeff{}".encode("utf-16"), JSON),
    "a byte order mark": (b"\xef\xbb\xbf{}", JSON),
    "text behind the end": (b"{} {}", JSON),
    "comments": (b"/* */ {}", JSON),
    "compressed": (gzip.compress(b"{}"), JSON),
    "a list": (b"[]", JSON),
    "a text": (b'""', JSON),
    "nothing": (b"null", JSON),
    "a CBOR list": (b"\x80", CBOR),
    "CBOR as JSON": (cbor2.dumps({}), JSON),
    "JSON as CBOR": (b'{"Limit": 1}', CBOR),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_malformed_body_is_a_serialization_error(ask, name):
    """For an operation whose members are all optional: nothing of the body but its form is at fault."""
    body, content_type = BODIES[name]
    status, kind = ask("ListStreams", body, content_type)
    assert (status, kind) in ((400, "SerializationException"), (400, "ValidationException")), kind


def test_cbor_is_nested_to_a_bound(ask):
    """Below it an unknown member is passed over, whatever it holds."""
    kinds = [ask("ListStreams", cbor2.dumps({"Extra": 0})[:-1] + b"\x81" * depth + b"\x80", CBOR) for depth in (50, 70)]
    assert kinds == [(200, ""), (400, "SerializationException")]


def test_a_bomb_is_never_expanded(ask):
    """A compressed body is taken for what it is, and a compressed answer is not made."""
    bomb = gzip.compress(b'{"StreamName": "' + b"a" * (64 << 20) + b'"}')
    assert ask("ListStreams", bomb, **{"content-encoding": "gzip"}) == (400, "SerializationException")


VALUES = {
    "names that climb": ("DescribeStreamSummary", {"StreamName": "../../etc/passwd"}),
    "a name with a null": ("DescribeStreamSummary", {"StreamName": "s\0"}),
    "a name that is long": ("DescribeStreamSummary", {"StreamName": "s" * 129}),
    "escapes in a name": ("DescribeStreamSummary", {"StreamName": "%2e%2e"}),
    "an ARN that climbs": ("DescribeStreamSummary", {"StreamARN": "arn:aws:kinesis:us-east-1:000000000000:stream/.."}),
    "an ARN of another service": ("DescribeStreamSummary", {"StreamARN": "arn:aws:s3:::bucket"}),
    "an ARN of another account": (
        "DescribeStreamSummary",
        {"StreamARN": "arn:aws:kinesis:us-east-1:999999999999:stream/s"},
    ),
    "an ARN of a million letters": (
        "DescribeStreamSummary",
        {"StreamARN": "arn:aws:kinesis:us-east-1:000000000000:stream/" + "a" * 1_000_000},
    ),
    "a page token of a MiB": ("ListStreams", {"NextToken": "A" * (1 << 20)}),
    "a page token of more": ("ListStreams", {"NextToken": "A" * ((1 << 20) + 1)}),
    "a page token with escapes": ("ListStreams", {"NextToken": "\u00e9\ud7ff" * 50}),
    "a forged iterator": ("GetRecords", {"ShardIterator": base64.b64encode(bytes(72)).decode()}),
    "an iterator of other digits": ("GetRecords", {"ShardIterator": "AAAA" * 128}),
    "an iterator of no base64": ("GetRecords", {"ShardIterator": "\u00e9" * 96}),
    "a hash key of 2^128": ("PutRecord", {**PUT, "Data": "", "ExplicitHashKey": str(1 << 128)}),
    "a hash key below 0": ("PutRecord", {**PUT, "Data": "", "ExplicitHashKey": "-1"}),
    "a hash key with a zero before": ("PutRecord", {**PUT, "Data": "", "ExplicitHashKey": "00"}),
    "digits of another script": ("PutRecord", {**PUT, "Data": "", "ExplicitHashKey": "\u0663"}),
    "a number of 129 digits": ("PutRecord", {**PUT, "Data": "", "SequenceNumberForOrdering": "9" * 129}),
    "a number of 130 digits": ("PutRecord", {**PUT, "Data": "", "SequenceNumberForOrdering": "9" * 130}),
    "base64 with line feeds": ("PutRecord", {**PUT, "Data": "QUJD\nQUJD"}),
    "base64 of another alphabet": ("PutRecord", {**PUT, "Data": "-_-_"}),
    "base64 that is cut": ("PutRecord", {**PUT, "Data": "QUJ"}),
    "a key of half a surrogate": ("PutRecord", {**PUT, "Data": "", "PartitionKey": "\ud800"}),
    "a key of 257": ("PutRecord", {**PUT, "Data": "", "PartitionKey": "\U0001f511" * 257}),
    "501 records": ("PutRecords", {"StreamName": "s", "Records": [{"Data": "", "PartitionKey": "k"}] * 501}),
    "a record of 10 MiB and more": ("PutRecord", {**PUT, "Data": base64.b64encode(bytes((10 << 20) + 1)).decode()}),
    "a time far away": (
        "GetShardIterator",
        {"StreamName": "s", "ShardId": "0", "ShardIteratorType": "AT_TIMESTAMP", "Timestamp": 1e300},
    ),
    "shards beyond count": ("CreateStream", {"StreamName": "t", "ShardCount": 1 << 62}),
    "hours beyond count": ("IncreaseStreamRetentionPeriod", {"StreamName": "s", "RetentionPeriodHours": 1 << 62}),
}


@pytest.mark.parametrize("name", VALUES)
def test_a_hostile_value_is_refused(ask, name):
    """With a 4xx, and nothing of it is stored."""
    operation, body = VALUES[name]
    status, kind = ask(operation, body)
    assert status == 400
    assert kind not in ("", "InternalFailure", "UnknownOperationException")
    assert ask("ListShards", {"StreamName": "s"})[0] == 200


def test_a_member_that_comes_twice_counts_once(ask, service):
    """The last one, as in most parsers; never both."""
    twice = b'{"StreamName": "nowhere", "StreamName": "s", "PartitionKey": "k", "Data": "QUJD"}'
    assert ask("PutRecord", twice) == (200, "")
    assert [record.data for record in service.store.stream("s").read()] == [b"ABC"]


# --- on the socket ------------------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path):
    with streamstore.serve_in_thread(tmp_path / "store") as running:
        running.service.store.create_stream("s", 1)
        yield running


def connect(server):
    return socket.create_connection(("127.0.0.1", server.server.port), timeout=20)


def is_served(server):
    return remote(server.url).list_streams()["StreamNames"] == ["s"]


def test_a_body_that_does_not_come_is_given_up(tmp_path, monkeypatch):
    """In time, whether its length was said or not; others are answered meanwhile."""
    monkeypatch.setattr(app, "BODY_SECONDS", 0.5)
    with streamstore.serve_in_thread(tmp_path / "store") as server:
        server.service.store.create_stream("s", 1)
        for length in (b"Content-Length: 100\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\n5\r\n{"):
            with connect(server) as connection:
                connection.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\n" + length)
                assert is_served(server)
                began = time.monotonic()
                answer = connection.recv(65536)
                assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
                assert time.monotonic() - began < 15


def test_a_chunked_body_stops_at_the_bound(server):
    """However many chunks it comes in."""
    with connect(server) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
        try:
            for _ in range(40):
                connection.sendall(chunk)
            answer = connection.recv(65536)
        except (BrokenPipeError, ConnectionResetError):
            answer = b""  # it closed while we were sending
    assert answer == b"" or answer.startswith(b"HTTP/1.1 413")
    assert is_served(server)


def test_half_sent_heads_and_idle_connections_hold_up_nobody(server):
    """Two hundred of each, open at the same time."""
    open_ones = [connect(server) for _ in range(400)]
    try:
        for connection in open_ones[::2]:
            connection.sendall(b"POST / HTTP/1.1\r\nHost: loc")
        assert is_served(server)
    finally:
        for connection in open_ones:
            connection.close()
    assert is_served(server)


def test_requests_that_come_before_the_answers(server):
    """Two hundred in one write: each gets its answer, in order."""
    request = b"GET /healthcheck HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answer = b""
    with connect(server) as connection:
        connection.sendall(request * 200)
        while answer.count(b"HTTP/1.1 200") < 200:
            part = connection.recv(1 << 16)
            assert part
            answer += part


def test_a_client_that_does_not_read_holds_up_nobody(server):
    """Answers of several MiB pile up in its socket alone."""
    kinesis = remote(server.url)
    for _ in range(8):
        kinesis.put_record(StreamName="s", Data=bytes(1_000_000), PartitionKey="k")
    found = kinesis.get_shard_iterator(StreamName="s", ShardId="0", ShardIteratorType="TRIM_HORIZON")
    body = json.dumps({"ShardIterator": found["ShardIterator"]}).encode()
    head = "".join(f"{name}: {value}\r\n" for name, value in headers("GetRecords").items())
    request = f"POST / HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    slow = [connect(server) for _ in range(20)]
    try:
        for connection in slow:
            connection.sendall(request)
        assert all(is_served(server) for _ in range(5))
    finally:
        for connection in slow:
            connection.close()


def test_old_tls_and_broken_handshakes(tmp_path, caplog):
    """TLS 1.2 at least; what is no handshake ends, and neither secret nor key is in any log."""
    pytest.importorskip("cryptography")
    from streamstore.server import certificate

    certificate_file, key_file = certificate.obtain(str(tmp_path / "tls"), ("127.0.0.1",))
    keys = tmp_path / "keys.json"
    keys.touch(0o600)
    secret = "a-secret-that-nobody-logs"
    keys.write_text(json.dumps({"keys": [{"access_key_id": "k", "secret_access_key": secret, "rights": ["read"]}]}))
    options = {"certificate": certificate_file, "key": key_file, "credentials": str(keys)}
    with caplog.at_level(logging.DEBUG), streamstore.serve_in_thread(tmp_path / "store", **options) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with connect(server) as plain, context.wrap_socket(plain) as secure:
            assert secure.version() in ("TLSv1.2", "TLSv1.3")
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")
        with connect(server) as plain, pytest.raises((ssl.SSLError, OSError)):
            context.wrap_socket(plain)
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + bytes(500)):
            with connect(server) as plain:
                plain.sendall(garbage)
                plain.settimeout(1)
                try:
                    assert b"HTTP/1.1 2" not in plain.recv(65536)
                except OSError:
                    pass  # it waits for the rest of a handshake, or has hung up
        right = {"aws_access_key_id": "k", "aws_secret_access_key": secret}
        assert remote(server.url, verify=certificate_file, **right).list_streams()["StreamNames"] == []
        with pytest.raises(Exception, match="InvalidSignature"):
            remote(server.url, verify=certificate_file, aws_access_key_id="k", aws_secret_access_key="x").list_streams()
    assert secret not in caplog.text
    assert secret not in repr(server.server.application.__dict__)


def test_a_store_serves_while_a_stranger_floods_it(server):
    """Four connections that send garbage without an end; every request of another client is answered."""
    ended = threading.Event()

    def flood():
        while not ended.is_set():
            try:
                with connect(server) as connection:
                    connection.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n[[[" * 20)
                    connection.settimeout(0.2)
                    connection.recv(65536)
            except OSError:
                continue

    threads = [threading.Thread(target=flood) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        assert all(is_served(server) for _ in range(10))
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def test_the_service_itself_is_never_at_fault(service, ask):
    """An error of ours would be a 500 with nothing of its text in the answer."""

    class Broken(Service):
        def call(self, *arguments):
            raise ZeroDivisionError("a text that nobody may see")

    gate = Gate(service, None)
    request = HttpRequest("POST", "/", "", headers("ListStreams"), b"{}")
    answer = wire.answer(Broken(service.store), request, gate.who)
    assert (answer.status, b"nobody may see" in answer.body) == (500, False)
