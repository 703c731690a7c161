"""The catalog made again: from the events that still hold, and from what every segment says about its stream.

What no event tells any more is taken from the files: a stream that only they know is taken in, where a shard's records
begin is where its first segment does. What a lost event changed since (a retention, say) is not known to them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from streamstore import clock, description, events, native
from streamstore.backup import damage, descent, layout, strays
from streamstore.errors import FormatVersionError
from streamstore.events import State, StreamInfo

Logs = dict[int, tuple[str, list[layout.Header]]]
"""Of one stream: shard index to the directory of its log, and the headers in it that hold."""


@dataclass
class Rebuilt:
    """The state as far as it is known, where a new catalog segment may begin, and what is to be said about it."""

    state: State = field(default_factory=State)
    base: int = layout.POSITION_FIRST
    ordinal: int = 1
    epoch: int = 0
    notes: list[str] = field(default_factory=list)


def rebuild(path: str) -> Rebuilt:
    """Fold what holds of the catalog's events, then take in what the segments of the streams say."""
    found = Rebuilt()
    _fold_events(os.path.join(path, "catalog"), found)
    _take_in_streams(path, found)
    found.epoch = max(found.epoch, found.state.epoch_floor, clock.now_us())
    found.state.epoch_floor = min(found.epoch, layout.EPOCH_MAX - 1)
    return found


def _fold_events(directory: str, found: Rebuilt) -> None:
    live: list[tuple[layout.Header, bytes]] = []
    for path, raw in _segment_files(directory):
        ordinal = damage.segment_ordinal(os.path.basename(path))
        found.ordinal = max(found.ordinal, ordinal + 1)
        if layout.header_state(raw) != layout.VALID:
            continue
        header = layout.parse_header(raw)
        found.epoch = max(found.epoch, header.epoch)
        found.base = max(found.base, header.base + len(raw))
        while live and live[-1][0].base >= header.base:
            live.pop()
        live.append((header, raw))
    found.base = (found.base + 65535) // 65536 * 65536
    refused = 0
    for at, (header, raw) in enumerate(live):
        end = live[at + 1][0].base if at + 1 < len(live) else 1 << 62
        for data in _events(header, raw, end):
            try:
                events.fold(found.state, data)
            except FormatVersionError:
                refused += 1
    if refused:
        found.notes.append(f"{refused} event(s) of the catalog could not be used")


def _segment_files(directory: str) -> Iterator[tuple[str, bytes]]:
    for name in sorted(os.listdir(directory)) if os.path.isdir(directory) else ():
        if damage.segment_ordinal(name):
            with open(os.path.join(directory, name), "rb") as file:
                yield file.name, file.read()


def _events(header: layout.Header, raw: bytes, end: int) -> Iterator[bytes]:
    """The data of the frames that hold, damaged stretches passed over."""
    offset = layout.HEADER_SIZE
    limit = min(len(raw), layout.HEADER_SIZE + end - header.base)
    while offset + layout.FRAME_SIZE_MIN <= limit:
        position = header.base + offset - layout.HEADER_SIZE
        size = int.from_bytes(raw[offset + 4 : offset + 8], "little")
        record = None
        if layout.FRAME_SIZE_MIN <= size <= limit - offset and any(raw[offset + 8 : offset + 16]):
            record = native.decode_frame(raw[offset : offset + size], position, header.base_ordinal, header.salt)
        if record is None:
            offset += 8
            continue
        if record["type"] == layout.DATA:
            begin = offset + record["data_offset"]
            yield raw[begin : begin + record["data_size"]]
        offset += size


# --- what the segments say ------------------------------------------------------------------------------------------


