"""CreateQueue, DeleteQueue, DescribeQueue, ListQueues, UpdateQueue: the same queues as `store.create_queue` makes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from streamstore import Stream, StreamExistsError, limits
from streamstore.kinesis import account, arns, errors, queue_lookup, settings, tags, tokens
from streamstore.kinesis.call import Call, Request
from streamstore.kinesis.queue_lookup import Found
from streamstore.kinesis.settings import Settings
from streamstore.kinesis.values import Moment
from streamstore.queue import attach

PAGE_MAX = 100
TOKEN_LIFE_MS = 300_000
_TOKEN = "ListQueues"
_SECOND = limits.MICROSECONDS


def create(call: Call, request: Request) -> dict[str, Any]:
    name = request["QueueName"]
    if len(request["StreamConfigurationList"]) != 1:
        raise errors.refused("StreamConfigurationList must contain exactly one entry.")
    wanted = request["StreamConfigurationList"][0]
    start = _start(call, wanted.get("StartingPosition") or {"Type": "LATEST"})
    options = {**_options(request.get("QueueAttributes") or {}), "start": start}
    stream = call.active(wanted)
    kept = Settings()
    if given := request.get("Tags"):
        tags.merge(kept.tags, given, f"queue {name}", call.account)
    if call.service.throttle is not None:
        _check_limits(call, stream)
    notes = {settings.NAME: kept.to_map()} if given else {}
    try:
        attach.over(call.store, name, stream.name, options, notes)
    except StreamExistsError:
        raise errors.in_use(f"Queue {name} under account {call.account} already exists.") from None
    return {"QueueDescription": _description(call, queue_lookup.named(call, name), "CREATING")}


def _start(call: Call, position: Mapping[str, Any]) -> Any:
    """A starting position as the store takes it."""
    kind, time_ms = position["Type"], position.get("Timestamp")
    if kind != "AT_TIMESTAMP":
        if time_ms is not None:
            raise errors.refused(f"Timestamp can be specified with the type AT_TIMESTAMP only, not with {kind}.")
        return kind
    if time_ms is None:
        raise errors.refused("Timestamp is required with the type AT_TIMESTAMP.")
    if time_ms > call.now_ms:
        raise errors.invalid(
            f"The Timestamp of StartingPosition cannot be in the future. Timestamp: {time_ms}, now: {call.now_ms}"
        )
    return max(time_ms, 0) / 1000


def _options(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """What a request says about a queue, as options of the store's; what it says nothing about is left out."""
    options: dict[str, Any] = {}
    if (seconds := attributes.get("VisibilityTimeoutSeconds")) is not None:
        options["visibility"] = seconds
    if (dead := attributes.get("DeadLetterConfiguration")) is not None:
        most = dead.get("MaxReceiveCount")
        if dead["TargetType"] == "NONE" and most is not None:
            raise errors.refused("MaxReceiveCount cannot be specified with the TargetType NONE.")
        if dead["TargetType"] == "BUILT_IN" and most is None:
            raise errors.refused("MaxReceiveCount is required with the TargetType BUILT_IN.")
        options["max_receive_count"] = most or 0
    return options


def _check_limits(call: Call, stream: Stream) -> None:
    kept = call.settings(stream)
    if kept.mode != "ON_DEMAND":
        raise errors.invalid(
            f"Stream {stream.name} under account {call.account} is in Provisioned mode: queues are supported only on "
            "streams in On-Demand mode."
        )
    account.check_consumers(call, stream, kept)


def describe(call: Call, request: Request) -> dict[str, Any]:
    found = queue_lookup.find(call, request["QueueARN"])
    return {"QueueDescription": _description(call, found, call.status(found.inner))}


