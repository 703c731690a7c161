"""The wire: routing, both encodings, and errors as clients match them; no body is answered with a 5xx."""

from __future__ import annotations

import json
import random

import pytest

from streamstore.kinesis import wire
from streamstore.kinesis.errors import ServiceError
from streamstore.kinesis.operations import OPERATIONS
from streamstore.kinesis.structures import STRUCTURES
from streamstore.kinesis.wire import HttpRequest

cbor2 = pytest.importorskip("cbor2")
JSON, CBOR = "application/x-amz-json-1.1", "application/x-amz-cbor-1.1"


@pytest.fixture
def ask(service):
    """Send one request through the wire, with a gate that lets everybody in."""

    def send(operation, body, content_type=JSON, method="POST", path="/"):
        headers = {"content-type": content_type}
        if operation is not None:
            headers["x-amz-target"] = operation if "." in operation else f"Kinesis_20131202.{operation}"
        request = HttpRequest(method, path, "", headers, body)
        return wire.answer(service, request, lambda request, operation: service.caller)

    return send


def test_what_is_not_for_us_is_said_as_the_service_says_it(ask):
    """Paths, methods, types and targets."""
    assert ask("ListStreams", b"{}", method="GET").status == 403
    assert b"Unable to determine service/operation name" in ask("ListStreams", b"{}", path="/x").body
    assert (ask(None, b"{}", "text/plain").status, ask("ListStreams", b"{}", "text/plain").status) == (403, 404)
    assert ask("ListStreams", b"{}", "text/plain").body == b"<UnknownOperationException/>\n"
    for target in ("Nope", "Kinesis_20140101.ListStreams", "x.", None):
        answer = ask(target, b"{}")
        assert (answer.status, json.loads(answer.body)) == (400, {"__type": "UnknownOperationException"})
    assert json.loads(ask("ListStreams", b"").body) == {"__type": "SerializationException"}
    assert json.loads(ask("ListStreams", b"{").body) == {"__type": "SerializationException"}


@pytest.mark.parametrize(
    ("operation", "body", "text"),
    [
        (
            "DescribeStream",
            '{"StreamName": 5}',
            "class com.amazon.coral.value.json.numbers.TruncatingBigNumber can not",
        ),
        ("DescribeStream", '{"StreamName": true}', "class java.lang.Boolean can not be converted to an String"),
        ("DescribeStream", '{"StreamName": []}', "Start of list found where not expected"),
        ("DescribeStream", '{"StreamName": {}}', "Start of structure or map found where not expected."),
        ("DescribeStream", '{"Limit": "x"}', "class java.lang.String can not be converted to an Integer"),
        ("DescribeStream", '{"Limit": 1e400}', ""),
        ("PutRecords", '{"Records": 5}', "Expected list or null"),
        ("PutRecords", '{"Records": [5]}', "Expected null"),
        ("AddTagsToStream", '{"Tags": "x"}', "Expected map or null"),
        ("PutRecord", '{"Data": "23456"}', "'23456' can not be converted to a Blob: Base64 encoded length is expected"),
        ("PutRecord", '{"Data": "abc!"}', "Invalid Base64 character"),
        ("PutRecord", '{"PartitionKey": "\\ud800"}', ""),
        ("DeleteStream", '{"EnforceConsumerDeletion": "yes"}', "'YES' can not be converted to an Boolean"),
        ("GetShardIterator", '{"Timestamp": "now"}', "class java.lang.String can not be converted to milliseconds"),
    ],
)
def test_wrong_types_are_serialization_exceptions(ask, operation, body, text):
    """With the service's texts, under the capital key."""
    answer = ask(operation, body.encode())
    said = json.loads(answer.body)
    assert (answer.status, said["__type"]) == (400, "SerializationException")
    assert text in said.get("Message", "")
    assert ("x-amzn-errortype", "SerializationException") in answer.headers


