"""The structures of all requests, as data: each a list of members, `Name`, or `Name:Shape` where the two differ, with
`!` behind a required one.

Facts of the API, as in `scalars`.
"""

from __future__ import annotations

from streamstore.kinesis.scalars import Member

_SOURCE = {
    "AcknowledgeDeadLetterQueueRecordsInput": "QueueARN! Entries:AcknowledgeDeadLetterQueueRecordsRequestEntryList!",
    "AcknowledgeDeadLetterQueueRecordsRequestEntry": "ReceiptHandle!",
    "AcknowledgeQueueRecordsInput": "QueueARN! Entries:AcknowledgeQueueRecordsRequestEntryList!",
    "AcknowledgeQueueRecordsRequestEntry": "ReceiptHandle!",
    "AddTagsToStreamInput": "StreamName Tags:TagMap! StreamARN StreamId",
    "ChannelEncryptionConfiguration": "EncryptionType:ChannelEncryptionType! KeyId!",
    "ChannelLoggingConfiguration": "CloudWatchLogs!",
    "ChannelLoggingUpdateInput": "CloudWatchLogs:CloudWatchLogsUpdateInput!",
    "ChannelStreamConfiguration": "StreamARN! RecordConfiguration!",
    "CloudWatchLogs": (
        "Enabled:BooleanObject! LogGroupName:CloudWatchLogGroupName LogStreamName:CloudWatchLogStreamName"
    ),
    "CloudWatchLogsUpdateInput": (
        "Enabled:BooleanObject! LogGroupName:CloudWatchLogGroupName LogStreamName:CloudWatchLogStreamName"
    ),
    "CreateChannelInput": (
        "ChannelName! ServiceExecutionRoleARN:RoleARN! "
        "StreamConfigurationList:ChannelStreamConfigurationList! S3DestinationConfiguration "
        "S3TablesDestinationConfiguration EncryptionConfiguration:ChannelEncryptionConfiguration Tags:TagMap "
        "LoggingConfiguration:ChannelLoggingConfiguration"
    ),
    "CreateQueueInput": (
        "QueueName! StreamConfigurationList:QueueStreamConfigurationList! QueueAttributes Tags:TagMap"
    ),
    "CreateStreamInput": (
        "StreamName! ShardCount:PositiveIntegerObject StreamModeDetails Tags:TagMap "
        "WarmThroughputMiBps:NaturalIntegerObject MaxRecordSizeInKiB RecordDistributionStrategy"
    ),
    "DeadLetterConfiguration": "TargetType! MaxReceiveCount",
    "DeadLetterQueueS3Configuration": "BucketARN! ExpectedBucketOwner! ErrorOutputPrefix:S3ErrorOutputPrefix",
    "DecreaseStreamRetentionPeriodInput": "StreamName RetentionPeriodHours! StreamARN StreamId",
    "DeleteChannelInput": "ChannelARN!",
    "DeleteQueueInput": "QueueARN!",
    "DeleteResourcePolicyInput": "ResourceARN! StreamId",
    "DeleteStreamInput": "StreamName EnforceConsumerDeletion:BooleanObject StreamARN StreamId",
    "DeregisterStreamConsumerInput": "StreamARN ConsumerName ConsumerARN StreamId",
    "DescribeAccountSettingsInput": "",
    "DescribeChannelInput": "ChannelARN!",
    "DescribeLimitsInput": "",
    "DescribeQueueInput": "QueueARN!",
    "DescribeStreamConsumerInput": "StreamARN ConsumerName ConsumerARN StreamId",
    "DescribeStreamInput": (
        "StreamName Limit:DescribeStreamInputLimit ExclusiveStartShardId:ShardId StreamARN StreamId"
    ),
    "DescribeStreamSummaryInput": "StreamName StreamARN StreamId",
    "DisableEnhancedMonitoringInput": "StreamName ShardLevelMetrics:MetricsNameList! StreamARN StreamId",
    "EnableEnhancedMonitoringInput": "StreamName ShardLevelMetrics:MetricsNameList! StreamARN StreamId",
    "GetRecordsInput": "ShardIterator! Limit:GetRecordsInputLimit StreamARN StreamId DryRun:BooleanObject",
    "GetResourcePolicyInput": "ResourceARN! StreamId",
    "GetShardIteratorInput": (
        "StreamName ShardId! ShardIteratorType! StartingSequenceNumber:SequenceNumber Timestamp StreamARN "
        "StreamId DryRun:BooleanObject"
    ),
    "IncreaseStreamRetentionPeriodInput": "StreamName RetentionPeriodHours! StreamARN StreamId",
    "ListChannelsInput": "StreamFilter:StreamFilterList MaxResults:ListChannelsInputLimit NextToken",
    "ListQueuesInput": "MaxResults:ListQueuesInputLimit NextToken StreamFilter:QueueStreamFilterList",
    "ListShardsInput": (
        "StreamName NextToken ExclusiveStartShardId:ShardId MaxResults:ListShardsInputLimit "
        "StreamCreationTimestamp:Timestamp ShardFilter StreamARN StreamId"
    ),
    "ListStreamConsumersInput": (
        "StreamARN! NextToken MaxResults:ListStreamConsumersInputLimit StreamCreationTimestamp:Timestamp StreamId"
    ),
    "ListStreamsInput": "Limit:ListStreamsInputLimit ExclusiveStartStreamName:StreamName NextToken",
    "ListTagsForResourceInput": "ResourceARN! StreamId",
    "ListTagsForStreamInput": (
        "StreamName ExclusiveStartTagKey:TagKey Limit:ListTagsForStreamInputLimit StreamARN StreamId"
    ),
    "MergeShardsInput": "StreamName ShardToMerge:ShardId! AdjacentShardToMerge:ShardId! StreamARN StreamId",
    "MinimumThroughputBillingCommitmentInput": "Status:MinimumThroughputBillingCommitmentInputStatus!",
    "PartitionField": "Transform:PartitionTransform! SourceName:PartitionSourceName!",
    "PartitionSpec": "PartitionFields:PartitionFieldList!",
    "PutRecordInput": (
        "StreamName Data! PartitionKey ExplicitHashKey:HashKey SequenceNumberForOrdering:SequenceNumber "
        "StreamARN StreamId DryRun:BooleanObject"
    ),
    "PutRecordsInput": "Records:PutRecordsRequestEntryList! StreamName StreamARN StreamId DryRun:BooleanObject",
    "PutRecordsRequestEntry": "Data! ExplicitHashKey:HashKey PartitionKey",
    "PutResourcePolicyInput": "ResourceARN! StreamId Policy!",
    "QueueAttributes": "VisibilityTimeoutSeconds DeadLetterConfiguration",
    "QueueStartingPosition": "Type:QueueStartingPositionType! Timestamp",
    "QueueStreamConfiguration": "StreamARN! StartingPosition:QueueStartingPosition",
    "QueueStreamFilter": "StreamARN! StreamCreationTimestamp:Timestamp",
    "ReceiveDeadLetterQueueRecordsInput": (
        "QueueARN! Limit:ReceiveQueueRecordsInputLimit WaitTimeSeconds:ReceiveQueueRecordsWaitTimeSeconds "
        "VisibilityTimeoutSeconds"
    ),
    "ReceiveQueueRecordsInput": (
        "QueueARN! Limit:ReceiveQueueRecordsInputLimit WaitTimeSeconds:ReceiveQueueRecordsWaitTimeSeconds "
        "VisibilityTimeoutSeconds"
    ),
    "RecordConfiguration": "RecordFormatType! GSRSchemaARN",
    "RegisterStreamConsumerInput": "StreamARN! ConsumerName! StreamId Tags:TagMap",
    "RemoveTagsFromStreamInput": "StreamName TagKeys:TagKeyList! StreamARN StreamId",
    "RestoreDeadLetterQueueRecordsInput": "QueueARN! Entries:RestoreDeadLetterQueueRecordsRequestEntryList!",
    "RestoreDeadLetterQueueRecordsRequestEntry": "ReceiptHandle!",
    "S3DestinationConfiguration": (
        "DataFreshnessInSeconds DeadLetterQueueS3Configuration StorageConfiguration:S3StorageConfiguration!"
    ),
    "S3DestinationUpdateInput": "DataFreshnessInSeconds!",
    "S3StorageConfiguration": (
        "BucketARN! ExpectedBucketOwner! OutputKeyTemplate:S3OutputKeyTemplate StorageClass:S3StorageClass "
        "CompressionType:S3CompressionType!"
    ),
    "S3TablesConfiguration": (
        "TableBucketARN! Namespace:S3TablesNamespace! TableName:S3TablesTableName! "
        "CompressionType:S3TablesCompressionType! PartitionSpec"
    ),
    "S3TablesDestinationConfiguration": (
        "DataFreshnessInSeconds DeadLetterQueueS3Configuration! S3TablesConfigurationList!"
    ),
    "S3TablesDestinationUpdateInput": "DataFreshnessInSeconds!",
    "ShardFilter": "Type:ShardFilterType! ShardId Timestamp",
    "SplitShardInput": "StreamName ShardToSplit:ShardId! NewStartingHashKey:HashKey! StreamARN StreamId",
    "StartStreamEncryptionInput": "StreamName EncryptionType! KeyId! StreamARN StreamId",
    "StartingPosition": "Type:ShardIteratorType! SequenceNumber Timestamp",
    "StopStreamEncryptionInput": "StreamName EncryptionType! KeyId! StreamARN StreamId",
    "StreamFilter": "StreamARN! StreamCreationTimestamp:Timestamp",
    "StreamModeDetails": "StreamMode!",
    "SubscribeToShardInput": "ConsumerARN! StreamId ShardId! StartingPosition! DryRun:BooleanObject",
    "TagResourceInput": "Tags:TagMap! ResourceARN! StreamId",
    "UntagResourceInput": "TagKeys:TagKeyList! ResourceARN! StreamId",
    "UpdateAccountSettingsInput": "MinimumThroughputBillingCommitment:MinimumThroughputBillingCommitmentInput!",
    "UpdateChannelInput": (
        "ChannelARN! S3DestinationConfiguration:S3DestinationUpdateInput "
        "S3TablesDestinationConfiguration:S3TablesDestinationUpdateInput "
        "LoggingConfiguration:ChannelLoggingUpdateInput"
    ),
    "UpdateDeadLetterQueueRecordsVisibilityInput": (
        "QueueARN! Entries:UpdateDeadLetterQueueRecordsVisibilityRequestEntryList!"
    ),
    "UpdateDeadLetterQueueRecordsVisibilityRequestEntry": "ReceiptHandle! VisibilityTimeoutSeconds!",
    "UpdateMaxRecordSizeInput": "StreamARN StreamId MaxRecordSizeInKiB!",
    "UpdateQueueInput": "QueueARN! QueueAttributes!",
    "UpdateQueueRecordsVisibilityInput": "QueueARN! Entries:UpdateQueueRecordsVisibilityRequestEntryList!",
    "UpdateQueueRecordsVisibilityRequestEntry": "ReceiptHandle! VisibilityTimeoutSeconds!",
    "UpdateShardCountInput": "StreamName TargetShardCount:PositiveIntegerObject! ScalingType! StreamARN StreamId",
    "UpdateStreamModeInput": "StreamARN! StreamId StreamModeDetails! WarmThroughputMiBps:NaturalIntegerObject",
    "UpdateStreamRecordDistributionStrategyInput": "StreamARN! StreamId RecordDistributionStrategy!",
    "UpdateStreamWarmThroughputInput": "StreamARN StreamName StreamId WarmThroughputMiBps:NaturalIntegerObject!",
}


def _members(source: str) -> tuple[Member, ...]:
    found = []
    for word in source.split():
        name, _, shape = word.rstrip("!").partition(":")
        found.append(Member(name, shape or name, word.endswith("!")))
    return tuple(found)


STRUCTURES: dict[str, tuple[Member, ...]] = {name: _members(source) for name, source in _SOURCE.items()}
