"""The catalog's events and the state they fold into: pure functions over plain values. Knows no log and no clock.

An event is a msgpack map with a version "v" and a type "e". Keys nobody here knows are kept; a type nobody here
knows is refused, because skipping it would show streams that are not there any more (or not yet).

    create    id, name, account, region, uniform, retention_hours, durability, max_record_size, segment_size,
              created_us, epoch_floor
    clear     id, starts {shard index: position}, epoch
    delete    id, epoch           the name is free again; the files go next
    purged    id, epoch           the files are gone
    snapshot  streams [as in create], deleting {id: shard count}, next_id, epoch_floor: all before it, in one event
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import msgpack

from streamstore.errors import FormatVersionError

VERSION = 1
Key = tuple[str, str, str]
"""(account, region, name): what the catalog finds a stream by."""


@dataclass(frozen=True)
class StreamInfo:
    """What the catalog knows about one stream; sizes in bytes. `uniform` is the number of equal shards it was made
    with.
    """

    id: int
    name: str
    account: str
    region: str
    uniform: int
    retention_hours: int
    durability: str
    max_record_size: int
    segment_size: int
    created_us: int
    epoch_floor: int
    starts: Mapping[int, int] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        return (self.account, self.region, self.name)

    def to_map(self) -> dict[str, Any]:
        """The map that `from_map` takes back, unknown keys of a newer version included."""
        known = {name: getattr(self, name) for name in _INFO_KEYS}
        return {**self.extra, **known, "starts": dict(self.starts)}

    @classmethod
    def from_map(cls, source: Mapping[str, Any]) -> StreamInfo:
        extra = {
            key: value for key, value in source.items() if key not in _INFO_KEYS and key not in ("v", "e", "starts")
        }
        return cls(**{name: source[name] for name in _INFO_KEYS}, starts=dict(source.get("starts", {})), extra=extra)


_INFO_KEYS = tuple(item.name for item in fields(StreamInfo) if item.name not in ("starts", "extra"))


@dataclass
class State:
    """All streams at one point of the catalog."""

    streams: dict[Key, StreamInfo] = field(default_factory=dict)
    deleting: dict[int, int] = field(default_factory=dict)
    next_id: int = 1
    epoch_floor: int = 0
    extra: dict[str, Any] = field(default_factory=dict)


def encode(kind: str, **values: Any) -> bytes:
    """One event as the catalog's log holds it."""
    encoded: bytes = msgpack.packb({"v": VERSION, "e": kind, **values})
    return encoded


def fold(state: State, data: bytes) -> None:
    """Apply one event to the state. FormatVersionError for an event of a later version."""
    try:
        event = msgpack.unpackb(data, strict_map_key=False)
        version, kind = event["v"], event["e"]
    except Exception as error:
        raise FormatVersionError(f"the catalog holds an event that is none of ours ({error})") from error
    handler = _HANDLERS.get(kind)
    if version != VERSION or handler is None:
        raise FormatVersionError(
            f"the catalog holds an event {kind!r} of version {version}, written by a later version of streamstore: "
            "upgrade to read it"
        )
    try:
        handler(state, event)
    except (KeyError, TypeError, AttributeError) as error:
        raise FormatVersionError(
            f"the catalog holds an event {kind!r} that misses what version {version} has ({error!r})"
        ) from error


def _create(state: State, event: Mapping[str, Any]) -> None:
    info = StreamInfo.from_map(event)
    state.streams[info.key] = info
    state.next_id = max(state.next_id, info.id + 1)


def _find(state: State, stream_id: int) -> StreamInfo | None:
    return next((info for info in state.streams.values() if info.id == stream_id), None)


def _clear(state: State, event: Mapping[str, Any]) -> None:
    state.epoch_floor = max(state.epoch_floor, event["epoch"])
    if (info := _find(state, event["id"])) is not None:
        state.streams[info.key] = replace(info, starts={**info.starts, **event["starts"]})


def _delete(state: State, event: Mapping[str, Any]) -> None:
    state.epoch_floor = max(state.epoch_floor, event["epoch"])
    if (info := _find(state, event["id"])) is not None:
        del state.streams[info.key]
        state.deleting[info.id] = info.uniform


def _purged(state: State, event: Mapping[str, Any]) -> None:
    state.epoch_floor = max(state.epoch_floor, event["epoch"])
    state.deleting.pop(event["id"], None)


def _snapshot(state: State, event: Mapping[str, Any]) -> None:
    infos = [StreamInfo.from_map(item) for item in event["streams"]]
    state.streams = {info.key: info for info in infos}
    state.deleting = dict(event["deleting"])
    state.next_id = event["next_id"]
    state.epoch_floor = event["epoch_floor"]
    state.extra = {key: value for key, value in event.items() if key not in _SNAPSHOT_KEYS}


_SNAPSHOT_KEYS = frozenset(("v", "e", "streams", "deleting", "next_id", "epoch_floor"))
_HANDLERS = {"create": _create, "clear": _clear, "delete": _delete, "purged": _purged, "snapshot": _snapshot}


def snapshot(state: State) -> bytes:
    """The whole state as one event."""
    return encode(
        "snapshot",
        **state.extra,
        streams=[info.to_map() for info in state.streams.values()],
        deleting=state.deleting,
        next_id=state.next_id,
        epoch_floor=state.epoch_floor,
    )
