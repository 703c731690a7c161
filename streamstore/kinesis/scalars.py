"""The shapes of all requests, as data: scalars with their constraints, and structures as lists of their members.

Facts of the API (service model 2013-12-02 as of botocore 1.44.5; a test compares them with the installed botocore).
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Text(NamedTuple):
    """A string: bounds in characters, and a pattern that all of it must match."""

    low: int
    high: int | None
    pattern: re.Pattern[str] | None
    source: str


class Choice(NamedTuple):
    """A string out of a few; in the order in which errors list them."""

    names: tuple[str, ...]


class Whole(NamedTuple):
    """An integer."""

    low: int | None
    high: int | None


class Blob(NamedTuple):
    """Bytes: base64 text in JSON, a byte string in CBOR."""

    low: int
    high: int | None


class Flag(NamedTuple):
    """A boolean."""


class Moment(NamedTuple):
    """A time: seconds in JSON, milliseconds under tag 1 in CBOR."""


class Listing(NamedTuple):
    """A list of one shape."""

    member: str
    low: int
    high: int | None


class Mapping(NamedTuple):
    """A map from strings to strings."""

    key: str
    value: str
    low: int
    high: int | None


class Member(NamedTuple):
    """A member of a structure."""

    name: str
    shape: str
    required: bool


Scalar = Text | Choice | Whole | Blob | Flag | Moment
Shape = Text | Choice | Whole | Blob | Flag | Moment | Listing | Mapping


def text(low: int, high: int | None, pattern: str = "") -> Text:
    return Text(low, high, re.compile(pattern, re.ASCII) if pattern else None, pattern)


def choice(names: str) -> Choice:
    return Choice(tuple(names.split()))


SHAPES: dict[str, Shape] = {
    "AcknowledgeDeadLetterQueueRecordsRequestEntryList": Listing(
        "AcknowledgeDeadLetterQueueRecordsRequestEntry", 1, 10
    ),
    "AcknowledgeQueueRecordsRequestEntryList": Listing("AcknowledgeQueueRecordsRequestEntry", 1, 10),
    "BooleanObject": Flag(),
    "BucketARN": text(1, 2048, r"arn:aws[-a-z0-9]*:s3:::[a-z0-9._-]{3,63}"),
    "ChannelARN": text(1, 2048, r"arn:aws.*:kinesis:.*:\d{12}:channel/\S+"),
    "ChannelEncryptionType": choice("KMS"),
    "ChannelName": text(1, 128, r"[a-zA-Z0-9_.-]+"),
    "ChannelStreamConfigurationList": Listing("ChannelStreamConfiguration", 1, 10000),
    "CloudWatchLogGroupName": text(1, 512, r"[\.\-_/#A-Za-z0-9]+"),
    "CloudWatchLogStreamName": text(1, 512, r"[^:*]*"),
    "ConsumerARN": text(
        1, 2048, r"^(arn):aws.*:kinesis:.*:\d{12}:.*stream\/[a-zA-Z0-9_.-]+\/consumer\/[a-zA-Z0-9_.-]+:[0-9]+"
    ),
    "ConsumerName": text(1, 128, r"[a-zA-Z0-9_.-]+"),
    "Data": Blob(0, 10485760),
    "DataFreshnessInSeconds": Whole(None, None),
    "DescribeStreamInputLimit": Whole(1, 10000),
    "EncryptionType": choice("NONE KMS"),
    "ExpectedBucketOwner": text(12, 12, r"\d{12}"),
    "GSRSchemaARN": text(
        1, 512, r"arn:aws[-a-z0-9]*:glue:[-a-z0-9]+:\d{12}:schema/[-a-zA-Z0-9_$#.]+/[-a-zA-Z0-9_$#.]+"
    ),
    "GetRecordsInputLimit": Whole(1, 10000),
    "HashKey": text(0, None, r"^(0|([1-9]\d{0,38}))$"),
    "KeyId": text(1, 2048),
    "ListChannelsInputLimit": Whole(1, 10000),
    "ListQueuesInputLimit": Whole(1, 10000),
    "ListShardsInputLimit": Whole(1, 10000),
    "ListStreamConsumersInputLimit": Whole(1, 10000),
    "ListStreamsInputLimit": Whole(1, 10000),
    "ListTagsForStreamInputLimit": Whole(1, 50),
    "MaxReceiveCount": Whole(1, 1000),
    "MaxRecordSizeInKiB": Whole(1024, 10240),
    "MetricsName": choice(
        "IncomingBytes IncomingRecords OutgoingBytes OutgoingRecords WriteProvisionedThroughputExceeded "
        "ReadProvisionedThroughputExceeded IteratorAgeMilliseconds ALL"
    ),
    "MetricsNameList": Listing("MetricsName", 1, 7),
    "MinimumThroughputBillingCommitmentInputStatus": choice("ENABLED DISABLED"),
    "NaturalIntegerObject": Whole(0, None),
    "NextToken": text(1, 1048576),
    "PartitionFieldList": Listing("PartitionField", 1, 10),
    "PartitionKey": text(1, 256),
    "PartitionSourceName": text(1, 255, r"[a-zA-Z0-9\.\_]+"),
    "PartitionTransform": choice("TIME_HOUR"),
    "Policy": text(0, None),
    "PositiveIntegerObject": Whole(1, None),
    "PutRecordsRequestEntryList": Listing("PutRecordsRequestEntry", 1, 500),
    "QueueARN": text(1, 2048, r"arn:aws.*:kinesis:.*:\d{12}:queue/\S+"),
    "QueueName": text(1, 128, r"[a-zA-Z0-9_.-]+"),
    "QueueStartingPositionType": choice("TRIM_HORIZON LATEST AT_TIMESTAMP"),
    "QueueStreamConfigurationList": Listing("QueueStreamConfiguration", 1, 10000),
    "QueueStreamFilterList": Listing("QueueStreamFilter", 1, 10000),
    "ReceiptHandle": text(1, 1024),
    "ReceiveQueueRecordsInputLimit": Whole(1, 10),
    "ReceiveQueueRecordsWaitTimeSeconds": Whole(1, 20),
    "RecordDistributionStrategy": choice("AUTO USER_PARTITION_KEY"),
    "RecordFormatType": choice("GSR_JSON JSON STRING BYTE_ARRAY"),
    "ResourceARN": text(1, 2048, r"arn:aws.*:kinesis:.*:\d{12}:.*(stream|channel|queue)/\S+"),
    "RestoreDeadLetterQueueRecordsRequestEntryList": Listing("RestoreDeadLetterQueueRecordsRequestEntry", 1, 10),
    "RetentionPeriodHours": Whole(None, None),
    "RoleARN": text(1, 512, r"arn:aws[-a-z0-9]*:iam::\d{12}:role/[a-zA-Z_0-9+=,.@\-_/]+"),
    "S3CompressionType": choice("NONE GZIP ZSTD"),
    "S3ErrorOutputPrefix": text(1, 512, r"[0-9A-Za-z!\-_'.*()\/]+"),
    "S3OutputKeyTemplate": text(1, 1024, r"[0-9A-Za-z!\-_'.*()\/=:{}]+"),
    "S3StorageClass": choice("STANDARD INTELLIGENT_TIERING GLACIER_IR"),
    "S3TablesCompressionType": choice("NONE ZSTD SNAPPY"),
    "S3TablesConfigurationList": Listing("S3TablesConfiguration", 1, 10000),
    "S3TablesNamespace": text(1, 255, r"[0-9a-z_]+"),
    "S3TablesTableName": text(1, 255, r"[0-9a-z_]+"),
    "ScalingType": choice("UNIFORM_SCALING"),
    "SequenceNumber": text(0, None, r"^(0|([1-9]\d{0,128}))$"),
    "ShardFilterType": choice("AFTER_SHARD_ID AT_TRIM_HORIZON FROM_TRIM_HORIZON AT_LATEST AT_TIMESTAMP FROM_TIMESTAMP"),
    "ShardId": text(1, 128, r"[a-zA-Z0-9_.-]+"),
    "ShardIterator": text(1, 512),
    "ShardIteratorType": choice("AFTER_SEQUENCE_NUMBER LATEST AT_TIMESTAMP AT_SEQUENCE_NUMBER TRIM_HORIZON"),
    "StreamARN": text(1, 2048, r"arn:aws.*:kinesis:.*:\d{12}:stream/\S+"),
    "StreamFilterList": Listing("StreamFilter", 1, 10000),
    "StreamId": text(1, 24, r"[a-z0-9]{20}-[a-z0-9]{3}"),
    "StreamMode": choice("PROVISIONED ON_DEMAND"),
    "StreamName": text(1, 128, r"[a-zA-Z0-9_.-]+"),
    "TableBucketARN": text(1, 2048, r"arn:aws[-a-z0-9]*:s3tables:[-a-z0-9]+:\d{12}:bucket/[a-z0-9_-]{3,63}"),
    "TagKey": text(1, 128),
    "TagKeyList": Listing("TagKey", 1, 50),
    "TagMap": Mapping("TagKey", "TagValue", 1, 200),
    "TagValue": text(0, 256),
    "TargetType": choice("BUILT_IN NONE"),
    "Timestamp": Moment(),
    "UpdateDeadLetterQueueRecordsVisibilityRequestEntryList": Listing(
        "UpdateDeadLetterQueueRecordsVisibilityRequestEntry", 1, 10
    ),
    "UpdateQueueRecordsVisibilityRequestEntryList": Listing("UpdateQueueRecordsVisibilityRequestEntry", 1, 10),
    "VisibilityTimeoutSeconds": Whole(0, 43200),
}
