"""The catalog's events and the state they fold into: pure functions over plain values. Knows no log and no clock.

An event is a msgpack map with a version "v" and a type "e". Keys nobody here knows are kept; a type nobody here
knows is refused, because skipping it would show streams that are not there any more (or not yet).

    create     id, name, account, region, uniform, retention_hours, durability, max_record_size, segment_size,
               created_us, epoch_floor, and any of SETTINGS
    alter      id, set {setting: value}
    clear      id, starts {shard index: position}, epoch
    trim       id, starts {shard index: position}     published before a file goes
    reshard    id, parents, children: a step (lineage.Step) that was decided and is to be carried out
    resharded  id, parents {shard index: {end, epoch, records, arrival_us}}, children: the step is done
    expire     id, shards     closed shards of which no record is kept; they stay as tombstones
    note       set {name: value}   facts about the store as a whole; None takes one away
    delete     id, epoch           the name is free again; the files go next
    purged     id, epoch           the files are gone
    snapshot   streams [as in create, with starts, shards, pending], deleting {id: shard count}, next_id, epoch_floor,
               notes: all before it, in one event
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import msgpack

from streamstore.errors import FormatVersionError
from streamstore.lineage import Child, Lineage, Node, Step, closed_from, key_of

VERSION = 1
Key = tuple[str, str, str]
"""(account, region, name): what the catalog finds a stream by."""


@dataclass(frozen=True)
class StreamInfo:
    """What the catalog knows about one stream; sizes in bytes.

    `uniform` is the number of equal shards it was made with, `starts` says where a shard's records begin, `pending`
    is a split or merge that was decided and not yet carried out.
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
    retention_us: int = 0  # 0: retention_hours counts
    max_bytes: int = 0  # 0: no limit
    on_full: str = "error"
    compact_after_us: int = 3_600_000_000  # since the segment was sealed; -1: never
    key_id: int = 0  # of the data key that new records are encrypted with; 0: none
    keys: Mapping[int, Any] = field(default_factory=dict)  # key id: the data key, wrapped
    terms: int = 0  # grows with each change of what writers must hold to
    starts: Mapping[int, int] = field(default_factory=dict)
    shards: Mapping[int, Node] = field(default_factory=dict)
    pending: Step | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        return (self.account, self.region, self.name)

    @cached_property
    def lineage(self) -> Lineage:
        """Its shards, and who came from whom."""
        return Lineage(self.uniform, self.shards)

    def to_map(self) -> dict[str, Any]:
        """The map that `from_map` takes back, unknown keys of a newer version included."""
        known = {name: getattr(self, name) for name in (*_FACTS, *SETTINGS)}
        whole = {**self.extra, **known, "starts": dict(self.starts)}
        if self.shards:  # a stream that was never resharded is `uniform` alone
            whole["shards"] = [node.to_map() for node in self.shards.values()]
        if self.pending is not None:
            whole["pending"] = self.pending.to_map()
        return whole

    @classmethod
    def from_map(cls, source: Mapping[str, Any]) -> StreamInfo:
        known = {name: source[name] for name in _FACTS}
        known.update({name: source[name] for name in SETTINGS if name in source})
        nodes = [Node.from_map(item) for item in source.get("shards", ())]
        info = cls(
            **known,
            starts=dict(source.get("starts", {})),
            shards={node.index: node for node in nodes},
            extra={key: value for key, value in source.items() if key not in _KNOWN},
        )
        return info.deciding(Step.from_map(source["pending"]) if "pending" in source else None)

    def deciding(self, step: Step | None) -> StreamInfo:
        """With that step decided on, if it can still be carried out.

        It always can while the catalog is whole. One that was made again after damage may know what became of a step
        and then come upon the event that decided on it: that would stand for ever, and whoever opens would wait for it.
        """
        stands = step is not None and all(self.lineage.is_open(index) for index in step.parents)
        return replace(self, pending=step if stands else None)


_PARTS = ("starts", "shards", "pending", "extra")
_FACTS = ("id", "name", "account", "region", "uniform", "created_us", "epoch_floor")
SETTINGS = tuple(item.name for item in fields(StreamInfo) if item.name not in (*_FACTS, *_PARTS))
"""What `alter` may change, besides keys that a later version knows."""
_KNOWN = frozenset(("v", "e", "starts", "shards", "pending", *_FACTS, *SETTINGS))


@dataclass
class State:
    """All streams at one point of the catalog."""

    streams: dict[Key, StreamInfo] = field(default_factory=dict)
    deleting: dict[int, int] = field(default_factory=dict)
    next_id: int = 1
    epoch_floor: int = 0
    notes: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    keys: dict[int, Key] = field(default_factory=dict)
    """Stream id to key, for every stream there is."""

    def put(self, info: StreamInfo) -> None:
        """Take a stream in, or what is now known about it."""
        self.streams[info.key] = info
        self.keys[info.id] = info.key


