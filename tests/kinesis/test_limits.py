"""Rates and quotas: enforced with limits="aws", and nowhere else."""

from __future__ import annotations

import re

import pytest
from boto_clients import no_retries
from botocore.exceptions import ClientError

from streamstore import errors
from streamstore.kinesis.door import client
from streamstore.kinesis.operations import OPERATIONS
from streamstore.kinesis.service import Service

SHARD = "shardId-000000000000"
ARN = "arn:aws:kinesis:us-east-1:000000000000:stream/s"


class Still:
    """A service whose time only moves when it is told to."""

    def __init__(self, store, monkeypatch):
        self.service = Service(store, limits="aws")
        self.us = self.service.now_us()
        monkeypatch.setattr(self.service, "now_us", lambda: self.us)
        self.kinesis = client(store, service=self.service, config=no_retries())

    def failure(self, call, **options):
        with pytest.raises(ClientError) as caught:
            call(**options)
        return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


@pytest.fixture
def still(store, monkeypatch):
    """A stream of one shard, at a time that stands still."""
    made = Still(store, monkeypatch)
    made.kinesis.create_stream(StreamName="s", ShardCount=1)
    return made


def test_a_shard_takes_a_thousand_records_a_second(still):
    """What is over the rate fails entry by entry with the service's code and text; a second later there is room."""
    entries = [{"Data": b"x", "PartitionKey": "k"}] * 500
    for failed in (0, 0, 500):
        answer = still.kinesis.put_records(StreamName="s", Records=entries)
        assert answer["FailedRecordCount"] == failed
    entry = answer["Records"][0]
    assert entry["ErrorCode"] == "ProvisionedThroughputExceededException"
    assert entry["ErrorMessage"] == f"Rate exceeded for shard {SHARD} in stream s under account 000000000000."
    put = {"StreamName": "s", "Data": b"x", "PartitionKey": "k"}
    assert still.failure(still.kinesis.put_record, **put)[0] == "ProvisionedThroughputExceededException"
    still.us += 1_000_000
    assert still.kinesis.put_records(StreamName="s", Records=entries)["FailedRecordCount"] == 0


def test_a_shard_takes_a_mebibyte_a_second(still):
    """Data and key; the second half of a batch fails alone."""
    entries = [{"Data": b"x" * (256 * 1024 - 1), "PartitionKey": "k"}] * 6
    answer = still.kinesis.put_records(StreamName="s", Records=entries)
    assert ["ErrorCode" in item for item in answer["Records"]] == [False] * 4 + [True] * 2


def test_a_shard_is_read_five_times_and_two_mebibytes_a_second(still):
    """The sixth call, and the one after too many bytes, are refused."""
    options = {"StreamName": "s", "ShardId": SHARD, "ShardIteratorType": "TRIM_HORIZON"}
    iterator = still.kinesis.get_shard_iterator(**options)["ShardIterator"]
    for _ in range(5):
        still.kinesis.get_records(ShardIterator=iterator)
    assert (
        still.failure(still.kinesis.get_records, ShardIterator=iterator)[0] == "ProvisionedThroughputExceededException"
    )
    for _ in range(3):
        still.us += 1_000_000
        still.kinesis.put_record(StreamName="s", Data=b"x" * ((1 << 20) - 1), PartitionKey="k")
    still.us += 1_000_000
    assert len(still.kinesis.get_records(ShardIterator=iterator)["Records"]) == 3
    assert (
        still.failure(still.kinesis.get_records, ShardIterator=iterator)[0] == "ProvisionedThroughputExceededException"
    )
    still.us += 2_000_000
    still.kinesis.get_records(ShardIterator=iterator)


def test_control_operations_have_rates(still):
    """The service's LimitExceededException, by account."""
    still.us += 1_000_000
    still.kinesis.describe_limits()
    assert still.failure(still.kinesis.describe_limits) == (
        "LimitExceededException",
        "Rate exceeded for account 000000000000.",
    )


