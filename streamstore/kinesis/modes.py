"""Capacity mode, record distribution and warm throughput: kept, shown, and obeyed where they mean something here."""

from __future__ import annotations

from typing import Any

from streamstore.kinesis import account, errors, queue_lookup, settings
from streamstore.kinesis.call import Call, Request
from streamstore.kinesis.settings import Settings

WARM_MIBPS_MAX = 10 * 1024


def update_mode(call: Call, request: Request) -> None:
    stream = call.active(request)
    mode = request["StreamModeDetails"]["StreamMode"]
    warm = request.get("WarmThroughputMiBps")
    if warm is not None and mode != "ON_DEMAND":
        raise errors.refused("WarmThroughputMiBps is only supported for streams in On-Demand mode.")
    if warm is not None:
        _check_warm(call, warm)

    def edit(kept: Settings) -> None:
        if kept.mode == "ON_DEMAND" != mode and queue_lookup.of_stream(call, stream):
            raise errors.in_use(
                f"Stream {stream.name} under account {call.account} has queues. Delete them before it leaves On-Demand "
                "mode."
            )
        kept.mode = mode
        kept.warm_mibps = warm or 0
        if mode != "ON_DEMAND":  # a provisioned stream has no strategy: keys count again
            kept.distribution = Settings().distribution

    settings.change(stream, edit)
    call.changed(stream)


def update_distribution(call: Call, request: Request) -> None:
    stream = call.active(request)
    strategy = request["RecordDistributionStrategy"]

    def edit(kept: Settings) -> None:
        if kept.mode != "ON_DEMAND":
            raise errors.invalid(
                f"Stream {stream.name} under account {call.account} is in Provisioned mode, which has no record "
                "distribution strategy."
            )
        kept.distribution = strategy

    settings.change(stream, edit)


def _check_warm(call: Call, warm: int) -> None:
    if not account.has_commitment(call):
        raise errors.refused("Warm throughput needs an account with MinimumThroughputBillingCommitment enabled.")
    if warm > WARM_MIBPS_MAX:
        raise errors.limit_exceeded(f"Warm throughput is at most {WARM_MIBPS_MAX} MiB/s.")


def update_warm_throughput(call: Call, request: Request) -> dict[str, Any]:
    stream = call.active(request)
    warm = request["WarmThroughputMiBps"]
    _check_warm(call, warm)

    def edit(kept: Settings) -> None:
        if kept.mode != "ON_DEMAND":
            raise errors.refused(f"Stream {stream.name} under account {call.account} is in Provisioned mode.")
        kept.warm_mibps = warm

    settings.change(stream, edit)
    call.changed(stream)
    return {
        "StreamName": stream.name,
        "StreamARN": call.arn(stream.name),
        "WarmThroughput": {"TargetMiBps": warm, "CurrentMiBps": warm},
    }
