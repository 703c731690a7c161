"""The same requests to several servers of the Kinesis API: prints a JSON map from each probe to what each server said.

    python differential.py NAME=URL ...

An outcome is the error's code, or what a probe takes out of the answer. Each probe has streams of its own.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError

FIRST = "shardId-000000000000"
PROBES: dict[str, Callable[[Any, str], Any]] = {}


def probe(name: str) -> Callable[[Callable[[Any, str], Any]], Callable[[Any, str], Any]]:
    """Enter a probe under the name that docs/kinesis.md judges it by. It gets a client, and a stream of one shard."""

    def enter(function: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
        PROBES[name] = function
        return function

    return enter


def simple(name: str, operation: str, **arguments: Any) -> None:
    """A probe of one call, of which only counts that it was taken, or how it was refused."""

    def ask(kinesis: Any, stream: str) -> str:
        given = {key: stream if value == "STREAM" else value for key, value in arguments.items()}
        getattr(kinesis, operation)(**given)
        return "taken"

    PROBES[name] = ask


def settle(kinesis: Any, stream: str) -> dict[str, Any]:
    """Wait until the stream is ACTIVE, and show it."""
    for _ in range(100):
        shown: dict[str, Any] = kinesis.describe_stream(StreamName=stream)["StreamDescription"]
        if shown["StreamStatus"] == "ACTIVE":
            return shown
        time.sleep(0.05)
    raise TimeoutError(stream)


def fill(kinesis: Any, stream: str, count: int = 5) -> list[str]:
    """Put records; their numbers."""
    return [
        kinesis.put_record(StreamName=stream, Data=b"%d" % number, PartitionKey="k")["SequenceNumber"]
        for number in range(count)
    ]


def iterator(kinesis: Any, stream: str, kind: str = "TRIM_HORIZON", shard: str = FIRST, **more: Any) -> str:
    """A shard iterator."""
    found = kinesis.get_shard_iterator(StreamName=stream, ShardId=shard, ShardIteratorType=kind, **more)
    text: str = found["ShardIterator"]
    return text


def read(kinesis: Any, at: str, **more: Any) -> list[str]:
    """The data of one GetRecords."""
    return [item["Data"].decode() for item in kinesis.get_records(ShardIterator=at, **more)["Records"]]


def split(kinesis: Any, stream: str) -> None:
    """Split the first shard in the middle."""
    kinesis.split_shard(StreamName=stream, ShardToSplit=FIRST, NewStartingHashKey=str(1 << 127))
    settle(kinesis, stream)


# --- what is refused ----------------------------------------------------------------------------------------------

simple("bad stream name", "create_stream", StreamName="a/b", ShardCount=1)
simple("stream name of 129", "create_stream", StreamName="a" * 129, ShardCount=1)
simple("0 shards", "create_stream", StreamName="zero", ShardCount=0)
simple("a stream that exists", "create_stream", StreamName="STREAM", ShardCount=1)
simple("describe of no stream", "describe_stream", StreamName="nowhere")
simple("delete of no stream", "delete_stream", StreamName="nowhere")
simple("put to no stream", "put_record", StreamName="nowhere", Data=b"", PartitionKey="k")
simple("list of no stream's shards", "list_shards", StreamName="nowhere")
simple("empty data", "put_record", StreamName="STREAM", Data=b"", PartitionKey="k")
simple("1 MiB and a byte with its key", "put_record", StreamName="STREAM", Data=bytes(1 << 20), PartitionKey="k")
simple("PutRecords of 501", "put_records", StreamName="STREAM", Records=[{"Data": b"", "PartitionKey": "k"}] * 501)
simple("PutRecords of 0", "put_records", StreamName="STREAM", Records=[])
simple("empty partition key", "put_record", StreamName="STREAM", Data=b"x", PartitionKey="")
simple("partition key of 257", "put_record", StreamName="STREAM", Data=b"x", PartitionKey="k" * 257)
simple(
    "hash key of 2^128", "put_record", StreamName="STREAM", Data=b"", PartitionKey="k", ExplicitHashKey=str(1 << 128)
)
simple("hash key 00", "put_record", StreamName="STREAM", Data=b"", PartitionKey="k", ExplicitHashKey="00")
simple(
    "ordering by no number",
    "put_record",
    StreamName="STREAM",
    Data=b"",
    PartitionKey="k",
    SequenceNumberForOrdering="5",
)
simple("a garbage iterator", "get_records", ShardIterator="garbage")
simple(
    "an iterator of no shard",
    "get_shard_iterator",
    StreamName="STREAM",
    ShardId="shardId-000000000009",
    ShardIteratorType="LATEST",
)
simple(
    "AT_SEQUENCE_NUMBER without one",
    "get_shard_iterator",
    StreamName="STREAM",
    ShardId=FIRST,
    ShardIteratorType="AT_SEQUENCE_NUMBER",
)
simple(
    "AT_SEQUENCE_NUMBER of `0`",
    "get_shard_iterator",
    StreamName="STREAM",
    ShardId=FIRST,
    ShardIteratorType="AT_SEQUENCE_NUMBER",
    StartingSequenceNumber="0",
)
simple(
    "AT_TIMESTAMP without one",
    "get_shard_iterator",
    StreamName="STREAM",
    ShardId=FIRST,
    ShardIteratorType="AT_TIMESTAMP",
)
simple(
    "AT_TIMESTAMP in the future",
    "get_shard_iterator",
    StreamName="STREAM",
    ShardId=FIRST,
    ShardIteratorType="AT_TIMESTAMP",
    Timestamp=4_000_000_000,
)
simple("a short shard id", "get_shard_iterator", StreamName="STREAM", ShardId="0", ShardIteratorType="TRIM_HORIZON")
simple("retention of 23 hours", "increase_stream_retention_period", StreamName="STREAM", RetentionPeriodHours=23)
simple("retention of 8761 hours", "increase_stream_retention_period", StreamName="STREAM", RetentionPeriodHours=8761)
simple("a decrease that increases", "decrease_stream_retention_period", StreamName="STREAM", RetentionPeriodHours=48)
simple("split at the shard's first key", "split_shard", StreamName="STREAM", ShardToSplit=FIRST, NewStartingHashKey="0")
simple(
    "split of no shard", "split_shard", StreamName="STREAM", ShardToSplit="shardId-000000000009", NewStartingHashKey="5"
)
simple("merge with itself", "merge_shards", StreamName="STREAM", ShardToMerge=FIRST, AdjacentShardToMerge=FIRST)
simple(
    "UpdateShardCount to three times",
    "update_shard_count",
    StreamName="STREAM",
    TargetShardCount=3,
    ScalingType="UNIFORM_SCALING",
)
simple("a tag of aws:", "add_tags_to_stream", StreamName="STREAM", Tags={"aws:x": "1"})
simple("51 tags", "add_tags_to_stream", StreamName="STREAM", Tags={f"k{number}": "" for number in range(51)})
simple("removal of no tag", "remove_tags_from_stream", StreamName="STREAM", TagKeys=["nothing"])
simple("an unknown metric", "enable_enhanced_monitoring", StreamName="STREAM", ShardLevelMetrics=["Nothing"])
simple("encryption without a key", "start_stream_encryption", StreamName="STREAM", EncryptionType="KMS", KeyId="")
simple("a stop of no encryption", "stop_stream_encryption", StreamName="STREAM", EncryptionType="KMS", KeyId="alias/a")
simple("neither name nor ARN", "describe_stream_summary")


def with_arn(name: str, operation: str, **arguments: Any) -> None:
    """A probe of one call that takes the stream's ARN in the place of ARN."""

    def ask(kinesis: Any, stream: str) -> str:
        arn = kinesis.describe_stream(StreamName=stream)["StreamDescription"]["StreamARN"]
        given = {key: arn if value == "ARN" else value for key, value in arguments.items()}
        getattr(kinesis, operation)(**given)
        return "taken"

    PROBES[name] = ask