def test_quotas_and_scaling_rules(still):
    """500 shards, 20 consumers, twice or half at a time, ten times a day."""
    still.us += 1_000_000
    kind, text = still.failure(still.kinesis.create_stream, StreamName="big", ShardCount=500)
    assert (kind, "Current shard count for the account: 1. Limit: 500." in text) == ("LimitExceededException", True)
    scale = {"StreamName": "s", "ScalingType": "UNIFORM_SCALING"}
    kind, text = still.failure(still.kinesis.update_shard_count, TargetShardCount=3, **scale)
    assert (kind, "double" in text) == ("InvalidArgumentException", True)
    for turn in range(10):
        still.us += 1_000_000
        still.kinesis.update_shard_count(TargetShardCount=2 - turn % 2, **scale)
    still.us += 1_000_000
    kind, text = still.failure(still.kinesis.update_shard_count, TargetShardCount=2, **scale)
    assert (kind, "10 times" in text) == ("LimitExceededException", True)
    for number in range(20):
        still.us += 1_000_000
        still.kinesis.register_stream_consumer(StreamARN=ARN, ConsumerName=f"c{number}")
    still.us += 1_000_000
    options = {"StreamARN": ARN, "ConsumerName": "more"}
    assert still.failure(still.kinesis.register_stream_consumer, **options)[0] == "LimitExceededException"


def test_limits_are_none_or_aws(store):
    """Anything else is a mistake."""
    with pytest.raises(errors.InvalidArgumentError):
        store.boto3_client(limits="some")


def fan_out(still, consumer, kind="TRIM_HORIZON", number=None):
    """A subscription of a consumer, to be polled by hand."""
    arn = still.kinesis.register_stream_consumer(StreamARN=ARN, ConsumerName=consumer)["Consumer"]["ConsumerARN"]
    position = {"Type": kind} if number is None else {"Type": kind, "SequenceNumber": number}
    request = {"ConsumerARN": arn, "ShardId": SHARD, "StartingPosition": position}
    made = still.service.call(OPERATIONS["SubscribeToShard"], request, still.service.caller)
    assert b"initial-response" in made.poll()
    return made


def test_a_consumer_is_sent_two_mebibytes_a_second(still, store):
    """Each consumer for itself: an event may overdraw the rate, the next ones wait, and beats come all the same."""
    count, size = 60, 1 << 19
    store.stream("s").put_records([(bytes(size), "k")] * count)
    one, two = fan_out(still, "one"), fan_out(still, "two")
    began, got, beats, last, silent_since = still.us, 0, 0, 0, still.us
    while got < count:
        frame = one.poll()
        if frame is None:
            log, position = one.wanted()
            assert position > log.state().tail  # it does not wake for what it may not send
            assert 0 < one.wait_us() <= 5_000_000
            still.us += one.wait_us()
            continue
        assert still.us - silent_since <= 5_000_000
        assert b"ContinuationSequenceNumber" in frame
        last, silent_since = frame.count(b'"SequenceNumber"'), still.us
        got, beats = got + last, beats + (not last)
    assert (still.us - began) / 1_000_000 >= (count - last) * size / (2 << 20) - 1
    assert two.poll().count(b'"SequenceNumber"') > 0
    assert one.poll() is None
    still.us += 60_000_000
    assert b'"Records":[]' in one.poll()
    assert one.wanted()[1] <= log.state().tail  # now it waits for news


def test_a_beat_of_a_consumer_that_waits_says_where_to_go_on(still, store):
    """Nothing is sent twice to who subscribes again from there, and nothing left out."""
    numbers = [store.stream("s").put_record(bytes(1 << 20), "k").sequence_number for _ in range(3)]
    for kind, expected in (("AT_SEQUENCE_NUMBER", numbers[1:]), ("AFTER_SEQUENCE_NUMBER", numbers[2:])):
        held = fan_out(still, kind, kind, numbers[1])
        still.service.throttle.was_sent(held.key, 100 << 20, still.us)
        still.us += 5_000_000
        beat = held.poll()
        assert b'"Records":[]' in beat
        number = re.search(rb'"ContinuationSequenceNumber":"(\d+)"', beat)[1].decode()
        again = fan_out(still, f"{kind}-again", "AFTER_SEQUENCE_NUMBER", number)
        assert re.findall(rb'"SequenceNumber":"(\d+)"', again.poll()) == [item.encode() for item in expected]
