"""Putting and reading through the API: where records go, what is refused and how, and where iterators stand."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from botocore.exceptions import ClientError

SHARD = "shardId-000000000000"
END = (1 << 128) - 1


@pytest.fixture
def stream(kinesis):
    """A stream of two shards."""
    kinesis.create_stream(StreamName="s", ShardCount=2)
    return "s"


def put(kinesis, data=b"x", key="k", **more):
    return kinesis.put_record(StreamName="s", Data=data, PartitionKey=key, **more)


def iterator(kinesis, kind="TRIM_HORIZON", shard=SHARD, **more):
    return kinesis.get_shard_iterator(StreamName="s", ShardId=shard, ShardIteratorType=kind, **more)["ShardIterator"]


def read(kinesis, *arguments, **more):
    return [
        item["Data"] for item in kinesis.get_records(ShardIterator=iterator(kinesis, *arguments, **more))["Records"]
    ]


def failure(call, *arguments, **options):
    """The type and text of the error that a call ends in."""
    with pytest.raises(ClientError) as caught:
        call(*arguments, **options)
    error = caught.value.response["Error"]
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    return error["Code"], error["Message"]


def test_a_record_goes_where_its_hash_key_says(kinesis, stream):
    """By the MD5 of the key, or the explicit hash key; the record comes back whole."""
    assert put(kinesis, explicit := b"\0\xff", "ключ", ExplicitHashKey="0")["ShardId"] == SHARD
    assert put(kinesis, ExplicitHashKey=str(END))["ShardId"] == "shardId-000000000001"
    record = kinesis.get_records(ShardIterator=iterator(kinesis))["Records"][0]
    assert (record["Data"], record["PartitionKey"]) == (explicit, "ключ")
    assert abs(record["ApproximateArrivalTimestamp"] - datetime.now(timezone.utc)) < timedelta(seconds=5)
    assert record["ApproximateArrivalTimestamp"].microsecond % 1000 == 0


def test_a_batch_answers_entry_by_entry(kinesis, stream):
    """500 entries, in order; numbers rise within a shard."""
    entries = [{"Data": b"%d" % number, "PartitionKey": str(number)} for number in range(500)]
    answer = kinesis.put_records(StreamName="s", Records=entries)
    assert (answer["FailedRecordCount"], len(answer["Records"])) == (0, 500)
    for shard in (SHARD, "shardId-000000000001"):
        own = [int(item["SequenceNumber"]) for item in answer["Records"] if item["ShardId"] == shard]
        assert own == sorted(own)
        assert len(own) > 100


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"ExplicitHashKey": str(END + 1)}, "InvalidArgumentException", f"Specified value was {END + 1}"),
        ({"ExplicitHashKey": "-1"}, "ValidationException", "pattern"),
        ({"PartitionKey": ""}, "ValidationException", "'partitionKey' failed to satisfy constraint"),
        ({"PartitionKey": "k" * 257}, "ValidationException", "Member must have length less than or equal to 256"),
        ({"Data": b"x" * (1 << 20)}, "ValidationException", "less than or equal to 1048576"),
        ({"Data": b"x" * (10485760 + 1)}, "ValidationException", "less than or equal to 10485760"),
        ({"PartitionKey": None}, "ValidationException", "Value null at 'partitionKey'"),
        ({"SequenceNumberForOrdering": "5" * 56}, "InvalidArgumentException", "ExclusiveMinimumSequenceNumber 5"),
        ({"StreamName": "nope"}, "ResourceNotFoundException", "Stream nope under account 000000000000 not found."),
        ({"StreamName": None}, "InvalidArgumentException", "Either StreamName or StreamARN"),
        ({"DryRun": True}, "DryRunOperationException", "would have succeeded"),
    ],
)
def test_a_put_is_refused_with_the_services_error(kinesis, stream, options, kind, text):
    """Type and text; nothing was written."""
    request = {"StreamName": "s", "Data": b"x", "PartitionKey": "k", **options}
    got, said = failure(kinesis.put_record, **{name: value for name, value in request.items() if value is not None})
    assert got == kind
    assert text in said
    assert read(kinesis) == read(kinesis, shard="shardId-000000000001") == []


def test_a_bad_entry_fails_the_whole_batch(kinesis, stream):
    """Nothing of it is written, and the error says which entry."""
    entries = [{"Data": b"x", "PartitionKey": "k"}] * 3
    kind, text = failure(kinesis.put_records, StreamName="s", Records=[*entries, {"Data": b"x", "PartitionKey": ""}])
    assert kind == "ValidationException"
    assert "'records.4.member.partitionKey'" in text
    assert "less than or equal to 500" in failure(kinesis.put_records, StreamName="s", Records=entries * 167)[1]
    assert failure(kinesis.put_records, StreamName="s", Records=[])[0] == "ValidationException"
    assert read(kinesis) == read(kinesis, shard="shardId-000000000001") == []


def test_a_batch_is_10_mib_at_most(kinesis, stream):
    """The sum of data and keys."""
    entries = [{"Data": b"x" * (1 << 20), "PartitionKey": "k"}] * 10
    assert failure(kinesis.put_records, StreamName="s", Records=entries)[0] == "ValidationException"  # key included
    entries = [{"Data": b"x" * ((1 << 20) - 1), "PartitionKey": "k"}] * 10
    assert kinesis.put_records(StreamName="s", Records=entries)["FailedRecordCount"] == 0
    kind, text = failure(kinesis.put_records, StreamName="s", Records=[*entries, {"Data": b"", "PartitionKey": "k"}])
    assert (kind, "exceeds 10 MB" in text) == ("InvalidArgumentException", True)


def test_ordering_takes_a_number_of_the_past(kinesis, stream):
    """The last number is fine, and the new one is greater."""
    first = put(kinesis)["SequenceNumber"]
    assert int(put(kinesis, SequenceNumberForOrdering=first)["SequenceNumber"]) > int(first)
    assert (
        failure(put, kinesis, SequenceNumberForOrdering=str(int(first) + (1 << 100)))[0] == "InvalidArgumentException"
    )


def test_the_five_kinds_of_start(kinesis, stream):
    """Each stands where the service's does; a position is bound when the iterator is made."""
    latest = iterator(kinesis, "LATEST")
    numbers = [put(kinesis, b"%d" % number, ExplicitHashKey="0")["SequenceNumber"] for number in range(3)]
    assert read(kinesis) == [b"0", b"1", b"2"]
    assert [item["Data"] for item in kinesis.get_records(ShardIterator=latest)["Records"]] == [b"0", b"1", b"2"]
    assert read(kinesis, "LATEST") == []
    assert read(kinesis, "AT_SEQUENCE_NUMBER", StartingSequenceNumber=numbers[1]) == [b"1", b"2"]
    assert read(kinesis, "AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=numbers[1]) == [b"2"]
    between = str(int(numbers[1]) + (1 << 71))  # eight bytes into the frame
    assert read(kinesis, "AT_SEQUENCE_NUMBER", StartingSequenceNumber=between) == [b"2"]
    assert read(kinesis, "AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=between) == [b"2"]
    shards = kinesis.list_shards(StreamName="s")["Shards"]
    start = shards[0]["SequenceNumberRange"]["StartingSequenceNumber"]
    assert read(kinesis, "AT_SEQUENCE_NUMBER", StartingSequenceNumber=start) == [b"0", b"1", b"2"]
    assert read(kinesis, "AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=start) == [b"0", b"1", b"2"]
    arrival = kinesis.get_records(ShardIterator=iterator(kinesis))["Records"][0]["ApproximateArrivalTimestamp"]
    assert read(kinesis, "AT_TIMESTAMP", Timestamp=arrival)[0] == b"0"
    assert read(kinesis, "AT_TIMESTAMP", Timestamp=0) == [b"0", b"1", b"2"]


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"ShardId": "nope"}, "ResourceNotFoundException", "Could not find shard nope in stream s"),
        ({"ShardId": "shardId-000000000002"}, "ResourceNotFoundException", "Shard shardId-000000000002 in stream s"),
        ({"ShardIteratorType": "SOON"}, "ValidationException", "AT_TIMESTAMP, AT_SEQUENCE_NUMBER, TRIM_HORIZON]"),
        ({"ShardIteratorType": "AT_SEQUENCE_NUMBER"}, "InvalidArgumentException", "Must either specify (1)"),
        ({"StartingSequenceNumber": "1"}, "InvalidArgumentException", "Must either specify (1)"),
        (
            {"ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": "0"},
            "InvalidArgumentException",
            "StartingSequenceNumber 0 used in GetShardIterator on shard shardId-000000000000",
        ),
        ({"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": 9e9}, "InvalidArgumentException", "cannot be greater than"),
        ({"ShardIteratorType": "AT_TIMESTAMP"}, "InvalidArgumentException", "timestampInMillis"),
        ({"DryRun": True}, "DryRunOperationException", "would have succeeded"),
    ],
)
def test_an_iterator_is_refused_with_the_services_error(kinesis, stream, options, kind, text):
    """Type and text."""
    request = {"StreamName": "s", "ShardId": SHARD, "ShardIteratorType": "TRIM_HORIZON", **options}
    got, said = failure(kinesis.get_shard_iterator, **request)
    assert got == kind
    assert text in said


