"""Splits, merges and new counts through the API, and the five things that the KCL relies on."""

from __future__ import annotations

import threading
import time

import pytest
from botocore.exceptions import ClientError

END = (1 << 128) - 1
ARN = "arn:aws:kinesis:us-east-1:000000000000:stream/s"


def failure(call, **options):
    """The type and text of the error that a call ends in."""
    with pytest.raises(ClientError) as caught:
        call(**options)
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


@pytest.fixture
def split(kinesis):
    """A stream whose one shard, with a record in it, was split in the middle."""
    kinesis.create_stream(StreamName="s", ShardCount=1)
    kinesis.put_record(StreamName="s", Data=b"old", PartitionKey="k")
    kinesis.split_shard(StreamName="s", ShardToSplit="shardId-000000000000", NewStartingHashKey=str(1 << 127))
    return kinesis


def shards(kinesis, **filtered):
    options = {"ShardFilter": filtered} if filtered else {}
    return {item["ShardId"][-1]: item for item in kinesis.list_shards(StreamName="s", **options)["Shards"]}


def ranges(found):
    """The hash ranges of shards without an end, sorted."""
    still = [item for item in found.values() if "EndingSequenceNumber" not in item["SequenceNumberRange"]]
    return sorted(
        (int(item["HashKeyRange"]["StartingHashKey"]), int(item["HashKeyRange"]["EndingHashKey"])) for item in still
    )


def iterator(kinesis, shard, kind="TRIM_HORIZON", **more):
    return kinesis.get_shard_iterator(StreamName="s", ShardId=shard, ShardIteratorType=kind, **more)["ShardIterator"]


def test_a_split_leaves_contiguous_ranges_and_tells_parents(split):
    """The parent has an end and is listed; open shards have none; both children name it."""
    found = shards(split)
    assert set(found) == {"0", "1", "2"}
    assert ranges(found) == [(0, (1 << 127) - 1), (1 << 127, END)]
    assert "EndingSequenceNumber" in found["0"]["SequenceNumberRange"]
    assert [found[each].get("ParentShardId") for each in "012"] == [
        None,
        "shardId-000000000000",
        "shardId-000000000000",
    ]
    assert split.describe_stream_summary(StreamName="s")["StreamDescriptionSummary"]["OpenShardCount"] == 2
    start = int(found["1"]["SequenceNumberRange"]["StartingSequenceNumber"])
    assert start > int(found["0"]["SequenceNumberRange"]["EndingSequenceNumber"])


def test_a_merge_names_both_parents(split):
    """The parent and the adjacent parent."""
    split.merge_shards(StreamName="s", ShardToMerge="shardId-000000000001", AdjacentShardToMerge="shardId-000000000002")
    found = shards(split)
    assert ranges(found) == [(0, END)]
    parents = {found["3"]["ParentShardId"], found["3"]["AdjacentParentShardId"]}
    assert parents == {"shardId-000000000001", "shardId-000000000002"}