with_arn("delete of no policy", "delete_resource_policy", ResourceARN="ARN")
with_arn("a policy that is no JSON", "put_resource_policy", ResourceARN="ARN", Policy="{")
with_arn("UpdateMaxRecordSize 1023", "update_max_record_size", StreamARN="ARN", MaxRecordSizeInKiB=1023)
with_arn("UpdateMaxRecordSize 2048", "update_max_record_size", StreamARN="ARN", MaxRecordSizeInKiB=2048)
with_arn("describe of no consumer", "describe_stream_consumer", StreamARN="ARN", ConsumerName="nobody")
with_arn("deregister of no consumer", "deregister_stream_consumer", StreamARN="ARN", ConsumerName="nobody")
with_arn("a stream by its ARN", "describe_stream_summary", StreamARN="ARN")
with_arn("tags of a resource", "tag_resource", ResourceARN="ARN", Tags={"a": "1"})
with_arn(
    "a mode that is so already", "update_stream_mode", StreamARN="ARN", StreamModeDetails={"StreamMode": "PROVISIONED"}
)


@probe("Limit 0")
def limit_0(kinesis: Any, stream: str) -> Any:
    return len(read(kinesis, iterator(kinesis, stream), Limit=0))


@probe("Limit 10001")
def limit_10001(kinesis: Any, stream: str) -> Any:
    return len(read(kinesis, iterator(kinesis, stream), Limit=10_001))