def _description(call: Call, found: Found, status: str) -> dict[str, Any]:
    kept = found.settings
    dead: dict[str, Any] = {"TargetType": "NONE"}
    if kept.max_receive_count:
        dead = {"TargetType": "BUILT_IN", "MaxReceiveCount": kept.max_receive_count}
    position: dict[str, Any] = {"Type": kept.start}
    if status != "CREATING":
        # As early as the stream can have been read from when the queue was made.
        horizon_us = found.info.created_us - found.source.retention_hours * 3600 * _SECOND
        position["Timestamp"] = Moment(max(kept.start_us, found.source.created_us, horizon_us) // 1000)
    elif kept.start == "AT_TIMESTAMP":
        position["Timestamp"] = Moment(kept.start_us // 1000)
    return {
        **_named(call, found, status),
        "StreamConfigurationList": [{"StreamARN": call.arn(found.source.name), "StartingPosition": position}],
        "QueueAttributes": {
            "VisibilityTimeoutSeconds": -(-kept.visibility_us // _SECOND),
            "DeadLetterConfiguration": dead,
        },
    }


def _named(call: Call, found: Found, status: str) -> dict[str, Any]:
    return {
        "QueueName": found.name,
        "QueueARN": found.arn(call),
        "QueueStatus": status,
        "QueueCreationTimestamp": Moment(found.info.created_us // 1000),
    }


def update(call: Call, request: Request) -> dict[str, Any]:
    found = queue_lookup.find(call, request["QueueARN"])
    options = _options(request["QueueAttributes"])
    status = call.status(found.inner)
    if status != "ACTIVE":
        raise errors.in_use(f"Queue {found.name} under account {call.account} not ACTIVE, instead in state {status}")
    if options:
        attach.configure(call.store, found.name, options)
    call.changed(found.inner)
    return {"QueueDescription": _description(call, queue_lookup.find(call, request["QueueARN"]), "UPDATING")}


def delete(call: Call, request: Request) -> None:
    found = queue_lookup.find(call, request["QueueARN"])
    if found.settings.owned:
        raise errors.invalid(
            f"Queue {found.name} under account {call.account} has a stream of its own, whose records would go with it. "
            "Nothing was done; in Python, store.delete_queue() deletes both."
        )
    attach.remove(call.store, found.info)


def list_queues(call: Call, request: Request) -> dict[str, Any]:
    limit = min(request.get("MaxResults", PAGE_MAX), PAGE_MAX)
    filters = [(item["StreamARN"], item.get("StreamCreationTimestamp")) for item in request.get("StreamFilter", ())]
    after = ""
    if (token := request.get("NextToken")) is not None:
        values = tokens.decode_page(call.service.key, _TOKEN, token)
        if values is None or values["filters"] != _digest(filters):
            raise errors.invalid("Invalid NextToken.")
        if call.now_ms - values["ms"] > TOKEN_LIFE_MS:
            raise errors.expired_token()
        after = values["after"]
    described = (queue_lookup.described(call.store, info) for info in attach.kept_of(call.store).values())
    listed = [
        found for found in described if found is not None and found.name > after and _passes(call, found, filters)
    ]
    answer: dict[str, Any] = {"QueueSummaries": [_summary(call, found) for found in listed[:limit]]}
    if len(listed) > limit:
        values = {"filters": _digest(filters), "after": listed[limit - 1].name, "ms": call.now_ms}
        answer["NextToken"] = tokens.encode_page(call.service.key, _TOKEN, values)
    return answer


def _digest(filters: list[tuple[str, int | None]]) -> str:
    """What a token keeps of the filters that it goes with: they may be longer than a token."""
    return hashlib.blake2b(repr(filters).encode(), digest_size=16).hexdigest()


def _passes(call: Call, found: Found, filters: list[tuple[str, int | None]]) -> bool:
    if not filters:
        return True
    for arn, created_ms in filters:
        parsed = arns.parse_stream(arn)
        ours = parsed is not None and (parsed.name, parsed.account) == (found.source.name, call.account)
        if call.service.isolate:
            ours = ours and parsed is not None and parsed.region == call.caller.region
        # In whole seconds, which is what JSON clients send.
        if ours and (created_ms is None or created_ms // 1000 == found.source.created_us // _SECOND):
            return True
    return False


def _summary(call: Call, found: Found) -> dict[str, Any]:
    stream = {
        "StreamARN": call.arn(found.source.name),
        "StreamCreationTimestamp": Moment(found.source.created_us // 1000),
    }
    return {**_named(call, found, call.status(found.inner)), "Streams": [stream]}
