"""SplitShard, MergeShards and UpdateShardCount, with the service's own refusals before the store is asked."""

from __future__ import annotations

from typing import Any

from streamstore import Shard, Stream
from streamstore.kinesis import account, errors, settings
from streamstore.kinesis.call import Call, Request
from streamstore.kinesis.settings import Settings

DAY_US = 24 * 3600 * 1_000_000
SCALINGS_MAX = 10
COUNT_MAX = 10_000


def _open_shard(call: Call, stream: Stream, shard_id: str) -> Shard:
    shard = call.shard(stream, shard_id)
    if not call.lineage(stream).is_open(shard.index):
        raise errors.invalid(
            f"Shard {shard.id} in stream {stream.name} under account {call.account} has already been merged or split, "
            "and thus is not eligible for merging or splitting."
        )
    return shard


def split(call: Call, request: Request) -> None:
    stream = call.active(request)
    shard = _open_shard(call, stream, request["ShardToSplit"])
    key = int(request["NewStartingHashKey"])
    start, end = shard.hash_range
    if not start + 1 < key < end:
        raise errors.invalid(
            f"NewStartingHashKey {key} used in SplitShard() on shard {shard.id} in stream {stream.name} under account "
            f"{call.account} is not both greater than one plus the shard's StartingHashKey {start} and less than the "
            f"shard's EndingHashKey {end}."
        )
    _check_quota(call, stream, 1)
    stream.split_shard(shard.id, key)
    call.changed(stream)


def merge(call: Call, request: Request) -> None:
    stream = call.active(request)
    one = _open_shard(call, stream, request["ShardToMerge"])
    other = _open_shard(call, stream, request["AdjacentShardToMerge"])
    low, high = sorted((one.hash_range, other.hash_range))
    if low.end + 1 != high.start:
        raise errors.invalid(
            f"Shards {one.id} and {other.id} in stream {stream.name} under account {call.account} are not an adjacent "
            "pair of shards eligible for merging"
        )
    stream.merge_shards(one.id, other.id)
    call.changed(stream)


def update_count(call: Call, request: Request) -> dict[str, Any]:
    stream = call.active(request)
    kept = call.settings(stream)
    if kept.mode == "ON_DEMAND":
        raise errors.refused(
            f"Request is invalid. Stream {stream.name} under account {call.account} is in On-Demand mode."
        )
    target, present = request["TargetShardCount"], len(call.lineage(stream).open)
    if target > COUNT_MAX:
        raise errors.limit_exceeded(f"TargetShardCount {target} is over the {COUNT_MAX} shards that a stream may have.")
    if call.service.throttle is not None:
        _check_scaling(call, stream, target, present)
    stream.update_shard_count(target)
    call.changed(stream)
    return {
        "StreamName": stream.name,
        "StreamARN": call.arn(stream.name),
        "CurrentShardCount": present,
        "TargetShardCount": target,
    }


def _check_scaling(call: Call, stream: Stream, target: int, present: int) -> None:
    if target > 2 * present or 2 * target < present:
        raise errors.invalid(
            "UpdateShardCount cannot scale up over double your current open shard count, nor down below half of it. "
            f"Current open shard count: {present}. Target shard count: {target}."
        )
    _check_quota(call, stream, target - present)

    def count(kept: Settings) -> None:
        kept.scalings_us = [us for us in kept.scalings_us if call.now_us - us < DAY_US]
        if len(kept.scalings_us) >= SCALINGS_MAX:
            raise errors.limit_exceeded(
                f"Stream {stream.name} under account {call.account} was scaled {SCALINGS_MAX} times within 24 hours."
            )
        kept.scalings_us.append(call.now_us)

    settings.change(stream, count)


def _check_quota(call: Call, stream: Stream, more: int) -> None:
    if call.service.throttle is not None and more > 0 and call.settings(stream).mode != "ON_DEMAND":
        account.check_quota(call, "PROVISIONED", more)
