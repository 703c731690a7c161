"""Enhanced monitoring: which shard-level metrics are asked for is kept and shown; nothing is measured by them here."""

from __future__ import annotations

from typing import Any

from streamstore.kinesis import scalars, settings
from streamstore.kinesis.call import Call, Request

_CHOICE = scalars.SHAPES["MetricsName"]
assert isinstance(_CHOICE, scalars.Choice)
METRICS = tuple(name for name in _CHOICE.names if name != "ALL")


def _wanted(request: Request) -> set[str]:
    names = set(request["ShardLevelMetrics"])
    return set(METRICS) if "ALL" in names else names


def enable(call: Call, request: Request) -> dict[str, Any]:
    return _change(call, request, enabling=True)


def disable(call: Call, request: Request) -> dict[str, Any]:
    return _change(call, request, enabling=False)


def _change(call: Call, request: Request, *, enabling: bool) -> dict[str, Any]:
    stream = call.active(request)
    wanted = _wanted(request)
    before: list[str] = []

    def edit(kept: settings.Settings) -> None:
        before[:] = kept.metrics
        after = {*kept.metrics, *wanted} if enabling else set(kept.metrics) - wanted
        kept.metrics = [name for name in METRICS if name in after]

    kept = settings.change(stream, edit)
    call.changed(stream)
    return {
        "StreamName": stream.name,
        "StreamARN": call.arn(stream.name),
        "CurrentShardLevelMetrics": before,
        "DesiredShardLevelMetrics": kept.metrics,
    }