@probe("split of a closed shard")
def split_twice(kinesis: Any, stream: str) -> Any:
    split(kinesis, stream)
    kinesis.split_shard(StreamName=stream, ShardToSplit=FIRST, NewStartingHashKey="5")
    return "taken"


@probe("merge of shards that do not adjoin")
def merge_apart(kinesis: Any, stream: str) -> Any:
    split(kinesis, stream)
    kinesis.split_shard(StreamName=stream, ShardToSplit="shardId-000000000001", NewStartingHashKey="5")
    settle(kinesis, stream)
    kinesis.merge_shards(
        StreamName=stream, ShardToMerge="shardId-000000000003", AdjacentShardToMerge="shardId-000000000009"
    )
    return "taken"


@probe("NextToken with StreamName")
def token_and_name(kinesis: Any, stream: str) -> Any:
    split(kinesis, stream)
    token = kinesis.list_shards(StreamName=stream, MaxResults=1)["NextToken"]
    kinesis.list_shards(StreamName=stream, NextToken=token)
    return "taken"


@probe("a consumer registered twice")
def consumer_twice(kinesis: Any, stream: str) -> Any:
    arn = settle(kinesis, stream)["StreamARN"]
    for _ in range(2):
        kinesis.register_stream_consumer(StreamARN=arn, ConsumerName="c")
    return "taken"


@probe("delete of a stream with a consumer")
def delete_with_consumer(kinesis: Any, stream: str) -> Any:
    kinesis.register_stream_consumer(StreamARN=settle(kinesis, stream)["StreamARN"], ConsumerName="c")
    kinesis.delete_stream(StreamName=stream)
    return "taken"


# --- what is answered ---------------------------------------------------------------------------------------------


@probe("members of DescribeStream")
def describe_members(kinesis: Any, stream: str) -> Any:
    return sorted(settle(kinesis, stream))


