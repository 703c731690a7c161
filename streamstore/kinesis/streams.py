"""CreateStream, DeleteStream, the Describes and ListStreams, UpdateMaxRecordSize."""

from __future__ import annotations

from typing import Any

from streamstore import Stream, StreamExistsError, limits
from streamstore.kinesis import account, errors, queue_lookup, settings, tags, tokens
from streamstore.kinesis.call import Call, Request
from streamstore.kinesis.settings import Settings
from streamstore.kinesis.shards import describe as describe_shard
from streamstore.kinesis.values import Moment

ON_DEMAND_SHARDS = 4
PAGE_MAX = 100
_TOKEN = "ListStreams"


def create(call: Call, request: Request) -> None:
    name = request["StreamName"]
    mode = (request.get("StreamModeDetails") or {}).get("StreamMode", "PROVISIONED")
    count = request.get("ShardCount")
    if mode == "ON_DEMAND" and count is not None:
        raise errors.refused("ShardCount cannot be set for a stream in On-Demand mode.")
    count = ON_DEMAND_SHARDS if count is None else count
    if count > limits.SHARD_COUNT_MAX:
        raise account.over_shards(call, count)
    chosen = Settings(mode=mode)
    if given := request.get("Tags"):
        tags.merge(chosen.tags, given, f"stream {name}", call.account)
    _on_demand(request, chosen)
    if call.service.throttle is not None:
        account.check_quota(call, mode, count)
    # The store takes what the largest setting allows, so that UpdateMaxRecordSize need not change it.
    chosen.record_kib = request.get("MaxRecordSizeInKiB", 1024)
    try:
        call.store.create_stream(
            name, count, max_record_size=settings.RECORD_SIZE_MAX, annotations=_annotations(chosen)
        )
    except StreamExistsError:
        raise errors.in_use(f"Stream {name} under account {call.account} already exists.") from None


def _annotations(chosen: Settings) -> dict[str, Any]:
    kept = chosen.to_map()
    return {settings.NAME: kept} if kept else {}


def _on_demand(request: Request, chosen: Settings) -> None:
    strategy = request.get("RecordDistributionStrategy")
    warm = request.get("WarmThroughputMiBps")
    if chosen.mode != "ON_DEMAND" and strategy == "AUTO":
        raise errors.invalid("RecordDistributionStrategy AUTO is only supported for streams in On-Demand mode.")
    if chosen.mode != "ON_DEMAND" and warm is not None:
        raise errors.invalid("WarmThroughputMiBps is only supported for streams in On-Demand mode.")
    chosen.distribution = strategy or chosen.distribution
    chosen.warm_mibps = warm or 0


def delete(call: Call, request: Request) -> None:
    stream = call.stream(request)
    if call.settings(stream).consumers and not request.get("EnforceConsumerDeletion"):
        raise errors.in_use(
            f"Stream {stream.name} under account {call.account} has registered consumers. Deregister them first, or "
            "set EnforceConsumerDeletion."
        )
    if queues := queue_lookup.of_stream(call, stream):
        raise errors.in_use(
            f"Stream {stream.name} under account {call.account} has {len(queues)} queue(s). Delete them first."
        )
    call.service.subscriptions.end_stream(stream.info.id)
    call.store.delete_stream(stream.name)


def describe(call: Call, request: Request) -> dict[str, Any]:
    stream = call.stream(request)
    chosen = call.settings(stream)
    limit = request.get("Limit", PAGE_MAX)
    after = request.get("ExclusiveStartShardId", "")
    info = call.info(stream)
    indexes = [index for index in info.lineage.indexes() if f"shardId-{index:012d}" > after]
    shown = [describe_shard(info, stream.lazy_shard(index)) for index in indexes[:limit]]
    return {
        "StreamDescription": {
            **_common(call, stream, chosen),
            "Shards": shown,
            "HasMoreShards": len(indexes) > limit,
        }
    }


def _common(call: Call, stream: Stream, chosen: Settings) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "StreamName": stream.name,
        "StreamARN": call.arn(stream.name),
        "StreamStatus": call.status(stream),
        "StreamModeDetails": {"StreamMode": chosen.mode},
        "RetentionPeriodHours": call.info(stream).retention_hours,
        "StreamCreationTimestamp": Moment(stream.info.created_us // 1000),
        "EnhancedMonitoring": [{"ShardLevelMetrics": chosen.metrics}],
        "EncryptionType": "KMS" if chosen.key_id else "NONE",
    }
    return {**shown, "KeyId": chosen.key_id} if chosen.key_id else shown


def describe_summary(call: Call, request: Request) -> dict[str, Any]:
    stream = call.stream(request)
    chosen = call.settings(stream)
    shown = {
        **_common(call, stream, chosen),
        "OpenShardCount": len(call.lineage(stream).open),
        "ConsumerCount": len(chosen.consumers),
        "MaxRecordSizeInKiB": chosen.record_size_max(stream) // 1024,
        "ChannelCount": 0,
        "QueueCount": len(queue_lookup.of_stream(call, stream)),
    }
    if chosen.mode == "ON_DEMAND":
        shown["RecordDistributionStrategy"] = chosen.distribution
        if account.has_commitment(call):
            shown["WarmThroughput"] = {"TargetMiBps": chosen.warm_mibps, "CurrentMiBps": chosen.warm_mibps}
    return {"StreamDescriptionSummary": shown}


def list_streams(call: Call, request: Request) -> dict[str, Any]:
    limit = min(request.get("Limit", PAGE_MAX), PAGE_MAX)
    after = request.get("ExclusiveStartStreamName", "")
    if (token := request.get("NextToken")) is not None:
        if after:
            raise errors.invalid("NextToken and ExclusiveStartStreamName cannot be provided together.")
        values = tokens.decode_page(call.service.key, _TOKEN, token)
        if values is None:
            raise errors.invalid("Invalid NextToken.")
        after = values["after"]
    names = [name for name in call.store.list_streams() if name > after]
    shown = names[:limit]
    answer: dict[str, Any] = {
        "StreamNames": shown,
        "HasMoreStreams": len(names) > limit,
        "StreamSummaries": [_summary(call, name) for name in shown],
    }
    if len(names) > limit:
        answer["NextToken"] = tokens.encode_page(call.service.key, _TOKEN, {"after": shown[-1]})
    return answer


def _summary(call: Call, name: str) -> dict[str, Any]:
    stream = call.stream_of(name)
    return {
        "StreamName": name,
        "StreamARN": call.arn(name),
        "StreamStatus": call.status(stream),
        "StreamModeDetails": {"StreamMode": call.settings(stream).mode},
        "StreamCreationTimestamp": Moment(stream.info.created_us // 1000),
    }


def update_max_record_size(call: Call, request: Request) -> None:
    if request.get("StreamARN") is None:
        raise errors.invalid("StreamARN should be provided.")
    stream = call.active(request)
    wanted = request["MaxRecordSizeInKiB"]
    if wanted * 1024 > stream.info.max_record_size:
        raise errors.invalid(
            f"Stream {stream.name} under account {call.account} was made with records of at most "
            f"{stream.info.max_record_size} bytes."
        )

    def edit(kept: Settings) -> None:
        kept.record_kib = wanted

    settings.change(stream, edit)
    call.changed(stream)
