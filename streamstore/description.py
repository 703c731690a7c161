"""What a segment says about its stream, so that the catalog can be made again from segments alone (docs/format.md).

Pure. Everything that fits: the facts without which a stream is none come always, settings and what others keep with
the stream as far as there is room.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgpack

from streamstore import limits
from streamstore.events import SETTINGS, StreamInfo
from streamstore.lineage import key_bytes
from streamstore.values import HashRange

FACTS = ("id", "name", "account", "region", "uniform", "created_us", "retention_hours", "durability", "max_record_size")
_INTEGERS = ("id", "uniform", "created_us", "retention_hours", "max_record_size")
_OWN = ("shard", "hash_start", "hash_end", "parents")


def describe(info: StreamInfo, index: int) -> bytes:
    """The description in the segments of one shard."""
    node = info.lineage[index]
    facts = {
        **{name: getattr(info, name) for name in FACTS},
        "segment_size": info.segment_size,
        "shard": index,
        "hash_start": key_bytes(node.hash_range.start),
        "hash_end": key_bytes(node.hash_range.end),
        "parents": list(node.parents),
    }
    settings = {name: getattr(info, name) for name in SETTINGS}
    # Without the older data keys a stream is one that cannot be read as far back, without its settings another one.
    present = {key_id: key for key_id, key in info.keys.items() if key_id == info.key_id}
    for more in ({**info.extra, **settings}, settings, {**settings, "keys": present}, {}):
        encoded: bytes = msgpack.packb({**more, **facts})
        if len(encoded) <= limits.DESCRIPTION_SIZE_MAX:
            return encoded
    raise AssertionError("names and numbers alone fit")


def parse(description: bytes, stream_id: int, index: int) -> dict[str, Any] | None:
    """What a description says, as a `create` event has it; None where it is none of this shard's."""
    said = _unpacked(description)
    if said is None or said.get("id") != stream_id or said.get("shard") != index:
        return None
    usable = (
        all(type(said.get(name)) is int for name in _INTEGERS)
        and all(isinstance(said.get(name), str) for name in ("name", "account", "region"))
        and said.get("durability") in limits.DURABILITIES
        and 0 < said["uniform"] <= limits.SHARD_COUNT_MAX
    )
    return {"segment_size": 0, **said} if usable else None


def _unpacked(description: bytes) -> dict[str, Any] | None:
    try:
        said = msgpack.unpackb(description, strict_map_key=False)
    except Exception:  # whatever the bytes are, they say nothing
        return None
    return said if isinstance(said, dict) else None


def of_stream(said: Mapping[str, Any]) -> dict[str, Any]:
    """The part that is about the stream and not about the shard."""
    return {name: value for name, value in said.items() if name not in _OWN}


def of_shard(said: Mapping[str, Any]) -> tuple[HashRange, tuple[int, ...]] | None:
    """The hash range of the shard, and its parents."""
    start, end, parents = said.get("hash_start"), said.get("hash_end"), said.get("parents", [])
    if not isinstance(start, bytes) or not isinstance(end, bytes) or not isinstance(parents, list):
        return None
    if not all(type(parent) is int and parent >= 0 for parent in parents):
        return None
    return HashRange(int.from_bytes(start, "big"), int.from_bytes(end, "big")), tuple(parents)