def test_cbor_speaks_in_byte_strings_and_milliseconds(ask, service):
    """Golden bytes: blobs as they are, times as integers of milliseconds under tag 1, errors too."""
    stream = service.store.create_stream("s")
    put = ask("PutRecord", cbor2.dumps({"StreamName": "s", "Data": b"\0\xff", "PartitionKey": "k"}), CBOR)
    assert put.status == 200
    assert cbor2.loads(put.body)["ShardId"] == "shardId-000000000000"
    stream.put_record(b"y", None)
    record = next(iter(stream.read()))
    when = cbor2.dumps(cbor2.CBORTag(1, record.arrival_us // 1000))
    body = cbor2.dumps({"StreamName": "s", "ShardId": "0", "ShardIteratorType": "AT_TIMESTAMP", "Timestamp": None})
    answer = ask("GetShardIterator", body[:-1] + when, CBOR)
    got = ask("GetRecords", cbor2.dumps(cbor2.loads(answer.body)), CBOR)
    assert ("content-type", CBOR) in got.headers
    number = record.sequence_number
    golden = b"\xa4\x6eSequenceNumber\x78\x38" + number.encode() + b"\x78\x1bApproximateArrivalTimestamp" + when
    assert golden + b"\x64Data\x42\x00\xff\x6cPartitionKey\x61k" in got.body
    assert b"\x64Data\x41y" in got.body
    assert got.body.count(b"PartitionKey") == 1
    failed = ask("DescribeStream", b"\xa1\x6aStreamName\x64nope", CBOR)
    text = b"Stream nope under account 000000000000 not found."
    assert failed.body == b"\xa2\x66__type\x78\x19ResourceNotFoundException\x67message\x78\x31" + text
    assert (failed.status, ask("CreateStream", cbor2.dumps({"StreamName": "t"}), CBOR).body) == (400, b"")


@pytest.mark.parametrize(
    "body",
    [
        cbor2.dumps({"StreamName": 2**100}),
        b"\xa1",
        b"\x81" * 100_000,
        cbor2.dumps(cbor2.CBORTag(9999, {})),
        cbor2.dumps({"Timestamp": cbor2.CBORTag(1, "x")}),
        b"\xd8\x1c\x81\xd8\x1d\x00",
        b"\x9b\x7f" + b"\xff" * 7,
        b"\xbb\x7f" + b"\xff" * 7,
        b"\xa1\x80\x01",
    ],
)
def test_hostile_cbor_is_refused(ask, body):
    """Depth, lengths that lie, references, foreign tags."""
    assert ask("GetShardIterator", body, CBOR).status == 400


def test_hostile_json_is_refused(ask):
    """Depth, huge numbers, what is no JSON, the wrong top."""
    for body in (
        b"[" * 100_000,
        b'{"Limit": ' + b"9" * 10_000 + b"}",
        b'{"Limit": NaN}',
        b"[]",
        b'"x"',
        b"\xff",
        b"null",
    ):
        assert ask("DescribeStream", body).status == 400


def value(dice, depth=0):
    kind = dice.randrange(12 if depth < 3 else 9)
    if kind < 5:
        return dice.choice(["", "s", "shardId-000000000000", "LATEST", "x" * 300, "é\0", "5" * 200, "arn:aws:kinesis"])
    if kind < 8:
        return dice.choice([0, -1, 1, 10_001, 2**63, 1.5, -0.0, 1e300])
    if kind < 9:
        return dice.choice([None, True, False, b"\0\xff"])
    if kind < 11:
        return [value(dice, depth + 1) for _ in range(dice.randrange(3))]
    return {dice.choice(["Type", "ShardId", "Data", "é"]): value(dice, depth + 1) for _ in range(3)}


def fuzz(ask, service, count, seed):
    """Random members of every operation, right and wrong types, both encodings, ends missing."""
    service.store.create_stream("s")
    dice = random.Random(seed)
    names = sorted(OPERATIONS)
    for _ in range(count):
        name = dice.choice(names)
        members = [member.name for member in STRUCTURES[f"{name}Input"]]
        request = {member: value(dice) for member in members if dice.random() < 0.7}
        if "StreamName" in request and dice.random() < 0.8:
            request["StreamName"] = "s"
        if dice.random() < 0.5:
            body, kind = cbor2.dumps(request), CBOR
        else:
            body, kind = json.dumps(request, default=lambda data: "AP8=").encode(), JSON
        if dice.random() < 0.2:
            body = body[: dice.randrange(len(body) + 1)]
        answer = ask(name, body, kind)
        assert answer.status in (200, 400), (name, request, answer)


def test_no_request_is_answered_with_a_5xx(ask, service):
    """200 or a typed 400, whatever comes."""
    fuzz(ask, service, 3000, 5)


@pytest.mark.stress
def test_a_million_requests_without_a_5xx(ask, service):
    """The same for long."""
    fuzz(ask, service, 1_000_000, 11)


def test_an_unexpected_failure_is_an_internal_failure_that_says_nothing(ask, service, caplog):
    """The client learns no details; the log has them."""
    service.faults = type("Faults", (), {"before": lambda *arguments: 1 // 0})()
    answer = ask("ListStreams", b"{}")
    assert (answer.status, json.loads(answer.body)) == (500, {"__type": "InternalFailure"})
    assert "ZeroDivisionError" in caplog.text


def test_a_gate_is_asked_before_the_body_is_read(service):
    """Who may not come in learns nothing about shapes."""

    def nobody(request, operation):
        raise ServiceError("MissingAuthenticationTokenException", "Missing Authentication Token")

    headers = {"content-type": JSON, "x-amz-target": "Kinesis_20131202.ListStreams"}
    answer = wire.answer(service, HttpRequest("POST", "/", "", headers, b"{"), nobody)
    assert json.loads(answer.body)["__type"] == "MissingAuthenticationTokenException"