def test_a_number_of_another_shard_is_refused(kinesis, stream):
    """It says of which shard it is."""
    number = put(kinesis, ExplicitHashKey=str(END))["SequenceNumber"]
    kind, text = failure(iterator, kinesis, "AT_SEQUENCE_NUMBER", StartingSequenceNumber=number)
    assert kind == "InvalidArgumentException"
    assert "It encodes shardId-000000000001, while it was used in a call to a shard with shardId-000000000000" in text


def test_short_shard_ids_are_understood(kinesis, stream):
    """As the service does."""
    put(kinesis, ExplicitHashKey="0")
    assert read(kinesis, shard="shardId-0") == read(kinesis, shard="x-0") == [b"x"]


def test_every_call_gives_another_iterator_and_used_ones_stay_valid(kinesis, stream):
    """Also where nothing is new; a retry with the old one gives the same records."""
    put(kinesis, ExplicitHashKey="0")
    first = iterator(kinesis)
    answers = [kinesis.get_records(ShardIterator=first) for _ in range(2)]
    assert [len(answer["Records"]) for answer in answers] == [1, 1]
    tip = answers[0]["NextShardIterator"]
    seen = {first, tip, *(kinesis.get_records(ShardIterator=tip)["NextShardIterator"] for _ in range(3))}
    assert len(seen) == 5
    assert len(kinesis.get_records(ShardIterator=f'"{first}"')["Records"]) == 1


