"""What the directory holds beside what the catalog names, and whether the catalog's lineage can be true. Reads only."""

from __future__ import annotations

import os
from collections.abc import Iterator

from streamstore.backup import damage, layout
from streamstore.backup.damage import Damage
from streamstore.events import State, StreamInfo
from streamstore.limits import HASH_KEY_END
from streamstore.store import Store

ROOT_NAMES = frozenset(("manifest", "lock", "control", "catalog", "streams", "reserve", "damaged", "lost+found"))
_REMOVED_BY_THE_NEXT = frozenset(("manifest.new", "control.new", "reserve.new"))


def find(directory: str, state: State) -> list[str]:
    """Files and directories that belong to nothing, each with the reason."""
    notes = [f"{name}: not of a store" for name in _names(directory) if name not in ROOT_NAMES | _REMOVED_BY_THE_NEXT]
    known = {info.id: info for info in state.streams.values()}
    for name in _names(os.path.join(directory, "streams")):
        place = f"streams/{name}"
        if not name.isdecimal():
            notes.append(f"{place}: not of a store")
        elif int(name) in state.deleting:
            notes.append(f"{place}: of a deleted stream; goes at the next open")
        elif int(name) not in known:
            notes.append(f"{place}: of no stream that the catalog knows")
        else:
            notes += _in_stream(directory, place, known[int(name)])
    notes += [
        f"catalog/{name}: not a segment" for name in _names(os.path.join(directory, "catalog")) if not _ours(name)
    ]
    return notes


def _in_stream(directory: str, place: str, info: StreamInfo) -> Iterator[str]:
    for name in _names(os.path.join(directory, place)):
        inner = f"{place}/{name}"
        if not name.isdecimal():
            yield f"{inner}: not of a store"
        elif int(name) not in info.lineage:
            yield f"{inner}: of no shard of {info.name!r}"
        else:
            for file in _names(os.path.join(directory, inner)):
                if file.endswith((".seg.new", ".seg.repair")):
                    yield f"{inner}/{file}: left by a compaction or repair that was killed; goes with the next"
                elif not _ours(file):
                    yield f"{inner}/{file}: not a segment"


def _ours(name: str) -> bool:
    return bool(damage.segment_ordinal(name))


def _names(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []


def log_directories(path: str) -> Iterator[tuple[int, int, str]]:
    """(stream id, shard index, directory) of every log of a stream."""
    streams = os.path.join(path, "streams")
    for stream in sorted(filter(str.isdecimal, _names(streams)), key=int):
        for shard in sorted(filter(str.isdecimal, _names(os.path.join(streams, stream))), key=int):
            yield int(stream), int(shard), os.path.join(streams, stream, shard)


def first_base(directory: str) -> int:
    """Where the oldest segment that can be read begins; 0 where there is none."""
    for name in _names(directory):
        if _ours(name):
            with open(os.path.join(directory, name), "rb") as file:
                raw = file.read(layout.HEADER_SIZE)
            if layout.header_state(raw) == layout.VALID:
                return layout.parse_header(raw).base
    return 0


def has_files(store: Store, stream_id: int, index: int) -> bool:
    """Whether a shard was ever written and still has its directory."""
    return os.path.isdir(os.path.join(store.attachment.stream_directory(stream_id), str(index)))


def lineage_damage(info: StreamInfo) -> Iterator[Damage]:
    """Where the open shards of a stream do not tile all hash keys."""
    if not info.shards:
        return  # equal shards tile by construction
    following = 0
    for begin, end in info.lineage.open_ranges:
        if begin != following or end < begin:
            text = f"the hash keys from {following} to {begin} have no shard, or two"
            yield damage.finding("lineage", info.name, None, None, message=text)
        following = end + 1
    if following != HASH_KEY_END:
        text = f"the hash keys from {following} on have no shard"
        yield damage.finding("lineage", info.name, None, None, message=text)
