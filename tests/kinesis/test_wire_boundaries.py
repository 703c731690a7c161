"""The least and the most of everything that a request may say: both are taken, what lies beside them is refused."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from streamstore.kinesis import wire
from streamstore.kinesis.wire import HttpRequest

ARN = "arn:aws:kinesis:us-east-1:000000000000:stream/s"
SHARD = "shardId-000000000000"
MIB = 1 << 20


class Bound(NamedTuple):
    """A request made for a size or number, and the least and the most of it; a `low` of None has nothing below it."""

    operation: str
    make: Callable[[int], dict[str, Any]]
    low: int | None
    high: int


def put(**more: Any) -> dict[str, Any]:
    return {"StreamName": "s", "Data": "", "PartitionKey": "k", **more}


def data(size: int) -> str:
    return base64.b64encode(bytes(size)).decode()


def queue(**settings: Any) -> dict[str, Any]:
    return {"QueueName": "q", "StreamConfigurationList": [{"StreamARN": ARN}], **settings}


BOUNDS = {
    "a stream's name": Bound("CreateStream", lambda n: {"StreamName": "n" * n, "ShardCount": 1}, 1, 128),
    "shards": Bound("CreateStream", lambda n: {"StreamName": f"new{n}", "ShardCount": n}, 1, 65_536),
    "a record's data": Bound("PutRecord", lambda n: put(Data=data(n)), None, MIB - 1),
    "a record's data beside the longest key": Bound(
        "PutRecord", lambda n: put(Data=data(n), PartitionKey="k" * 256), None, MIB - 256
    ),
    "a partition key": Bound("PutRecord", lambda n: put(PartitionKey="k" * n), 1, 256),
    "a partition key of four bytes each": Bound("PutRecord", lambda n: put(PartitionKey="\U0001f600" * n), 1, 256),
    "a hash key": Bound("PutRecord", lambda n: put(ExplicitHashKey=str(n)), 0, 2**128 - 1),
    "records of a batch": Bound(
        "PutRecords", lambda n: {"StreamName": "s", "Records": [{"Data": "", "PartitionKey": "k"}] * n}, 1, 500
    ),
    "data of a batch's record": Bound(
        "PutRecords",
        lambda n: {"StreamName": "s", "Records": [{"Data": data(n), "PartitionKey": "k"}]},
        None,
        MIB - 1,
    ),
    "streams of a page": Bound("ListStreams", lambda n: {"Limit": n}, 1, 10_000),
    "shards of a page": Bound("ListShards", lambda n: {"StreamName": "s", "MaxResults": n}, 1, 10_000),
    "shards of a description": Bound("DescribeStream", lambda n: {"StreamName": "s", "Limit": n}, 1, 10_000),
    "tags of a page": Bound("ListTagsForStream", lambda n: {"StreamName": "s", "Limit": n}, 1, 50),
    "a tag's name": Bound("AddTagsToStream", lambda n: {"StreamName": "s", "Tags": {"t" * n: ""}}, 1, 128),
    "a tag's value": Bound("AddTagsToStream", lambda n: {"StreamName": "s", "Tags": {"t": "v" * n}}, None, 256),
    "tags": Bound(
        "AddTagsToStream", lambda n: {"StreamName": "s", "Tags": {str(each): "" for each in range(n)}}, 1, 50
    ),
    "hours of retention, more": Bound(
        "IncreaseStreamRetentionPeriod", lambda n: {"StreamName": "s", "RetentionPeriodHours": n}, None, 8760
    ),
    "a consumer's name": Bound("RegisterStreamConsumer", lambda n: {"StreamARN": ARN, "ConsumerName": "c" * n}, 1, 128),
    "a largest record, in KiB": Bound(
        "UpdateMaxRecordSize", lambda n: {"StreamARN": f"{ARN}-large", "MaxRecordSizeInKiB": n}, 1024, 10_240
    ),
    "a queue's name": Bound("CreateQueue", lambda n: {**queue(), "QueueName": "q" * n}, 1, 128),
}


@pytest.fixture
def ask(service):
    """Ask the service, and get a status and an error's type."""
    service.store.create_stream("s", 1)
    service.store.create_stream("s-large", 1, max_record_size=10 * MIB)

    def answer(operation: str, body: dict[str, Any]) -> tuple[int, str]:
        head = {"host": "localhost", "content-type": wire.JSON.content_type, "x-amz-date": "20261121T000000Z"}
        head["x-amz-target"] = f"Kinesis_20131202.{operation}"
        head["authorization"] = (
            "AWS4-HMAC-SHA256 Credential=any/20261121/us-east-1/kinesis/aws4_request, SignedHeaders=host;x-amz-date, "
            "Signature=" + "0" * 64
        )
        request = HttpRequest("POST", "/", "", head, json.dumps(body).encode())
        response = wire.answer(service, request, lambda request, operation: service.caller)
        return response.status, dict(response.headers).get("x-amzn-errortype", "")

    return answer


@pytest.mark.parametrize("name", BOUNDS)
def test_the_bounds_of_a_request(ask, service, name):
    """What is refused is so with a 400, and nothing was put."""
    bound = BOUNDS[name]
    outside = [bound.high + 1] if bound.low is None else [bound.low - 1, bound.high + 1]
    for number in outside:
        status, error = ask(bound.operation, bound.make(number))
        assert (status, error != "") == (400, True), number
        assert error in ("ValidationException", "InvalidArgumentException", "LimitExceededException"), (number, error)
    assert not list(service.store.stream("s").read())
    for number in (0 if bound.low is None else bound.low, bound.high):
        if bound.operation == "IncreaseStreamRetentionPeriod" and number < 24:
            continue
        assert ask(bound.operation, bound.make(number)) == (200, ""), number


@pytest.mark.parametrize(
    ("moment", "status"),
    [(-(2**53), 400), (-(2**31), 200), (-1, 200), (-0.001, 200), (0, 200), (2**31 - 1, 200), (2**31, 200), (2**33, 400)]
    + [(2**53 / 1000, 400), (2**53, 400), (2**63, 400), (1e308, 400)],
)
def test_a_timestamp_may_be_any_that_was(ask, service, monkeypatch, moment, status):
    """Before 1970 too: all records came later. What is still to come is refused, as the service refuses it."""
    monkeypatch.setattr(service, "now_us", lambda: 2**32 * 1_000_000)
    request = {"StreamName": "s", "ShardId": SHARD, "ShardIteratorType": "AT_TIMESTAMP", "Timestamp": moment}
    assert ask("GetShardIterator", request)[0] == status


@pytest.mark.parametrize(("limit", "status"), [(0, 400), (1, 200), (10_000, 200), (10_001, 400), (2**63, 400)])
def test_the_records_of_an_answer(ask, service, limit, status):
    """From one to ten thousand, as the iterator's read has it."""
    from streamstore.kinesis.door import client

    made = client(service.store, service=service)
    at = made.get_shard_iterator(StreamName="s", ShardId=SHARD, ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
    assert ask("GetRecords", {"ShardIterator": at, "Limit": limit})[0] == status
