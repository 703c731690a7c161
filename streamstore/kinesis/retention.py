"""Increase- and DecreaseStreamRetentionPeriod: the same value is no change, whichever of the two is called."""

from __future__ import annotations

from streamstore import limits
from streamstore.kinesis import errors
from streamstore.kinesis.call import Call, Request


def increase(call: Call, request: Request) -> None:
    _set(call, request, increasing=True)


def decrease(call: Call, request: Request) -> None:
    _set(call, request, increasing=False)


def _set(call: Call, request: Request, *, increasing: bool) -> None:
    stream = call.active(request)
    wanted, present = request["RetentionPeriodHours"], call.info(stream).retention_hours
    if wanted < limits.RETENTION_HOURS_MIN:
        raise errors.invalid(
            f"Minimum allowed retention period is {limits.RETENTION_HOURS_MIN} hours. Requested retention period "
            f"({wanted} hours) is too short."
        )
    if wanted > limits.RETENTION_HOURS_MAX:
        raise errors.invalid(
            f"Maximum allowed retention period is {limits.RETENTION_HOURS_MAX} hours. Requested retention period "
            f"({wanted} hours) is too long."
        )
    if wanted == present:
        return
    if increasing and wanted < present:
        raise errors.invalid(
            f"Requested retention period ({wanted} hours) for stream {stream.name} can not be shorter than existing "
            f"retention period ({present} hours). Use DecreaseRetentionPeriod API."
        )
    if not increasing and wanted > present:
        raise errors.invalid(
            f"Requested retention period ({wanted} hours) for stream {stream.name} can not be longer than existing "
            f"retention period ({present} hours). Use IncreaseRetentionPeriod API."
        )
    stream.set_retention(hours=wanted)
    call.changed(stream)
