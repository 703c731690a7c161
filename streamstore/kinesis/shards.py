"""ListShards and how a shard is shown: closed ones keep their end, open ones have none, filters look at both times."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from streamstore import Shard, Stream, routing
from streamstore.events import StreamInfo
from streamstore.kinesis import errors, tokens
from streamstore.kinesis.call import Call, Request
from streamstore.lineage import Lineage

PAGE_MAX = 1000
TOKEN_LIFE_MS = 300_000
_TOKEN = "ListShards"


def describe(info: StreamInfo, shard: Shard) -> dict[str, Any]:
    """A shard as ListShards and DescribeStream show it: open or closed as `info` has it, so that a listing is of one
    moment.

    In the middle of a split or merge the parents' logs are closed already and the children are not there yet; until
    then the parents are shown as open, or the open ranges would have a hole.
    """
    numbers = shard.sequence_range
    ends = {} if info.lineage[shard.index].closed is None else {"EndingSequenceNumber": numbers.end}
    shown: dict[str, Any] = {
        "ShardId": shard.id,
        "HashKeyRange": hash_range(shard),
        "SequenceNumberRange": {"StartingSequenceNumber": numbers.start, **ends},
    }
    for name, parent in zip(("ParentShardId", "AdjacentParentShardId"), shard.parents, strict=False):
        shown[name] = parent
    return shown


def hash_range(shard: Shard) -> dict[str, str]:
    return {"StartingHashKey": str(shard.hash_range.start), "EndingHashKey": str(shard.hash_range.end)}


def child_shards(call: Call, stream: Stream, index: int) -> list[dict[str, Any]]:
    """The shards that went on with a closed shard's keys, as GetRecords and fan-out events name them."""
    lineage = call.lineage(stream)
    found = []
    for child in lineage[index].children:
        node = lineage[child]
        found.append(
            {
                "ShardId": routing.shard_id(child),
                "ParentShards": [routing.shard_id(parent) for parent in node.parents],
                "HashKeyRange": {
                    "StartingHashKey": str(node.hash_range.start),
                    "EndingHashKey": str(node.hash_range.end),
                },
            }
        )
    return found


def list_shards(call: Call, request: Request) -> dict[str, Any]:
    limit = min(request.get("MaxResults", PAGE_MAX), PAGE_MAX)
    if (token := request.get("NextToken")) is not None:
        stream, after, filtered = _from_token(call, request, token)
    else:
        if request.get("StreamName") is None and request.get("StreamARN") is None:
            raise errors.invalid("Either NextToken or StreamName should be provided.")
        stream = call.stream(request)
        after = _after(request.get("ExclusiveStartShardId"))
        filtered = request.get("ShardFilter") or {}
        _check_filter(call, filtered)
        if filtered.get("Type") == "AFTER_SHARD_ID":
            after = max(after, _after(filtered["ShardId"]))
    created_ms = request.get("StreamCreationTimestamp")
    if created_ms is not None and created_ms // 1000 != stream.info.created_us // 1_000_000:
        raise errors.no_stream(stream.name, call.account)
    info = call.info(stream)
    keep = _keep(info, filtered)
    indexes = [index for index in info.lineage.indexes() if index > after and keep(index)]
    answer: dict[str, Any] = {"Shards": [describe(info, stream.lazy_shard(index)) for index in indexes[:limit]]}
    if len(indexes) > limit:
        values = {"stream": stream.info.id, "after": indexes[limit - 1], "filter": dict(filtered), "ms": call.now_ms}
        answer["NextToken"] = tokens.encode_page(call.service.key, _TOKEN, values)
    return answer


def _from_token(call: Call, request: Request, token: str) -> tuple[Stream, int, Request]:
    for name in ("StreamName", "StreamARN"):
        if request.get(name) is not None:
            raise errors.invalid(f"NextToken and {name} cannot be provided together.")
    for name in ("ExclusiveStartShardId", "StreamCreationTimestamp", "ShardFilter"):
        if request.get(name) is not None:
            raise errors.invalid(f"NextToken and {name} cannot be provided together.")
    values = tokens.decode_page(call.service.key, _TOKEN, token)
    if values is None:
        raise errors.invalid("Invalid NextToken.")
    if call.now_ms - values["ms"] > TOKEN_LIFE_MS:
        raise errors.expired_token()
    stream = call.stream_by_id(values["stream"])
    return stream, values["after"], values["filter"]


def _after(shard_id: str | None) -> int:
    """The index behind which a listing begins."""
    if shard_id is None:
        return -1
    digits = shard_id.rpartition("-")[2]
    if not (digits.isascii() and digits.isdigit()):
        raise errors.invalid(f"Invalid ShardId: {shard_id}")
    return int(digits)


def _check_filter(call: Call, filtered: Request) -> None:
    kind = filtered.get("Type")
    for name, kinds in (("ShardId", ("AFTER_SHARD_ID",)), ("Timestamp", ("AT_TIMESTAMP", "FROM_TIMESTAMP"))):
        given = filtered.get(name) is not None
        if given and kind not in kinds:
            raise errors.invalid(f"{name} cannot be provided with ShardFilter type {kind}.")
        if not given and kind in kinds:
            raise errors.invalid(f"{name} must be provided with ShardFilter type {kind}.")
    if filtered.get("Timestamp", 0) > call.now_ms:
        raise errors.invalid("The Timestamp of a ShardFilter cannot be in the future.")


def _keep(info: StreamInfo, filtered: Request) -> Callable[[int], bool]:
    """Does the filter keep the shard of an index?"""
    lineage = info.lineage
    kind = filtered.get("Type", "FROM_TRIM_HORIZON")
    if kind == "AT_LATEST":
        return lineage.is_open
    if kind == "AT_TRIM_HORIZON":
        # What was open at the horizon: the oldest that are still listed.
        roots = frozenset(lineage.roots())
        return roots.__contains__
    if kind == "AT_TIMESTAMP":
        ms = filtered["Timestamp"]
        return lambda index: made_ms(info, index) <= ms and _open_at(info, index, ms)
    if kind == "FROM_TIMESTAMP":
        ms = filtered["Timestamp"]
        return lambda index: _open_at(info, index, ms)
    return lambda index: True


def made_ms(info: StreamInfo, index: int) -> int:
    """From when on a shard takes records, as near as is kept: behind the last that its parents took."""
    return max(info.lineage[index].arrival_floor_us, info.created_us) // 1000


def _open_at(info: StreamInfo, index: int, ms: int) -> bool:
    """Had the shard not been closed by then? It was when its children were made."""
    lineage: Lineage = info.lineage
    if lineage.is_open(index):
        return True
    children = lineage[index].children
    return not children or min(made_ms(info, child) for child in children) >= ms
