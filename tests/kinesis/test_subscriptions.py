"""Fan-out: what a subscription sends and when, who takes over whom, and how it ends."""

from __future__ import annotations

import pytest
from boto_clients import OPEN, no_retries
from botocore.exceptions import ClientError, EventStreamError

from streamstore.kinesis.door import client
from streamstore.kinesis.service import Service

ARN = "arn:aws:kinesis:us-east-1:000000000000:stream/s"


@pytest.fixture
def consumer(kinesis):
    """A consumer of a stream of one shard with three records."""
    kinesis.create_stream(StreamName="s", ShardCount=1)
    kinesis.put_records(StreamName="s", Records=[{"Data": b"%d" % n, "PartitionKey": "k"} for n in range(3)])
    return kinesis.register_stream_consumer(StreamARN=ARN, ConsumerName="c")["Consumer"]["ConsumerARN"]


def subscribe(kinesis, consumer, kind="TRIM_HORIZON", **place):
    answer = kinesis.subscribe_to_shard(ConsumerARN=consumer, ShardId="0", StartingPosition={"Type": kind, **place})
    OPEN.append(answer["EventStream"])
    return answer["EventStream"]


def first(events):
    """The first event, all there is to be read of this subscription."""
    event = next(iter(events))["SubscribeToShardEvent"]
    events.close()
    return event


def data(event):
    return [record["Data"] for record in event["Records"]]


def test_a_continuation_number_goes_on_where_it_stopped(kinesis, consumer, service):
    """Whether records came or not, AT and AFTER it nothing is missed and nothing comes twice."""
    event = first(subscribe(kinesis, consumer))
    assert data(event) == [b"0", b"1", b"2"]
    assert event["MillisBehindLatest"] == 0
    number = event["ContinuationSequenceNumber"]
    service.advance(5_000_000)
    event = first(subscribe(kinesis, consumer, "AFTER_SEQUENCE_NUMBER", SequenceNumber=number))
    assert data(event) == []
    number = event["ContinuationSequenceNumber"]
    kinesis.put_record(StreamName="s", Data=b"3", PartitionKey="k")
    for kind in ("AFTER_SEQUENCE_NUMBER", "AT_SEQUENCE_NUMBER"):
        service.advance(5_000_000)
        assert data(first(subscribe(kinesis, consumer, kind, SequenceNumber=number))) == [b"3"]


def test_before_any_record_the_number_misses_nothing(kinesis, service):
    """A subscription to an empty shard gives a number that the first record is after."""
    kinesis.create_stream(StreamName="s", ShardCount=1)
    made = kinesis.register_stream_consumer(StreamARN=ARN, ConsumerName="c")["Consumer"]["ConsumerARN"]
    number = first(subscribe(kinesis, made))["ContinuationSequenceNumber"]
    kinesis.put_record(StreamName="s", Data=b"0", PartitionKey="k")
    for kind in ("AFTER_SEQUENCE_NUMBER", "AT_SEQUENCE_NUMBER"):
        service.advance(5_000_000)
        assert data(first(subscribe(kinesis, made, kind, SequenceNumber=number))) == [b"0"]


def test_a_second_subscription_waits_or_takes_over(kinesis, consumer, service):
    """Within 5 s it is refused; later the first ends with ResourceInUseException."""
    stream = subscribe(kinesis, consumer)
    events = iter(stream)
    assert data(next(events)["SubscribeToShardEvent"]) == [b"0", b"1", b"2"]
    with pytest.raises(ClientError, match="ResourceInUseException"):
        subscribe(kinesis, consumer)
    service.advance(5_000_000)
    second = subscribe(kinesis, consumer)
    assert data(first(second)) == [b"0", b"1", b"2"]
    with pytest.raises(EventStreamError, match="ResourceInUseException"):
        list(events)


def test_it_beats_every_five_seconds_and_lasts_five_minutes(store):
    """By the service's clock, which a test may move; the end is no error."""
    service = Service(store)
    kinesis = client(store, service=service, config=no_retries())
    kinesis.create_stream(StreamName="s", ShardCount=1)
    made = kinesis.register_stream_consumer(StreamARN=ARN, ConsumerName="c")["Consumer"]["ConsumerARN"]
    events = iter(subscribe(kinesis, made))
    for _ in range(59):
        assert data(next(events)["SubscribeToShardEvent"]) == []
        service.advance(5_000_000)
    assert data(next(events)["SubscribeToShardEvent"]) == []
    service.advance(5_000_000)
    assert list(events) == []
    assert service.subscriptions.count() == 0


def test_deregistering_and_deleting_end_it(kinesis, consumer, service):
    """With ResourceNotFoundException in the stream."""
    events = iter(subscribe(kinesis, consumer))
    next(events)
    kinesis.deregister_stream_consumer(ConsumerARN=consumer)
    with pytest.raises(EventStreamError, match="ResourceNotFoundException"):
        next(events)
    made = kinesis.register_stream_consumer(StreamARN=ARN, ConsumerName="d")["Consumer"]["ConsumerARN"]
    events = iter(subscribe(kinesis, made))
    next(events)
    kinesis.delete_stream(StreamName="s", EnforceConsumerDeletion=True)
    with pytest.raises(EventStreamError, match="ResourceNotFoundException"):
        next(events)


def test_a_dry_run_subscribes_nobody(kinesis, consumer, service):
    """And an unknown consumer, shard or position is refused before a stream begins."""
    options = {"ConsumerARN": consumer, "ShardId": "0", "StartingPosition": {"Type": "LATEST"}}
    for more, kind in (
        ({"DryRun": True}, "DryRunOperationException"),
        ({"ConsumerARN": f"{consumer}9"}, "ResourceNotFoundException"),
        ({"ShardId": "7"}, "ResourceNotFoundException"),
        ({"StartingPosition": {"Type": "AT_SEQUENCE_NUMBER"}}, "InvalidArgumentException"),
    ):
        with pytest.raises(ClientError, match=kind):
            kinesis.subscribe_to_shard(**{**options, **more})
    assert service.subscriptions.count() == 0