@probe("members of DescribeStreamSummary")
def summary_members(kinesis: Any, stream: str) -> Any:
    return sorted(kinesis.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"])


@probe("members of PutRecord's answer")
def put_members(kinesis: Any, stream: str) -> Any:
    answer = kinesis.put_record(StreamName=stream, Data=b"x", PartitionKey="k")
    return sorted(set(answer) - {"ResponseMetadata"})


@probe("members of a record")
def record_members(kinesis: Any, stream: str) -> Any:
    fill(kinesis, stream, 1)
    return sorted(kinesis.get_records(ShardIterator=iterator(kinesis, stream))["Records"][0])


@probe("members of GetRecords' answer")
def get_members(kinesis: Any, stream: str) -> Any:
    return sorted(set(kinesis.get_records(ShardIterator=iterator(kinesis, stream))) - {"ResponseMetadata"})


@probe("members of ListStreams' answer")
def list_members(kinesis: Any, stream: str) -> Any:
    return sorted(set(kinesis.list_streams()) - {"ResponseMetadata"})


@probe("ranges of three shards")
def ranges(kinesis: Any, stream: str) -> Any:
    kinesis.create_stream(StreamName=f"{stream}-3", ShardCount=3)
    shards = settle(kinesis, f"{stream}-3")["Shards"]
    return [list(shard["HashKeyRange"].values()) for shard in shards]


@probe("where keys go")
def routes(kinesis: Any, stream: str) -> Any:
    kinesis.create_stream(StreamName=f"{stream}-4", ShardCount=4)
    settle(kinesis, f"{stream}-4")
    put = [kinesis.put_record(StreamName=f"{stream}-4", Data=b"x", PartitionKey=f"k{n}") for n in range(12)]
    return [answer["ShardId"] for answer in put]


@probe("reading from the start")
def from_start(kinesis: Any, stream: str) -> Any:
    fill(kinesis, stream)
    return read(kinesis, iterator(kinesis, stream))


@probe("a Limit of 2, then the rest")
def in_pages(kinesis: Any, stream: str) -> Any:
    fill(kinesis, stream)
    first = kinesis.get_records(ShardIterator=iterator(kinesis, stream), Limit=2)
    return [len(first["Records"]), read(kinesis, first["NextShardIterator"])]


@probe("AT and AFTER a number")
def at_and_after(kinesis: Any, stream: str) -> Any:
    number = fill(kinesis, stream)[2]
    return [
        read(kinesis, iterator(kinesis, stream, kind, StartingSequenceNumber=number))
        for kind in ("AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER")
    ]


@probe("LATEST is fixed when it is asked for")
def latest(kinesis: Any, stream: str) -> Any:
    fill(kinesis, stream, 2)
    at = iterator(kinesis, stream, "LATEST")
    fill(kinesis, stream, 1)
    return read(kinesis, at)


@probe("AT_TIMESTAMP of a record's arrival")
def at_time(kinesis: Any, stream: str) -> Any:
    fill(kinesis, stream, 2)
    time.sleep(0.05)
    fill(kinesis, stream, 1)
    records = kinesis.get_records(ShardIterator=iterator(kinesis, stream))["Records"]
    moment = records[2]["ApproximateArrivalTimestamp"]
    return read(kinesis, iterator(kinesis, stream, "AT_TIMESTAMP", Timestamp=moment))


@probe("the end of a closed shard")
def closed_end(kinesis: Any, stream: str) -> Any:
    fill(kinesis, stream, 1)
    at: str | None = iterator(kinesis, stream)
    split(kinesis, stream)
    for _ in range(3):
        answer = kinesis.get_records(ShardIterator=at)
        at = answer.get("NextShardIterator")
        if at is None:
            return ["no iterator", len(answer.get("ChildShards", []))]
    return ["never ends"]


@probe("shards after a split")
def after_split(kinesis: Any, stream: str) -> Any:
    split(kinesis, stream)
    shards = kinesis.list_shards(StreamName=stream)["Shards"]
    return [
        [shard["ShardId"], shard.get("ParentShardId"), "EndingSequenceNumber" in shard["SequenceNumberRange"]]
        for shard in shards
    ]


@probe("shards after a merge")
def after_merge(kinesis: Any, stream: str) -> Any:
    split(kinesis, stream)
    two = "shardId-000000000001", "shardId-000000000002"
    kinesis.merge_shards(StreamName=stream, ShardToMerge=two[0], AdjacentShardToMerge=two[1])
    settle(kinesis, stream)
    merged = kinesis.list_shards(StreamName=stream)["Shards"][-1]
    return [merged.get("ParentShardId"), merged.get("AdjacentParentShardId"), merged["HashKeyRange"]["EndingHashKey"]]


@probe("ShardFilter AT_LATEST")
def filter_latest(kinesis: Any, stream: str) -> Any:
    split(kinesis, stream)
    found = kinesis.list_shards(StreamName=stream, ShardFilter={"Type": "AT_LATEST"})["Shards"]
    return [shard["ShardId"] for shard in found]


@probe("ShardFilter AFTER_SHARD_ID")
def filter_after(kinesis: Any, stream: str) -> Any:
    split(kinesis, stream)
    found = kinesis.list_shards(StreamName=stream, ShardFilter={"Type": "AFTER_SHARD_ID", "ShardId": FIRST})["Shards"]
    return [shard["ShardId"] for shard in found]


@probe("no resource policy")
def no_policy(kinesis: Any, stream: str) -> Any:
    answer = kinesis.get_resource_policy(ResourceARN=settle(kinesis, stream)["StreamARN"])
    return sorted(set(answer) - {"ResponseMetadata"})


@probe("one of a batch is too large")
def one_too_large(kinesis: Any, stream: str) -> Any:
    records = [{"Data": b"x", "PartitionKey": "k"}, {"Data": bytes((1 << 20) + 5), "PartitionKey": "k"}]
    return kinesis.put_records(StreamName=stream, Records=records)["FailedRecordCount"]


@probe("MillisBehindLatest at the tip")
def at_the_tip(kinesis: Any, stream: str) -> Any:
    fill(kinesis, stream, 2)
    return kinesis.get_records(ShardIterator=iterator(kinesis, stream))["MillisBehindLatest"]


@probe("an iterator used twice")
def used_twice(kinesis: Any, stream: str) -> Any:
    fill(kinesis, stream, 2)
    at = iterator(kinesis, stream)
    return [read(kinesis, at), read(kinesis, at)]


@probe("the retention that was set")
def retention(kinesis: Any, stream: str) -> Any:
    kinesis.increase_stream_retention_period(StreamName=stream, RetentionPeriodHours=48)
    settle(kinesis, stream)
    kinesis.increase_stream_retention_period(StreamName=stream, RetentionPeriodHours=48)
    return settle(kinesis, stream)["RetentionPeriodHours"]


@probe("fan-out from the start")
def fan_out(kinesis: Any, stream: str) -> Any:
    fill(kinesis, stream, 3)
    arn = settle(kinesis, stream)["StreamARN"]
    consumer = kinesis.register_stream_consumer(StreamARN=arn, ConsumerName="c")["Consumer"]["ConsumerARN"]
    for _ in range(100):
        shown = kinesis.describe_stream_consumer(ConsumerARN=consumer)["ConsumerDescription"]
        if shown["ConsumerStatus"] == "ACTIVE":
            break
        time.sleep(0.05)
    position = {"Type": "TRIM_HORIZON"}
    events = kinesis.subscribe_to_shard(ConsumerARN=consumer, ShardId=FIRST, StartingPosition=position)["EventStream"]
    for event in events:
        if event["SubscribeToShardEvent"]["Records"]:
            return [item["Data"].decode() for item in event["SubscribeToShardEvent"]["Records"]]
    return "no records"


# --- running ------------------------------------------------------------------------------------------------------


def client(url: str) -> Any:
    """A client that asks once, sends what it is told, and gives up after ten seconds."""
    config = Config(retries={"total_max_attempts": 1}, parameter_validation=False, read_timeout=10, connect_timeout=5)
    credentials = {"aws_access_key_id": "any", "aws_secret_access_key": "any", "region_name": "us-east-1"}
    return boto3.client("kinesis", endpoint_url=url, config=config, **credentials)


def outcome(kinesis: Any, name: str, stream: str) -> Any:
    """What came of one probe."""
    try:
        kinesis.create_stream(StreamName=stream, ShardCount=1)
        settle(kinesis, stream)
        return PROBES[name](kinesis, stream)
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        return error.response["Error"]["Code"] if status < 500 else f"HTTP {status}"
    except EventStreamError as error:
        return error.response["Error"]["Code"]
    except Exception as error:
        return type(error).__name__


def main() -> None:
    """Ask all, and print."""
    servers = dict(argument.split("=", 1) for argument in sys.argv[1:])
    clients = {name: client(url) for name, url in servers.items()}
    found = {
        name: {who: outcome(kinesis, name, f"probe-{number}") for who, kinesis in clients.items()}
        for number, name in enumerate(PROBES)
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
