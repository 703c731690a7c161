"""What holds for an account: DescribeLimits, the billing commitment, and the quotas of limits="aws"."""

from __future__ import annotations

from typing import Any

from streamstore import Stream
from streamstore.kinesis import errors, queue_lookup
from streamstore.kinesis.call import Call, Request
from streamstore.kinesis.settings import Settings
from streamstore.kinesis.values import Moment

SHARD_LIMIT = 500
ON_DEMAND_LIMIT = 50
CONSUMERS_MAX, CONSUMERS_MAX_COMMITTED = 20, 50
UNLIMITED = 1_000_000
COMMITMENT_MS = 24 * 3600 * 1000
_NOTE = "kinesis.account"


def _counts(call: Call) -> tuple[int, int]:
    """Open shards of provisioned streams, and on-demand streams."""
    shards = on_demand = 0
    for name in call.store.list_streams():
        stream = call.stream_of(name)
        if call.settings(stream).mode == "ON_DEMAND":
            on_demand += 1
        else:
            shards += len(call.lineage(stream).open)
    return shards, on_demand


def describe_limits(call: Call, request: Request) -> dict[str, Any]:
    shards, on_demand = _counts(call)
    limited = call.service.throttle is not None
    return {
        "ShardLimit": SHARD_LIMIT if limited else UNLIMITED,
        "OpenShardCount": shards,
        "OnDemandStreamCount": on_demand,
        "OnDemandStreamCountLimit": ON_DEMAND_LIMIT if limited else UNLIMITED,
        "ChannelCount": 0,
        "ChannelCountLimit": 0,
    }


def over_shards(call: Call, more: int) -> errors.ServiceError:
    """The error for more shards than the account may have."""
    now, _ = _counts(call)
    limit = SHARD_LIMIT if call.service.throttle is not None else UNLIMITED
    return errors.limit_exceeded(
        f"This request would exceed the shard limit for the account {call.account} in {call.caller.region}. "
        f"Current shard count for the account: {now}. Limit: {limit}. Number of additional shards that would have "
        f"resulted from this request: {more}. Refer to the AWS Service Limits page "
        "(https://docs.aws.amazon.com/general/latest/gr/aws_service_limits.html) for current limits and how to request "
        "higher limits."
    )


def check_quota(call: Call, mode: str, more: int) -> None:
    """Raises LimitExceededException where a new stream, or more shards of one, would be over the quota."""
    shards, on_demand = _counts(call)
    if mode == "ON_DEMAND" and on_demand >= ON_DEMAND_LIMIT:
        raise errors.limit_exceeded(
            f"This request would exceed the limit of {ON_DEMAND_LIMIT} on-demand streams for account {call.account}."
        )
    if mode != "ON_DEMAND" and shards + more > SHARD_LIMIT:
        raise over_shards(call, more)


def check_consumers(call: Call, stream: Stream, kept: Settings) -> None:
    """Raises LimitExceededException where one more consumer or queue, which share a quota, would be over it."""
    most = CONSUMERS_MAX_COMMITTED if has_commitment(call) else CONSUMERS_MAX
    if len(kept.consumers) + len(queue_lookup.of_stream(call, stream)) >= most:
        raise errors.limit_exceeded(f"A stream has at most {most} registered consumers, queues included.")


# --- the billing commitment -----------------------------------------------------------------------------------------


def _key(call: Call) -> str:
    return f"{call.account}/{call.caller.region}" if call.service.isolate else "all"


def _kept(call: Call) -> dict[str, Any]:
    return dict((call.store.annotation(_NOTE) or {}).get(_key(call), {}))


def _shown(call: Call, kept: dict[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {"Status": "DISABLED"}
    if not kept:
        return {"MinimumThroughputBillingCommitment": shown}
    ended_ms = kept.get("ended_ms")
    earliest_ms = kept["started_ms"] + COMMITMENT_MS
    shown["StartedAt"] = Moment(kept["started_ms"])
    if ended_ms is None:
        shown.update(Status="ENABLED", EarliestAllowedEndAt=Moment(earliest_ms))
    elif call.now_ms < ended_ms:
        shown.update(Status="ENABLED_UNTIL_EARLIEST_ALLOWED_END", EarliestAllowedEndAt=Moment(earliest_ms))
    else:
        shown["EndedAt"] = Moment(ended_ms)
    return {"MinimumThroughputBillingCommitment": shown}


def has_commitment(call: Call) -> bool:
    """Is the account committed to a minimum throughput, as warm throughput asks for?"""
    shown = _shown(call, _kept(call))["MinimumThroughputBillingCommitment"]
    return bool(shown["Status"] != "DISABLED")


def describe_settings(call: Call, request: Request) -> dict[str, Any]:
    return _shown(call, _kept(call))


def update_settings(call: Call, request: Request) -> dict[str, Any]:
    enable = request["MinimumThroughputBillingCommitment"]["Status"] == "ENABLED"
    committed = has_commitment(call)

    def update(kept: Any) -> Any:
        accounts = dict(kept or {})
        mine = dict(accounts.get(_key(call), {}))
        if enable and not committed:
            mine = {"started_ms": call.now_ms}
        elif enable:
            mine.pop("ended_ms", None)
        elif committed and "ended_ms" not in mine:
            mine["ended_ms"] = max(call.now_ms, mine["started_ms"] + COMMITMENT_MS)
        return {**accounts, _key(call): mine} if mine else accounts or None

    call.store.annotate(_NOTE, update)
    return _shown(call, _kept(call))
