"""Streams, shards, tags, settings and consumers through the API: what is made, listed, changed and refused."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

import streamstore

ARN = "arn:aws:kinesis:us-east-1:000000000000:stream/s"


def failure(call, **options):
    """The type and text of the error that a call ends in."""
    with pytest.raises(ClientError) as caught:
        call(**options)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


@pytest.fixture
def stream(kinesis):
    """An on-demand stream."""
    kinesis.create_stream(StreamName="s", StreamModeDetails={"StreamMode": "ON_DEMAND"})
    return "s"


def summary(kinesis, name="s"):
    return kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]


def test_a_stream_is_as_it_was_asked_for(kinesis):
    """Mode, shards, tags, record size and strategy; four shards where nothing is said."""
    kinesis.create_stream(
        StreamName="a",
        StreamModeDetails={"StreamMode": "ON_DEMAND"},
        Tags={"team": "x"},
        MaxRecordSizeInKiB=2048,
        RecordDistributionStrategy="AUTO",
    )
    kinesis.create_stream(StreamName="b", ShardCount=3)
    kinesis.create_stream(StreamName="c")
    shown = [summary(kinesis, name) for name in "abc"]
    assert [item["OpenShardCount"] for item in shown] == [4, 3, 4]
    assert [item["StreamModeDetails"]["StreamMode"] for item in shown] == ["ON_DEMAND", "PROVISIONED", "PROVISIONED"]
    assert (shown[0]["MaxRecordSizeInKiB"], shown[0]["RecordDistributionStrategy"]) == (2048, "AUTO")
    assert (shown[1]["MaxRecordSizeInKiB"], "RecordDistributionStrategy" in shown[1]) == (1024, False)
    assert shown[0]["StreamStatus"] == "ACTIVE"
    assert shown[0]["RetentionPeriodHours"] == 24
    assert kinesis.list_tags_for_stream(StreamName="a")["Tags"] == [{"Key": "team", "Value": "x"}]


def test_streams_that_cannot_be_are_refused(kinesis, stream):
    """With the service's types."""
    kind, text = failure(kinesis.create_stream, StreamName="s", ShardCount=1)
    assert (kind, text) == ("ResourceInUseException", "Stream s under account 000000000000 already exists.")
    assert failure(kinesis.create_stream, StreamName="a/b", ShardCount=1)[0] == "ValidationException"
    assert failure(kinesis.create_stream, StreamName="x" * 129, ShardCount=1)[0] == "ValidationException"
    assert failure(kinesis.create_stream, StreamName="x", ShardCount=0)[0] == "ValidationException"
    kind, text = failure(kinesis.create_stream, StreamName="x", ShardCount=1_000_000)
    assert kind == "LimitExceededException"
    assert "This request would exceed the shard limit for the account 000000000000 in us-east-1." in text
    for options in ({"RecordDistributionStrategy": "AUTO"}, {"WarmThroughputMiBps": 5}):
        assert failure(kinesis.create_stream, StreamName="x", **options)[0] == "InvalidArgumentException"


def test_several_constraints_are_told_at_once(kinesis):
    """Joined, with their number."""
    kind, text = failure(kinesis.get_records, ShardIterator="", Limit=0)
    assert kind == "ValidationException"
    assert text.startswith("2 validation errors detected: Value '' at 'shardIterator' failed to satisfy constraint: ")
    assert (
        "; Value '0' at 'limit' failed to satisfy constraint: Member must have value greater than or equal to 1" in text
    )


def test_streams_are_listed_in_pages(kinesis):
    """By token and by name; the paginator finds all."""
    names = [f"s{number:03d}" for number in range(7)]
    for name in names:
        kinesis.create_stream(StreamName=name, ShardCount=1)
    first = kinesis.list_streams(Limit=3)
    assert (first["StreamNames"], first["HasMoreStreams"]) == (names[:3], True)
    assert kinesis.list_streams(Limit=3, NextToken=first["NextToken"])["StreamNames"] == names[3:6]
    assert kinesis.list_streams(ExclusiveStartStreamName="s004")["StreamNames"] == names[5:]
    pages = kinesis.get_paginator("list_streams").paginate(PaginationConfig={"PageSize": 2})
    assert [name for page in pages for name in page["StreamNames"]] == names
    assert first["StreamSummaries"][0]["StreamARN"].endswith(":stream/s000")
    assert failure(kinesis.list_streams, NextToken="forged")[0] == "InvalidArgumentException"


