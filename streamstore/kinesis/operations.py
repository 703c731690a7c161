"""The one table of operations: for each of the 57 what it takes, who answers it, what right it needs, which errors it
declares, and how often a second the service lets one account call it.
"""

from __future__ import annotations

from typing import NamedTuple

READ, WRITE, ADMIN = "read", "write", "admin"


class Operation(NamedTuple):
    """A row. `handler` is module:function of this package; `rate` holds under limits="aws" alone, None for no limit
    of its own.
    """

    name: str
    handler: str
    right: str
    errors: frozenset[str]
    rate: int | None

    @property
    def shape(self) -> str:
        return f"{self.name}Input"


_USUAL = "AccessDenied InvalidArgument LimitExceeded ResourceNotFound"
_CHANGE = f"{_USUAL} ResourceInUse"
_CHECKED = f"{_CHANGE} Validation"
_POLICY = f"{_CHECKED} InternalFailure"
_KMS = "KMSAccessDenied KMSDisabled KMSInvalidState KMSNotFound KMSOptInRequired KMSThrottling"
_DATA = "AccessDenied InternalFailure InvalidArgument ResourceNotFound"
_STREAMED = f"{_DATA} DryRunOperation ProvisionedThroughputExceeded"
_CONSUMER = "InvalidArgument LimitExceeded ResourceNotFound"
_CHANNEL = f"{_USUAL} Validation"
_QUEUE = f"{_CHANNEL} InternalFailure"
_QUEUED = f"{_DATA} Throttling"
_LISTED = "AccessDenied ExpiredNextToken InvalidArgument LimitExceeded Validation"

