"""What a caller may choose for a store or a stream, checked and made into values. Pure: no store, no catalog."""

from __future__ import annotations

from typing import Any

from streamstore import limits
from streamstore.errors import InvalidArgumentError, InvalidTypeError
from streamstore.events import Key, State, StreamInfo


def check_int(what: str, value: Any, low: int, high: int) -> None:
    """Raise InvalidTypeError or InvalidArgumentError unless `value` is an int from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidTypeError(f"{what} is an int, not {type(value).__name__}")
    if not low <= value <= high:
        raise InvalidArgumentError(f"{what} is {low} to {high}, not {value}")


def check_choice(what: str, value: Any, choices: tuple[str, ...]) -> None:
    """Raise InvalidTypeError or InvalidArgumentError unless `value` is one of these words."""
    if not isinstance(value, str):
        raise InvalidTypeError(f"{what} is a str, not {type(value).__name__}")
    if value not in choices:
        raise InvalidArgumentError(f"{what} is one of {', '.join(choices)}, not {value!r}")


def check_options(options: dict[str, Any]) -> None:
    """Raise InvalidTypeError or InvalidArgumentError unless these are options to open a store with."""
    check_choice("durability", options["durability"], limits.DURABILITIES)
    for what, pattern, example in (("account", limits.ACCOUNT, "000000000000"), ("region", limits.REGION, "us-east-1")):
        if not isinstance(options[what], str):
            raise InvalidTypeError(f"{what} is a str, not {type(options[what]).__name__}")
        if not pattern.match(options[what]):
            raise InvalidArgumentError(f"{what} looks like {example!r}, not {options[what]!r}")
    interval = options["sync_interval"]
    if isinstance(interval, bool) or not isinstance(interval, (int, float)):
        raise InvalidTypeError(f"sync_interval is a number of seconds, not {type(interval).__name__}")
    if not 0.001 <= interval <= 3600:
        raise InvalidArgumentError(f"sync_interval is 0.001 to 3600 seconds, not {interval}")


def compact_after_us(after: float | None) -> int:
    """A caller's `compact_after` as the catalog has it. Raises InvalidArgumentError, InvalidTypeError."""
    if after is None:
        return limits.COMPACT_NEVER
    if isinstance(after, bool) or not isinstance(after, (int, float)):
        raise InvalidTypeError(f"compact_after is a number of seconds or None, not {type(after).__name__}")
    if not 0 <= after <= limits.RETENTION_HOURS_MAX * 3600:
        raise InvalidArgumentError(f"compact_after is 0 to {limits.RETENTION_HOURS_MAX * 3600} seconds, not {after}")
    return round(after * 1_000_000)


def stream_name(name: Any) -> str:
    """A stream's name. Raises InvalidArgumentError, InvalidTypeError."""
    if not isinstance(name, str):
        raise InvalidTypeError(f"a stream name is a str, not {type(name).__name__}")
    if not limits.STREAM_NAME.match(name):
        raise InvalidArgumentError(f"{name!r} is no stream name: 1 to 128 of the characters a-z A-Z 0-9 _ . -")
    return name


def check_stream(name: Any, **options: Any) -> None:
    """Raise InvalidTypeError or InvalidArgumentError unless `create_stream` takes these; None is not given.

    For who makes a store for the sake of one stream: a store that nobody wanted is not to be left behind.
    """
    new_stream(("", "", stream_name(name)), **{what: value for what, value in options.items() if value is not None})


def new_stream(
    key: Key,
    *,
    shard_count: Any = 1,
    retention_hours: Any = limits.RETENTION_HOURS_MIN,
    durability: Any = "sync",
    max_record_size: Any = limits.RECORD_SIZE_DEFAULT,
    segment_size: Any = None,
    compact_after: Any = limits.COMPACT_AFTER_US / 1_000_000,
    max_bytes: Any = None,
    on_full: Any = "error",
) -> StreamInfo:
    """The stream that is asked for, without id and time. Raises InvalidArgumentError, InvalidTypeError."""
    check_choice("durability", durability, limits.DURABILITIES)
    check_int("shard_count", shard_count, 1, limits.SHARD_COUNT_MAX)
    check_int("retention_hours", retention_hours, limits.RETENTION_HOURS_MIN, limits.RETENTION_HOURS_MAX)
    check_int("max_record_size", max_record_size, 1, limits.RECORD_SIZE_MAX)
    if segment_size is not None:
        check_int("segment_size", segment_size, limits.SEGMENT_SIZE_MIN, limits.SEGMENT_SIZE_MAX)
        if segment_size % limits.SEGMENT_SIZE_UNIT:
            raise InvalidArgumentError(f"segment_size is a multiple of {limits.SEGMENT_SIZE_UNIT}, not {segment_size}")
    bytes_max = _max_bytes(max_bytes)
    if segment_size is None and bytes_max:
        segment_size = _segment_size_for(bytes_max // shard_count)
    account, region, name = key
    return StreamInfo(
        id=0,
        name=name,
        account=account,
        region=region,
        uniform=shard_count,
        retention_hours=retention_hours,
        durability=durability,
        max_record_size=max_record_size,
        segment_size=segment_size or 0,
        created_us=0,
        epoch_floor=0,
        compact_after_us=compact_after_us(compact_after),
        max_bytes=bytes_max,
        on_full=_on_full(on_full),
    )


def max_bytes(value: Any) -> int:
    """A caller's `max_bytes` as the catalog has it. Raises InvalidArgumentError, InvalidTypeError."""
    if value is not None:
        check_int("max_bytes", value, limits.STREAM_SIZE_MIN, limits.STREAM_SIZE_MAX)
    return value or 0


def on_full(value: Any) -> str:
    """A caller's `on_full`. Raises InvalidArgumentError, InvalidTypeError."""
    check_choice("on_full", value, limits.ON_FULL)
    return str(value)


_max_bytes, _on_full = max_bytes, on_full  # under their own names where a parameter has the other


def _segment_size_for(share: int) -> int:
    """Small enough that little of a shard's share goes with the oldest segment."""
    size = share // 8 // limits.SEGMENT_SIZE_UNIT * limits.SEGMENT_SIZE_UNIT
    return max(limits.SEGMENT_SIZE_MIN, min(size, 128 * limits.MIB))


def current(state: State, info: StreamInfo) -> StreamInfo:
    """What the catalog says of a stream now; `info`, which was known before, where it is gone."""
    found = state.streams.get(info.key)
    return found if found is not None and found.id == info.id else info
