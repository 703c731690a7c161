"""What tests of queues through the API have in common: making one, its records as short values, errors."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

ARN = "arn:aws:kinesis:us-east-1:000000000000:stream/s"
NOWHERE = "arn:aws:kinesis:us-east-1:000000000000:queue/" + "0" * 32


def failure(call, **options):
    """The type of the error that a call ends in."""
    with pytest.raises(ClientError) as caught:
        call(**options)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    return caught.value.response["Error"]["Code"]


def make_stream(kinesis, name="s", shards=1):
    """A stream, on demand as far as it says."""
    kinesis.create_stream(StreamName=name, ShardCount=shards)
    kinesis.update_stream_mode(StreamARN=ARN[:-1] + name, StreamModeDetails={"StreamMode": "ON_DEMAND"})
    return name


def make_queue(kinesis, name="q", stream="s", start="TRIM_HORIZON", tags=None, **attributes):
    """The ARN of a new queue."""
    wanted = {"StreamARN": ARN[:-1] + stream, "StartingPosition": {"Type": start}}
    options = {"QueueAttributes": attributes} if attributes else {}
    if tags:
        options["Tags"] = tags
    made = kinesis.create_queue(QueueName=name, StreamConfigurationList=[wanted], **options)
    return made["QueueDescription"]["QueueARN"]


def dead_after(count):
    """The attribute for dead letters after so many receives; none of them for 0."""
    return {"TargetType": "BUILT_IN", "MaxReceiveCount": count} if count else {"TargetType": "NONE"}


def put(kinesis, *bodies, stream="s", key="k"):
    for body in bodies:
        kinesis.put_record(StreamName=stream, Data=body, PartitionKey=key)


def receive(kinesis, arn, dead=False, **options):
    """Records, or dead-letter records."""
    call = kinesis.receive_dead_letter_queue_records if dead else kinesis.receive_queue_records
    return call(QueueARN=arn, **{"WaitTimeSeconds": 1, **options})["QueueRecords"]


def handles(records, **more):
    return [{"ReceiptHandle": record["ReceiptHandle"], **more} for record in records]


def outcome(answer):
    """How many entries were done, and the codes of those that were not."""
    return len(answer["Successful"]), [item["ErrorCode"] for item in answer["Failed"]]
