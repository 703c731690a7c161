"""What a queue is told when it is made: a frozen value, kept in the catalog with the queue's delivery log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from streamstore.errors import InvalidArgumentError, InvalidTypeError
from streamstore.limits import MICROSECONDS, QUEUE_RECEIVES_MAX, QUEUE_VISIBILITY_MAX_S, STREAM_NAME

CODECS = ("msgpack", "json", "bytes")


@dataclass(frozen=True)
class QueueSettings:
    """`stream_id` and `stream` say whose records it delivers; `owned`: the stream is the queue's alone.

    `starts` has, for shards that had records before the queue was made, where it begins: position, and records before
    that; `start` and `start_us` say what was asked for, and which time that was. Durations in microseconds. 0 for
    `max_receive_count`, `dedup_us`, `max_records`, `max_bytes` means none.
    """

    stream_id: int
    stream: str
    owned: bool
    codec: str = "msgpack"
    visibility_us: int = 30 * MICROSECONDS
    max_receive_count: int = 6
    key_order: bool = False
    dedup_us: int = 0
    max_records: int = 0
    max_bytes: int = 0
    on_full: str = "block"
    starts: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    start: str = "TRIM_HORIZON"
    start_us: int = 0

    @property
    def guarded(self) -> bool:
        """Has every put to look at what is there before?"""
        return bool(self.dedup_us or self.max_records or self.max_bytes)

    def to_map(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_map(cls, source: Mapping[str, Any]) -> QueueSettings:
        known = {item.name for item in fields(cls)}
        return cls(**{key: value for key, value in source.items() if key in known})


def check_name(name: Any) -> str:
    """A queue's name: as a stream's. Raises InvalidTypeError, InvalidArgumentError."""
    if not isinstance(name, str):
        raise InvalidTypeError(f"a queue name is a str, not {type(name).__name__}")
    if not STREAM_NAME.match(name):
        raise InvalidArgumentError(f"{name!r} is no queue name: 1 to 128 of the characters a-z A-Z 0-9 _ . -")
    return name


def microseconds(what: str, seconds: Any, low: float, high: float) -> int:
    """A duration in seconds as microseconds. Raises InvalidTypeError, InvalidArgumentError."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise InvalidTypeError(f"{what} is a number of seconds, not {type(seconds).__name__}")
    if not low <= seconds <= high:
        raise InvalidArgumentError(f"{what} is {low:g} to {high:g} seconds, not {seconds}")
    return round(seconds * MICROSECONDS)


def visibility_us(seconds: Any) -> int:
    """A visibility timeout in microseconds: 0 to 43,200 s."""
    return microseconds("visibility", seconds, 0, QUEUE_VISIBILITY_MAX_S)


def count(what: str, value: Any, low: int, high: int) -> int:
    """A whole number in its range. Raises InvalidTypeError, InvalidArgumentError."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidTypeError(f"{what} is an int, not {type(value).__name__}")
    if not low <= value <= high:
        raise InvalidArgumentError(f"{what} is {low} to {high}, not {value}")
    return value


def parse(options: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a caller's options name; an option that is None is not given. Raises InvalidArgumentError,
    InvalidTypeError.
    """
    given = {key: value for key, value in options.items() if value is not None}
    parsed: dict[str, Any] = {}
    for key, value in given.items():
        if key == "visibility":
            parsed["visibility_us"] = visibility_us(value)
        elif key == "dedup_window":
            parsed["dedup_us"] = microseconds("dedup_window", value, 0, 7 * 86_400)
        elif key == "max_receive_count":
            parsed[key] = count(key, value, 0, QUEUE_RECEIVES_MAX)
        elif key in ("max_records", "max_bytes"):
            parsed[key] = count(key, value, 0, 1 << 62)
        elif key == "key_order":
            parsed[key] = bool(value)
        elif key == "codec":
            parsed[key] = _choice(key, value, CODECS)
        elif key == "on_full":
            parsed[key] = _choice(key, value, ("block", "error"))
        else:
            raise InvalidArgumentError(f"a queue has no option {key!r}")
    return parsed


def _choice(what: str, value: Any, choices: tuple[str, ...]) -> str:
    if not isinstance(value, str):
        raise InvalidTypeError(f"{what} is a str, not {type(value).__name__}")
    if value not in choices:
        raise InvalidArgumentError(f"{what} is one of {', '.join(choices)}, not {value!r}")
    return value