def test_shards_are_listed_in_pages(kinesis):
    """Contiguous open ranges over the whole space, none with an end."""
    kinesis.create_stream(StreamName="s", ShardCount=5)
    page = kinesis.list_shards(StreamName="s", MaxResults=2)
    shards = page["Shards"]
    while "NextToken" in page:  # as in the service, botocore's paginator fails on a second page: it names the stream
        page = kinesis.list_shards(NextToken=page["NextToken"], MaxResults=2)
        shards += page["Shards"]
    assert [
        item for page in kinesis.get_paginator("list_shards").paginate(StreamName="s") for item in page["Shards"]
    ] == shards
    ranges = [
        (int(item["HashKeyRange"]["StartingHashKey"]), int(item["HashKeyRange"]["EndingHashKey"])) for item in shards
    ]
    assert [start for start, _ in ranges] == [0, *(end + 1 for _, end in ranges[:-1])]
    assert ranges[-1][1] == (1 << 128) - 1
    assert not any("EndingSequenceNumber" in item["SequenceNumberRange"] for item in shards)
    pages = kinesis.get_paginator("describe_stream").paginate(StreamName="s", PaginationConfig={"PageSize": 2})
    assert [item for page in pages for item in page["StreamDescription"]["Shards"]] == shards
    token = kinesis.list_shards(StreamName="s", MaxResults=2)["NextToken"]
    assert failure(kinesis.list_shards, StreamName="s", NextToken=token) == (
        "InvalidArgumentException",
        "NextToken and StreamName cannot be provided together.",
    )
    assert failure(kinesis.list_shards)[1] == "Either NextToken or StreamName should be provided."


def test_a_stream_is_addressed_by_arn(kinesis, stream):
    """By ARN as by name; another account's is not found, one that does not fit the name is refused."""
    assert kinesis.describe_stream(StreamARN=ARN)["StreamDescription"]["StreamName"] == "s"
    assert failure(kinesis.describe_stream, StreamARN=ARN, StreamName="t")[0] == "InvalidArgumentException"
    foreign = ARN.replace("0" * 12, "1" * 12)
    assert failure(kinesis.describe_stream, StreamARN=foreign)[0] == "ResourceNotFoundException"
    assert failure(kinesis.describe_stream, StreamARN="arn:x")[0] == "ValidationException"


def test_tags_by_name_and_by_arn(kinesis, stream):
    """Both see the same; 50 at most; strange characters are refused."""
    kinesis.add_tags_to_stream(StreamName="s", Tags={"a": "1", "b": "2"})
    kinesis.tag_resource(ResourceARN=ARN, Tags={"b": "3", "c": ""})
    listed = [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "3"}, {"Key": "c", "Value": ""}]
    assert kinesis.list_tags_for_resource(ResourceARN=ARN)["Tags"] == listed
    first = kinesis.list_tags_for_stream(StreamName="s", Limit=1)
    assert (first["Tags"], first["HasMoreTags"]) == (listed[:1], True)
    assert kinesis.list_tags_for_stream(StreamName="s", ExclusiveStartTagKey="a")["Tags"] == listed[1:]
    kinesis.untag_resource(ResourceARN=ARN, TagKeys=["a"])
    kinesis.remove_tags_from_stream(StreamName="s", TagKeys=["b", "nope"])
    assert kinesis.list_tags_for_stream(StreamName="s")["Tags"] == listed[2:]
    many = {f"k{number}": "v" for number in range(50)}
    kind, text = failure(kinesis.add_tags_to_stream, StreamName="s", Tags=many)
    assert (kind, "cannot have more than 50 tags" in text) == ("InvalidArgumentException", True)
    kind, text = failure(kinesis.add_tags_to_stream, StreamName="s", Tags={"a": "<"})
    assert (kind, "Some tags contain invalid characters" in text) == ("InvalidArgumentException", True)
    kind, text = failure(kinesis.add_tags_to_stream, StreamName="s", Tags={"aws:a": "1"})
    assert (kind, "reserved" in text) == ("InvalidArgumentException", True)
    assert failure(kinesis.tag_resource, ResourceARN=f"{ARN}x", Tags={"a": "b"})[0] == "ResourceNotFoundException"