def test_a_split_that_died_half_way_leaves_no_hole(split, store, monkeypatch):
    """A listing met a split whose parent's log was closed and whose children were not there yet: its open ranges had a
    hole, and a producer had nowhere to put. Until the children are there the parent is shown as open.
    """
    stream = store.stream("s")
    with monkeypatch.context() as patch:
        patch.setattr(type(stream.catalog), "commit", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            stream.split_shard("shardId-000000000001", 1 << 126)
    assert stream.shard("shardId-000000000001").is_closed
    whole = [(0, (1 << 127) - 1), (1 << 127, END)]
    assert ranges(shards(split)) == ranges(shards(split, Type="AT_LATEST")) == whole
    described = split.describe_stream(StreamName="s")["StreamDescription"]["Shards"]
    assert ranges({item["ShardId"]: item for item in described}) == whole
    split.put_record(StreamName="s", Data=b"new", PartitionKey="k", ExplicitHashKey="1")
    assert len(ranges(shards(split))) == 3


def test_a_count_is_reached_with_ranges_that_tile(split):
    """Up and down; the answer says from what to what."""
    for target in (5, 2):
        before = len(ranges(shards(split)))
        answer = split.update_shard_count(StreamName="s", TargetShardCount=target, ScalingType="UNIFORM_SCALING")
        assert (answer["CurrentShardCount"], answer["TargetShardCount"]) == (before, target)
        found = ranges(shards(split))
        assert len(found) == target
        assert [start for start, _ in found] == [0, *(end + 1 for _, end in found[:-1])]
        assert found[-1][1] == END


def test_a_closed_shard_ends_with_its_children_and_no_iterator(split):
    """Also for LATEST, whose iterator is valid first; EFO and GetRecords agree."""
    answer = split.get_records(ShardIterator=iterator(split, "shardId-000000000000"))
    assert [item["Data"] for item in answer["Records"]] == [b"old"]
    if "NextShardIterator" in answer:
        answer = split.get_records(ShardIterator=answer["NextShardIterator"])
    assert "NextShardIterator" not in answer
    children = answer["ChildShards"]
    assert [item["ShardId"][-1] for item in children] == ["1", "2"]
    assert children[0]["ParentShards"] == ["shardId-000000000000"]
    assert children[1]["HashKeyRange"] == {"StartingHashKey": str(1 << 127), "EndingHashKey": str(END)}
    latest = split.get_records(ShardIterator=iterator(split, "shardId-000000000000", "LATEST"))
    assert (latest["Records"], "NextShardIterator" in latest) == ([], False)
    assert latest["ChildShards"] == children
    consumer = split.register_stream_consumer(StreamARN=ARN, ConsumerName="c")["Consumer"]["ConsumerARN"]
    events = list(
        split.subscribe_to_shard(
            ConsumerARN=consumer, ShardId="shardId-000000000000", StartingPosition={"Type": "TRIM_HORIZON"}
        )["EventStream"]
    )
    last = events[-1]["SubscribeToShardEvent"]
    assert last["ChildShards"] == children
    assert "ContinuationSequenceNumber" not in last
    assert [item["Data"] for event in events for item in event["SubscribeToShardEvent"]["Records"]] == [b"old"]


def test_a_subscription_meets_the_split_while_it_waits(kinesis):
    """The shard's end reaches it as an event with children, at once."""
    kinesis.create_stream(StreamName="s", ShardCount=1)
    consumer = kinesis.register_stream_consumer(StreamARN=ARN, ConsumerName="c")["Consumer"]["ConsumerARN"]
    events = kinesis.subscribe_to_shard(ConsumerARN=consumer, ShardId="0", StartingPosition={"Type": "LATEST"})
    found = []
    reader = threading.Thread(target=lambda: found.extend(events["EventStream"]))
    reader.start()
    while not found:
        time.sleep(0.005)
    kinesis.split_shard(StreamName="s", ShardToSplit="shardId-000000000000", NewStartingHashKey=str(1 << 127))
    reader.join(20)
    assert [item["ShardId"][-1] for item in found[-1]["SubscribeToShardEvent"]["ChildShards"]] == ["1", "2"]


def test_filters_pick_shards_by_time_and_place(split):
    """All six; a time must be given where it is used, and only there."""
    time.sleep(0.01)
    split.put_record(StreamName="s", Data=b"new", PartitionKey="k", ExplicitHashKey="0")
    assert set(shards(split, Type="AT_LATEST")) == {"1", "2"}
    assert set(shards(split, Type="AT_TRIM_HORIZON")) == {"0"}
    assert set(shards(split, Type="FROM_TRIM_HORIZON")) == {"0", "1", "2"}
    assert set(shards(split, Type="AFTER_SHARD_ID", ShardId="shardId-000000000001")) == {"2"}
    new = split.get_records(ShardIterator=iterator(split, "shardId-000000000001"))["Records"][0]
    arrival = new["ApproximateArrivalTimestamp"]
    assert set(shards(split, Type="AT_TIMESTAMP", Timestamp=arrival)) == {"1", "2"}
    assert set(shards(split, Type="FROM_TIMESTAMP", Timestamp=arrival)) == {"1", "2"}
    assert set(shards(split, Type="FROM_TIMESTAMP", Timestamp=0)) == {"0", "1", "2"}
    for filtered in ({"Type": "AT_TIMESTAMP"}, {"Type": "AT_LATEST", "Timestamp": 1}, {"Type": "AFTER_SHARD_ID"}):
        assert failure(split.list_shards, StreamName="s", ShardFilter=filtered)[0] == "InvalidArgumentException"


def test_ordering_takes_a_parents_number(split):
    """After a reshard too."""
    start = shards(split)["0"]["SequenceNumberRange"]["StartingSequenceNumber"]
    old = split.get_records(ShardIterator=iterator(split, "0", "AT_SEQUENCE_NUMBER", StartingSequenceNumber=start))
    number = old["Records"][0]["SequenceNumber"]
    put = split.put_record(StreamName="s", Data=b"x", PartitionKey="k", SequenceNumberForOrdering=number)
    assert int(put["SequenceNumber"]) > int(number)


def test_what_cannot_be_resharded_is_refused(split):
    """A closed shard, a key at the edge, shards that are not neighbours, an on-demand stream."""
    key = {"NewStartingHashKey": str(1 << 126)}
    kind, text = failure(split.split_shard, StreamName="s", ShardToSplit="shardId-000000000000", **key)
    assert kind == "InvalidArgumentException"
    assert text.endswith("already been merged or split, and thus is not eligible for merging or splitting.")
    for bad in ("0", "1", str(END), str(1 << 127)):
        options = {"StreamName": "s", "ShardToSplit": "shardId-000000000001", "NewStartingHashKey": bad}
        kind, text = failure(split.split_shard, **options)
        assert (kind, "is not both greater than one plus" in text) == ("InvalidArgumentException", True)
    split.split_shard(StreamName="s", ShardToSplit="shardId-000000000001", **key)
    options = {
        "StreamName": "s",
        "ShardToMerge": "shardId-000000000003",
        "AdjacentShardToMerge": "shardId-000000000002",
    }
    assert "not an adjacent pair" in failure(split.merge_shards, **options)[1]
    split.update_stream_mode(StreamARN=ARN, StreamModeDetails={"StreamMode": "ON_DEMAND"})
    options = {"StreamName": "s", "TargetShardCount": 2, "ScalingType": "UNIFORM_SCALING"}
    assert failure(split.update_shard_count, **options) == (
        "ValidationException",
        "Request is invalid. Stream s under account 000000000000 is in On-Demand mode.",
    )