def test_an_iterator_expires_after_five_minutes(kinesis, stream, service):
    """Not before; the error says when it was made."""
    kept = iterator(kinesis)
    service.clock_offset_us = 299_000_000
    assert kinesis.get_records(ShardIterator=kept)["Records"] == []
    service.clock_offset_us = 301_000_000
    kind, text = failure(kinesis.get_records, ShardIterator=kept)
    assert kind == "ExpiredIteratorException"
    assert text.startswith("Iterator expired. The iterator was created at time ")
    assert "tolerated delay of 300000 milliseconds" in text


@pytest.mark.parametrize("damage", ["", "x", "AAAA", "flip", "cut", "é", "A" * 513])
def test_a_damaged_iterator_is_refused(kinesis, stream, damage):
    """Whatever was done to it, it is a 400."""
    kept = iterator(kinesis)
    if damage == "flip":
        damage = kept[:-9] + ("A" if kept[-9] != "A" else "B") + kept[-8:]
    elif damage == "cut":
        damage = kept[:-4]
    kind, _ = failure(kinesis.get_records, ShardIterator=damage)
    assert kind in ("InvalidArgumentException", "ValidationException")


def test_limit_and_behind(kinesis, stream, service):
    """Limit bounds a batch; MillisBehindLatest is the age of the first unread record, and 0 at the tip."""
    for _ in range(3):
        put(kinesis, ExplicitHashKey="0")
    service.clock_offset_us = 60_000_000
    answer = kinesis.get_records(ShardIterator=iterator(kinesis), Limit=2)
    assert len(answer["Records"]) == 2
    assert 60_000 <= answer["MillisBehindLatest"] < 70_000
    answer = kinesis.get_records(ShardIterator=answer["NextShardIterator"], Limit=2)
    assert (len(answer["Records"]), answer["MillisBehindLatest"]) == (1, 0)
    for limit in (0, 10_001):
        assert failure(kinesis.get_records, ShardIterator=iterator(kinesis), Limit=limit)[0] == "ValidationException"


def test_an_iterator_of_a_deleted_stream_is_not_found(kinesis, stream):
    """Also where a new stream has its name."""
    kept = iterator(kinesis)
    kinesis.delete_stream(StreamName="s")
    kinesis.create_stream(StreamName="s", ShardCount=1)
    assert failure(kinesis.get_records, ShardIterator=kept)[0] == "ResourceNotFoundException"