def test_consumers_are_kept_with_their_stream(kinesis, stream, store):
    """Registered, described by ARN and by name, listed in pages, tagged, gone."""
    made = [kinesis.register_stream_consumer(StreamARN=ARN, ConsumerName=name)["Consumer"] for name in ("a", "b", "c")]
    assert made[0]["ConsumerStatus"] == "CREATING"
    assert made[0]["ConsumerARN"].startswith(f"{ARN}/consumer/a:")
    shown = kinesis.describe_stream_consumer(ConsumerARN=made[0]["ConsumerARN"])["ConsumerDescription"]
    assert (shown["ConsumerStatus"], shown["StreamARN"]) == ("ACTIVE", ARN)
    assert shown == kinesis.describe_stream_consumer(StreamARN=ARN, ConsumerName="a")["ConsumerDescription"]
    pages = kinesis.get_paginator("list_stream_consumers").paginate(StreamARN=ARN, PaginationConfig={"PageSize": 2})
    assert [item["ConsumerName"] for page in pages for item in page["Consumers"]] == ["a", "b", "c"]
    assert failure(kinesis.register_stream_consumer, StreamARN=ARN, ConsumerName="a")[0] == "ResourceInUseException"
    kinesis.tag_resource(ResourceARN=made[0]["ConsumerARN"], Tags={"x": "y"})
    assert kinesis.list_tags_for_resource(ResourceARN=made[0]["ConsumerARN"])["Tags"] == [{"Key": "x", "Value": "y"}]
    assert kinesis.list_tags_for_stream(StreamName="s")["Tags"] == []
    assert summary(kinesis)["ConsumerCount"] == 3
    kinesis.deregister_stream_consumer(StreamARN=ARN, ConsumerName="b")
    assert failure(kinesis.describe_stream_consumer, StreamARN=ARN, ConsumerName="b") == (
        "ResourceNotFoundException",
        "Consumer b, account 000000000000 not found.",
    )
    assert failure(kinesis.delete_stream, StreamName="s")[0] == "ResourceInUseException"
    kinesis.delete_stream(StreamName="s", EnforceConsumerDeletion=True)
    assert store.list_streams() == []


def test_retention_is_set_both_ways(kinesis, stream):
    """Bounds and directions with the service's texts; the same value is no change in either."""
    kinesis.increase_stream_retention_period(StreamName="s", RetentionPeriodHours=48)
    kinesis.increase_stream_retention_period(StreamName="s", RetentionPeriodHours=48)
    kinesis.decrease_stream_retention_period(StreamName="s", RetentionPeriodHours=48)
    assert summary(kinesis)["RetentionPeriodHours"] == 48
    for call, hours, said in (
        (kinesis.decrease_stream_retention_period, 23, "Minimum allowed retention period is 24 hours."),
        (kinesis.increase_stream_retention_period, 8761, "Maximum allowed retention period is 8760 hours."),
        (kinesis.increase_stream_retention_period, 24, "Use DecreaseRetentionPeriod API."),
        (kinesis.decrease_stream_retention_period, 72, "Use IncreaseRetentionPeriod API."),
    ):
        kind, text = failure(call, StreamName="s", RetentionPeriodHours=hours)
        assert kind == "InvalidArgumentException"
        assert said in text
    kinesis.decrease_stream_retention_period(StreamName="s", RetentionPeriodHours=24)
    assert summary(kinesis)["RetentionPeriodHours"] == 24