# name, handler, right, errors, calls a second
_ROWS: tuple[tuple[str, str, str, str, int | None], ...] = (
    ("AcknowledgeDeadLetterQueueRecords", "deliveries:acknowledge_dead", WRITE, _QUEUED, None),
    ("AcknowledgeQueueRecords", "deliveries:acknowledge", WRITE, _QUEUED, None),
    ("AddTagsToStream", "tags:add_to_stream", ADMIN, _CHANGE, 5),
    ("CreateChannel", "absent:channel", ADMIN, f"{_CHECKED} {_KMS}", None),
    ("CreateQueue", "queues:create", ADMIN, f"{_CHECKED} InternalFailure", None),
    ("CreateStream", "streams:create", ADMIN, "InvalidArgument LimitExceeded ResourceInUse Validation", 5),
    ("DecreaseStreamRetentionPeriod", "retention:decrease", ADMIN, _CHANGE, 5),
    ("DeleteChannel", "absent:channel", ADMIN, _CHANNEL, None),
    ("DeleteQueue", "queues:delete", ADMIN, _QUEUE, None),
    ("DeleteResourcePolicy", "policies:delete", ADMIN, _POLICY, 5),
    ("DeleteStream", "streams:delete", ADMIN, _CHANGE, 5),
    ("DeregisterStreamConsumer", "consumers:deregister", ADMIN, _CONSUMER, 5),
    ("DescribeAccountSettings", "account:describe_settings", READ, "LimitExceeded", 5),
    ("DescribeChannel", "absent:channel", READ, _CHANNEL, None),
    ("DescribeLimits", "account:describe_limits", READ, "LimitExceeded", 1),
    ("DescribeQueue", "queues:describe", READ, _QUEUE, None),
    ("DescribeStream", "streams:describe", READ, _USUAL, 10),
    ("DescribeStreamConsumer", "consumers:describe", READ, _CONSUMER, 20),
    ("DescribeStreamSummary", "streams:describe_summary", READ, _USUAL, 20),
    ("DisableEnhancedMonitoring", "monitoring:disable", ADMIN, _CHANGE, 5),
    ("EnableEnhancedMonitoring", "monitoring:enable", ADMIN, _CHANGE, 5),
    ("GetRecords", "reads:get_records", READ, f"{_STREAMED} ExpiredIterator {_KMS}", None),
    ("GetResourcePolicy", "policies:get", READ, _POLICY, 5),
    ("GetShardIterator", "reads:get_shard_iterator", READ, _STREAMED, None),
    ("IncreaseStreamRetentionPeriod", "retention:increase", ADMIN, _CHANGE, 5),
    ("ListChannels", "absent:list_channels", READ, _LISTED, None),
    ("ListQueues", "queues:list_queues", READ, f"{_LISTED} InternalFailure", None),
    ("ListShards", "shards:list_shards", READ, f"{_CHANGE} ExpiredNextToken", 1000),
    ("ListStreamConsumers", "consumers:list_consumers", READ, f"{_CONSUMER} ExpiredNextToken ResourceInUse", 5),
    ("ListStreams", "streams:list_streams", READ, "ExpiredNextToken InvalidArgument LimitExceeded", 5),
    ("ListTagsForResource", "tags:list_for_resource", READ, _POLICY, 5),
    ("ListTagsForStream", "tags:list_for_stream", READ, _USUAL, 5),
    ("MergeShards", "resharding:merge", ADMIN, _CHECKED, 5),
    ("PutRecord", "puts:put_record", WRITE, f"{_STREAMED} {_KMS}", None),
    ("PutRecords", "puts:put_records", WRITE, f"{_STREAMED} {_KMS}", None),
    ("PutResourcePolicy", "policies:put", ADMIN, _POLICY, 5),
    ("ReceiveDeadLetterQueueRecords", "deliveries:receive_dead", READ, f"{_QUEUED} {_KMS}", None),
    ("ReceiveQueueRecords", "deliveries:receive", READ, f"{_QUEUED} {_KMS}", None),
    ("RegisterStreamConsumer", "consumers:register", ADMIN, f"{_CONSUMER} ResourceInUse", 5),
    ("RemoveTagsFromStream", "tags:remove_from_stream", ADMIN, _CHANGE, 5),
    ("RestoreDeadLetterQueueRecords", "deliveries:restore_dead", WRITE, _QUEUED, None),
    ("SplitShard", "resharding:split", ADMIN, _CHECKED, 5),
    ("StartStreamEncryption", "encryption:start", ADMIN, f"{_CHANGE} {_KMS}", 5),
    ("StopStreamEncryption", "encryption:stop", ADMIN, _CHANGE, 5),
    ("SubscribeToShard", "subscriptions:subscribe", READ, f"{_CHANGE} DryRunOperation", None),
    ("TagResource", "tags:add", ADMIN, _POLICY, 5),
    ("UntagResource", "tags:remove", ADMIN, _POLICY, 5),
    ("UpdateAccountSettings", "account:update_settings", ADMIN, "InvalidArgument LimitExceeded Validation", 5),
    ("UpdateChannel", "absent:channel", ADMIN, _CHECKED, None),
    ("UpdateDeadLetterQueueRecordsVisibility", "deliveries:update_dead_visibility", WRITE, _QUEUED, None),
    ("UpdateMaxRecordSize", "streams:update_max_record_size", ADMIN, _CHECKED, 5),
    ("UpdateQueue", "queues:update", ADMIN, f"{_QUEUE} ResourceInUse", None),
    ("UpdateQueueRecordsVisibility", "deliveries:update_visibility", WRITE, _QUEUED, None),
    ("UpdateShardCount", "resharding:update_count", ADMIN, _CHECKED, 10),
    (
        "UpdateStreamMode",
        "modes:update_mode",
        ADMIN,
        "InvalidArgument LimitExceeded ResourceInUse ResourceNotFound Validation",
        5,
    ),
    ("UpdateStreamRecordDistributionStrategy", "modes:update_distribution", ADMIN, _CHECKED, 5),
    ("UpdateStreamWarmThroughput", "modes:update_warm_throughput", ADMIN, _CHECKED, 5),
)

OPERATIONS = {
    name: Operation(
        name,
        handler,
        right,
        frozenset(word if word == "KMSOptInRequired" else f"{word}Exception" for word in declared.split()),
        rate,
    )
    for name, handler, right, declared, rate in _ROWS
}