def encode(kind: str, **values: Any) -> bytes:
    """One event as the catalog's log holds it."""
    encoded: bytes = msgpack.packb({"v": VERSION, "e": kind, **values})
    return encoded


_NO_EVENT = (ValueError, TypeError, KeyError, IndexError, RecursionError, msgpack.UnpackException)
"""What taking an event apart raises. Not Exception: a signal's handler may raise its own in the middle of it."""


def fold(state: State, data: bytes) -> None:
    """Apply one event to the state. FormatVersionError for an event of a later version."""
    try:
        event = msgpack.unpackb(data, strict_map_key=False)
        version, kind = event["v"], event["e"]
    except _NO_EVENT as error:
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
    state.put(info)
    state.next_id = max(state.next_id, info.id + 1)


def _changing(change: Callable[[StreamInfo, Mapping[str, Any]], StreamInfo]) -> Callable[[State, Any], None]:
    """The handler of an event about one stream; what is about a stream that is gone changes nothing."""

    def handler(state: State, event: Mapping[str, Any]) -> None:
        state.epoch_floor = max(state.epoch_floor, event.get("epoch", 0))
        if (key := state.keys.get(event["id"])) is not None:
            state.put(change(state.streams[key], event))

    return handler


def _alter(info: StreamInfo, event: Mapping[str, Any]) -> StreamInfo:
    values = event["set"]
    fixed = sorted(_KNOWN.difference(SETTINGS).intersection(values))
    if fixed:
        raise TypeError(f"{', '.join(fixed)} cannot be set")
    known = {name: value for name, value in values.items() if name in SETTINGS}
    extra = {name: value for name, value in values.items() if name not in SETTINGS}
    return replace(info, **known, extra={**info.extra, **extra})


def _start(info: StreamInfo, event: Mapping[str, Any]) -> StreamInfo:
    # What was trimmed stays trimmed, whichever of two trims that crossed was published first.
    moved = {index: max(position, info.starts.get(index, 0)) for index, position in event["starts"].items()}
    return replace(info, starts={**info.starts, **moved})


def _reshard(info: StreamInfo, event: Mapping[str, Any]) -> StreamInfo:
    return info.deciding(Step.from_map(event))


def _resharded(info: StreamInfo, event: Mapping[str, Any]) -> StreamInfo:
    children = tuple(Child(item["index"], key_of(item["start"]), key_of(item["end"])) for item in event["children"])
    closed = {index: closed_from(facts) for index, facts in event["parents"].items()}
    after = info.lineage.close(Step(tuple(closed), children), closed)
    return replace(info, shards=after.changed).deciding(info.pending)


def _expire(info: StreamInfo, event: Mapping[str, Any]) -> StreamInfo:
    return replace(info, shards=info.lineage.expire(event["shards"]).changed)


def _note(state: State, event: Mapping[str, Any]) -> None:
    merged = {**state.notes, **event["set"]}
    state.notes = {name: value for name, value in merged.items() if value is not None}


def _delete(state: State, event: Mapping[str, Any]) -> None:
    state.epoch_floor = max(state.epoch_floor, event["epoch"])
    if (key := state.keys.pop(event["id"], None)) is not None:
        info = state.streams.pop(key)
        state.deleting[info.id] = info.lineage.next_index


def _purged(state: State, event: Mapping[str, Any]) -> None:
    state.epoch_floor = max(state.epoch_floor, event["epoch"])
    state.deleting.pop(event["id"], None)


def _snapshot(state: State, event: Mapping[str, Any]) -> None:
    infos = [StreamInfo.from_map(item) for item in event["streams"]]
    state.streams, state.keys = {}, {}
    for info in infos:
        state.put(info)
    state.deleting = dict(event["deleting"])
    state.next_id = event["next_id"]
    state.epoch_floor = event["epoch_floor"]
    state.notes = dict(event.get("notes", {}))
    state.extra = {key: value for key, value in event.items() if key not in _SNAPSHOT_KEYS}


_SNAPSHOT_KEYS = frozenset(("v", "e", "streams", "deleting", "next_id", "epoch_floor", "notes"))
_HANDLERS: dict[str, Callable[[State, Any], None]] = {
    "create": _create,
    "alter": _changing(_alter),
    "clear": _changing(_start),
    "trim": _changing(_start),
    "reshard": _changing(_reshard),
    "resharded": _changing(_resharded),
    "expire": _changing(_expire),
    "note": _note,
    "delete": _delete,
    "purged": _purged,
    "snapshot": _snapshot,
}


def snapshot(state: State) -> bytes:
    """The whole state as one event."""
    return encode(
        "snapshot",
        **state.extra,
        streams=[info.to_map() for info in state.streams.values()],
        deleting=state.deleting,
        next_id=state.next_id,
        epoch_floor=state.epoch_floor,
        **({"notes": state.notes} if state.notes else {}),
    )