def test_the_record_size_is_changed_at_once(kinesis, stream, store):
    """Up to 10 MiB, data and key together; a stream made with less in Python says so."""
    put = {"StreamName": "s", "Data": b"x" * (2 << 20), "PartitionKey": "k"}
    assert failure(kinesis.put_record, **put)[0] == "ValidationException"
    kinesis.update_max_record_size(StreamARN=ARN, MaxRecordSizeInKiB=10240)
    assert summary(kinesis)["MaxRecordSizeInKiB"] == 10240
    kinesis.put_record(**put)
    largest = b"x" * ((10 << 20) - 1)
    answer = kinesis.put_records(StreamName="s", Records=[{"Data": largest, "PartitionKey": "k"}])
    assert answer["FailedRecordCount"] == 0
    assert "10485760" in failure(kinesis.put_record, **{**put, "Data": largest + b"x"})[1]
    for size in (1023, 10241):
        assert (
            failure(kinesis.update_max_record_size, StreamARN=ARN, MaxRecordSizeInKiB=size)[0] == "ValidationException"
        )
    store.create_stream("small")
    arn = ARN.replace("/s", "/small")
    kind, text = failure(kinesis.update_max_record_size, StreamARN=arn, MaxRecordSizeInKiB=2048)
    assert (kind, "was made with records of at most 1048576" in text) == ("InvalidArgumentException", True)


def test_absent_partition_keys(kinesis, stream):
    """With AUTO, keys and explicit hash keys place nothing, an absent key stays absent, and order is nobody's."""
    assert failure(kinesis.put_record, StreamName="s", Data=b"x")[0] == "ValidationException"
    kinesis.update_stream_record_distribution_strategy(StreamARN=ARN, RecordDistributionStrategy="AUTO")
    shards = {kinesis.put_record(StreamName="s", Data=b"x", ExplicitHashKey="0")["ShardId"] for _ in range(64)}
    assert len(shards) == 4
    kinesis.put_records(StreamName="s", Records=[{"Data": b"y"}])
    found = []
    for shard in shards:
        iterator = kinesis.get_shard_iterator(StreamName="s", ShardId=shard, ShardIteratorType="TRIM_HORIZON")
        found += kinesis.get_records(ShardIterator=iterator["ShardIterator"])["Records"]
    assert len(found) == 65
    assert not any("PartitionKey" in record for record in found)
    text = failure(kinesis.put_record, StreamName="s", Data=b"x", SequenceNumberForOrdering="1")[1]
    assert "AUTO" in text
    kinesis.update_stream_mode(StreamARN=ARN, StreamModeDetails={"StreamMode": "PROVISIONED"})
    assert failure(kinesis.put_record, StreamName="s", Data=b"x")[0] == "ValidationException"
    kind, _ = failure(
        kinesis.update_stream_record_distribution_strategy, StreamARN=ARN, RecordDistributionStrategy="AUTO"
    )
    assert kind == "InvalidArgumentException"


def test_monitoring_shows_before_and_after(kinesis, stream):
    """ALL means all seven."""
    answer = kinesis.enable_enhanced_monitoring(StreamName="s", ShardLevelMetrics=["IncomingBytes"])
    assert (answer["CurrentShardLevelMetrics"], answer["DesiredShardLevelMetrics"]) == ([], ["IncomingBytes"])
    answer = kinesis.enable_enhanced_monitoring(StreamName="s", ShardLevelMetrics=["ALL"])
    assert len(answer["DesiredShardLevelMetrics"]) == 7
    answer = kinesis.disable_enhanced_monitoring(StreamName="s", ShardLevelMetrics=["IncomingBytes", "OutgoingBytes"])
    assert len(answer["DesiredShardLevelMetrics"]) == 5
    assert len(summary(kinesis)["EnhancedMonitoring"][0]["ShardLevelMetrics"]) == 5