def _take_in_streams(path: str, found: Rebuilt) -> None:
    state = found.state
    streams: dict[int, Logs] = {}
    for stream_id, index, directory in strays.log_directories(path):
        headers = list(_headers(directory))
        streams.setdefault(stream_id, {})[index] = (directory, headers)
        found.epoch = max([found.epoch, *(header.epoch for header in headers)])
        state.next_id = max(state.next_id, stream_id + 1)
    known = {info.id: info for info in state.streams.values()}
    for stream_id, logs in streams.items():
        info = known.get(stream_id)
        if info is None and stream_id not in state.deleting:
            info = _adopted(stream_id, logs, found)
        if info is not None:
            starts = {index: headers[0].base for index, (_, headers) in logs.items() if headers}
            moved = {index: max(start, info.starts.get(index, 0)) for index, start in starts.items() if start > 64}
            shards = descent.lineage(info.lineage, logs).changed
            encrypted = _encryption(info, _said(stream_id, logs))
            state.put(replace(info, starts={**info.starts, **moved}, shards=shards, **encrypted))


def _headers(directory: str) -> Iterator[layout.Header]:
    for name in sorted(os.listdir(directory)):
        if damage.segment_ordinal(name):
            with open(os.path.join(directory, name), "rb") as file:
                raw = file.read(layout.HEADER_SIZE)
            if layout.header_state(raw) == layout.VALID:
                yield layout.parse_header(raw)


def _keys(said: list[tuple[int, dict[str, Any]]]) -> dict[int, Any]:
    """The wrapped data keys that descriptions tell of, the newest of which come last."""
    told = [facts["keys"] for _, facts in said if isinstance(facts.get("keys"), dict)]
    return {key_id: key for keys in told for key_id, key in keys.items()}


def _said(stream_id: int, logs: Logs) -> list[tuple[int, dict[str, Any]]]:
    """What the segments of a stream say of it, and when they were made."""
    return [
        (header.created_us, facts)
        for index, (_, headers) in logs.items()
        for header in headers
        if (facts := description.parse(header.description, stream_id, index)) is not None
    ]


def _encryption(info: StreamInfo, said: list[tuple[int, dict[str, Any]]]) -> dict[str, Any]:
    """The data keys and terms of a stream that the catalog knows, where segments know more: of its events the one may
    be lost that told of a key, and then what is encrypted could not be read, and what comes would be in plain.
    """
    keys = {**_keys(sorted(said, key=lambda each: each[0])), **info.keys}
    newest = max((facts for _, facts in said), key=_terms, default={})
    key_id = newest.get("key_id")
    if _terms(newest) <= info.terms or type(key_id) is not int or key_id not in (0, *keys):
        return {"keys": keys}
    return {"keys": keys, "key_id": key_id, "terms": _terms(newest)}


def _terms(facts: dict[str, Any]) -> int:
    terms = facts.get("terms")
    return terms if type(terms) is int else 0


def _adopted(stream_id: int, logs: Logs, found: Rebuilt) -> StreamInfo | None:
    said = _said(stream_id, logs)
    if not said:
        found.notes.append(f"streams/{stream_id}: no segment says which stream it is; left alone")
        return None
    # The newest settings stand in the newest segment; the name is the same in all.
    _, newest = max(said, key=lambda each: each[0])
    values = description.of_stream(newest)
    # A segment may have room for its own key alone; a key that was wrapped anew is in the newer ones so.
    values["keys"] = _keys(sorted(said, key=lambda each: each[0]))
    name = values["name"]
    if (values["account"], values["region"], name) in found.state.streams:
        values["name"] = f"{name[:100]}.recovered-{stream_id}"
        found.notes.append(f"stream {stream_id} was called {name!r}, as another one is: it is {values['name']!r} now")
    try:
        info = StreamInfo.from_map({**values, "epoch_floor": 0})
    except (KeyError, TypeError, ValueError) as error:
        found.notes.append(f"streams/{stream_id}: its segments say what cannot be used ({error!r}); left alone")
        return None
    found.notes.append(f"stream {values['name']!r} (id {stream_id}) was taken in from its segments")
    return info