def test_policies_are_stored_checked_and_deleted(kinesis, stream):
    """None is {}; deleting none, and a policy without form, are errors."""
    policy = '{"Statement": {"Effect": "Allow", "Principal": "*", "Action": "kinesis:PutRecord", "Resource": "*"}}'
    assert kinesis.get_resource_policy(ResourceARN=ARN)["Policy"] == "{}"
    assert failure(kinesis.delete_resource_policy, ResourceARN=ARN)[0] == "ResourceNotFoundException"
    kinesis.put_resource_policy(ResourceARN=ARN, Policy=policy)
    assert kinesis.get_resource_policy(ResourceARN=ARN)["Policy"] == policy
    kinesis.delete_resource_policy(ResourceARN=ARN)
    assert kinesis.get_resource_policy(ResourceARN=ARN)["Policy"] == "{}"
    for bad in ("", "[]", "{}", '{"Statement": []}', '{"Statement": [{"Effect": "Maybe"}]}', "[" * 5000):
        assert failure(kinesis.put_resource_policy, ResourceARN=ARN, Policy=bad)[0] == "InvalidArgumentException"


def test_account_settings_and_warm_throughput(kinesis, stream, service):
    """The commitment lasts a day; warm throughput needs it and an on-demand stream."""
    read = kinesis.describe_account_settings
    assert read()["MinimumThroughputBillingCommitment"] == {"Status": "DISABLED"}
    warm = {"StreamName": "s", "WarmThroughputMiBps": 100}
    assert failure(kinesis.update_stream_warm_throughput, **warm)[0] == "ValidationException"
    kinesis.update_account_settings(MinimumThroughputBillingCommitment={"Status": "ENABLED"})
    shown = kinesis.update_stream_warm_throughput(**warm)["WarmThroughput"]
    assert shown == {"TargetMiBps": 100, "CurrentMiBps": 100} == summary(kinesis)["WarmThroughput"]
    kinesis.update_account_settings(MinimumThroughputBillingCommitment={"Status": "DISABLED"})
    status = "ENABLED_UNTIL_EARLIEST_ALLOWED_END"
    assert read()["MinimumThroughputBillingCommitment"]["Status"] == status
    service.clock_offset_us = 25 * 3600 * 1_000_000
    assert read()["MinimumThroughputBillingCommitment"]["Status"] == "DISABLED"


def test_limits_are_described(kinesis, stream):
    """What is used, and more than anybody will use."""
    kinesis.create_stream(StreamName="p", ShardCount=3)
    shown = kinesis.describe_limits()
    assert (shown["OpenShardCount"], shown["OnDemandStreamCount"], shown["ChannelCount"]) == (3, 1, 0)
    assert shown["ShardLimit"] == 1_000_000


def test_channels_say_that_they_are_not_here(kinesis):
    """A typed 400; there are none to list."""
    arn = "arn:aws:kinesis:us-east-1:000000000000:channel/c"
    kind, text = failure(kinesis.describe_channel, ChannelARN=arn)
    assert (kind, "not supported by streamstore" in text) == ("InvalidArgumentException", True)
    assert kinesis.list_channels()["ChannelSummaries"] == []


def test_settings_are_there_after_a_reopen(kinesis, stream, store, tmp_path):
    """Tags, mode, consumers and policy are in the catalog."""
    kinesis.add_tags_to_stream(StreamName="s", Tags={"a": "1"})
    kinesis.register_stream_consumer(StreamARN=ARN, ConsumerName="c")
    before = kinesis.describe_stream_summary(StreamName="s")["StreamDescriptionSummary"]
    store.close()
    with streamstore.open(tmp_path / "store") as again:
        client = again.boto3_client()
        assert client.describe_stream_summary(StreamName="s")["StreamDescriptionSummary"] == before
        assert client.list_tags_for_stream(StreamName="s")["Tags"] == [{"Key": "a", "Value": "1"}]


def test_delays_show_a_stream_being_made(store):
    """With delays, a stream is CREATING first; puts do not find it yet, changes are refused."""
    kinesis = store.boto3_client(delays_s=60)
    kinesis.create_stream(StreamName="s", ShardCount=1)
    assert summary(kinesis)["StreamStatus"] == "CREATING"
    assert failure(kinesis.put_record, StreamName="s", Data=b"x", PartitionKey="k")[0] == "ResourceNotFoundException"
    kind, text = failure(kinesis.enable_enhanced_monitoring, StreamName="s", ShardLevelMetrics=["ALL"])
    assert (kind, text.endswith("not ACTIVE, instead in state CREATING")) == ("ResourceInUseException", True)
