"""What can be made good in one segment: a header put right or made anew, frames that are lost replaced by pads, the
index built again. Works from a file to a new file; the damaged one is never written to.

Why pads: a pad frame stands in the log like any frame and is passed over by every reader since format version 1. So
positions, sequence numbers and counts of all that is left stay what they were, a lost number is answered as "no such
record", and the loss is on disk where it happened: the first pad of a range says what it stands for.
"""

from __future__ import annotations

import os
import secrets
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import msgpack

from streamstore import clock, native
from streamstore.backup import layout
from streamstore.backup.assembly import copy_range

_PAD_SIZE_MAX = 1 << 20
_STRIDE = 1 << 16
_SEARCH_SIZE = 4 << 20
_TRAILER = struct.Struct("<8sIIQQQ")
_MARK = struct.Struct("<QQQ")
_WALK_SIZE = 4 << 20


class Mark(NamedTuple):
    """One entry of an index: the first frame of a stride, its arrival, the records of the log before it."""

    position: int
    arrival_us: int
    records: int


@dataclass
class Lost:
    """A range of positions that is to become pads."""

    begin: int
    end: int
    next_ordinal: int
    """Of the log, from 1: of the next record there is; 0 where that is not known."""


# --- headers ----------------------------------------------------------------------------------------------------------


def corrected(raw: bytes, check_offset: int) -> bytes | None:
    """The bytes with one byte changed such that the XXH3 check at `check_offset` holds; None where no such byte is.

    A check of 64 bits makes a wrong answer as unlikely as a wrong check, so the most common damage needs no guessing.
    """
    stored = int.from_bytes(raw[check_offset : check_offset + 8], "little")
    actual = layout.checksum(raw[:check_offset])
    if sum(1 for shift in range(0, 64, 8) if (stored ^ actual) >> shift & 0xFF) == 1:
        return raw[:check_offset] + actual.to_bytes(8, "little") + raw[check_offset + 8 :]
    tried = bytearray(raw[:check_offset])
    # What is zero behind the description can have been hit too, but the fields are where it matters: they come first.
    for at in range(check_offset):
        kept = tried[at]
        for value in range(256):
            tried[at] = value
            if value != kept and layout.checksum(memoryview(tried)) == stored:
                return bytes(tried) + raw[check_offset:]
        tried[at] = kept
    return None


def rebuilt_header(path: str, like: layout.Header, raw: bytes) -> bytes | None:
    """A header made from the frames behind it; None where no frame tells enough.

    `like` says what the place says (store, stream, shard, ordinal, description, records before). The salt cannot be
    computed; it is taken from the damaged header, and holds if a frame's checks hold under it.
    """
    found = layout.parse_header(raw)
    size = os.stat(path).st_size
    with open(path, "rb") as file:
        file.seek(layout.HEADER_SIZE)
        bytes_ = file.read(_SEARCH_SIZE)
    for at in range(0, max(len(bytes_) - layout.FRAME_SIZE_MIN, 0), 8):
        frame_size, position = struct.unpack_from("<IQ", bytes_, at + 4)
        base = position - at
        if position % 8 or not 64 <= base <= 1 << 62 or frame_size < 48 or frame_size % 8:
            continue
        record = native.decode_frame(bytes_[at : at + frame_size], position, 0, found.salt)
        if record is None:
            continue
        copied = found.copied_end if base <= found.copied_end <= base + size and found.copied_end % 8 == 0 else base
        fits = size <= found.map_size <= layout.MAP_SIZE_MAX and found.map_size >= layout.MAP_SIZE_MIN
        return replace(
            like,
            base=base,
            previous_end=base,
            epoch=min(record["epoch"], layout.EPOCH_MAX),
            salt=found.salt,
            map_size=found.map_size if fits else layout.map_size_for(size),
            copied_end=copied,
            floor_arrival_us=record["arrival_us"],
        ).encode()
    return None


# --- frames -----------------------------------------------------------------------------------------------------------


class _Frame(NamedTuple):
    position: int
    size: int
    kind: int
    arrival_us: int
    epoch: int
    ordinal: int


def _frames(handle: int, base: int, begin: int, end: int) -> Iterator[_Frame]:
    """The headers of the frames in [begin, end), all of which hold."""
    window, at = b"", 0
    while begin < end:
        offset = layout.HEADER_SIZE + begin - base
        if not at <= offset <= at + len(window) - layout.FRAME_SIZE_MIN:
            window, at = os.pread(handle, _WALK_SIZE, offset), offset
        size, _, arrival, epoch, counts = struct.unpack_from("<IQQQQ", window, offset - at + 4)
        yield _Frame(begin, size, epoch >> 8 & 15, arrival >> 12, epoch >> 12, counts >> 40)
        begin += size


def rewrite(source: str, target: str, header: bytes, lost: list[Lost], end: int, sealed: bool, why: str) -> None:
    """Write the segment anew under `header`, with pads for what is lost and, where it is sealed, an index at `end`.

    All frames outside of the lost ranges hold; `end` is where the segment ends. Durable at return.
    """
    facts = layout.parse_header(header)
    with open(source, "rb") as original, open(target, "xb", opener=_private) as made:
        handle = made.fileno()
        keep = min(os.fstat(original.fileno()).st_size, layout.HEADER_SIZE + end - facts.base)
        copy_range(original.fileno(), handle, keep)
        os.pwrite(handle, header, 0)
        marks, records = _fill(handle, facts, lost, end, why)
        used = layout.HEADER_SIZE + end - facts.base
        if sealed:
            used += _write_trailer(handle, facts, marks, records, end)
        os.ftruncate(handle, used)
        if not sealed:
            os.ftruncate(handle, layout.allocation(used))
        os.fsync(handle)


def _fill(handle: int, facts: layout.Header, lost: list[Lost], end: int, why: str) -> tuple[list[Mark], int]:
    """Write the pads; returns the marks of the index and how many records the segment has, lost ones included."""
    marks: list[Mark] = []
    before = _Frame(facts.base, 0, layout.PAD, facts.floor_arrival_us, facts.epoch, 1)
    position = facts.base
    records = 0
    for gap in [*sorted(lost, key=lambda each: each.begin), Lost(end, end, 0)]:
        for frame in _frames(handle, facts.base, position, gap.begin):
            _mark(marks, frame, facts.base_ordinal)
            records = frame.ordinal - 1 + (frame.kind == layout.DATA)
            before = frame
        if gap.begin < gap.end:
            following = gap.next_ordinal - facts.base_ordinal if gap.next_ordinal else records + 1
            ordinal = min(max(following, records + 1), layout.FRAME_COUNT_MAX)
            for frame, content in _pads(gap, before, ordinal, why):
                _mark(marks, frame, facts.base_ordinal)
                os.pwrite(
                    handle, _encoded(frame, content, facts.salt), layout.HEADER_SIZE + frame.position - facts.base
                )
            records = ordinal - 1
        position = max(position, gap.end)
    return marks, records


def _mark(marks: list[Mark], frame: _Frame, base_ordinal: int) -> None:
    if not marks or frame.position // _STRIDE != marks[-1].position // _STRIDE:
        marks.append(Mark(frame.position, frame.arrival_us, base_ordinal + frame.ordinal - 1))


def _pads(gap: Lost, before: _Frame, ordinal: int, why: str) -> Iterator[tuple[_Frame, bytes]]:
    at = gap.begin
    note: bytes = msgpack.packb({"lost": [gap.begin, gap.end], "why": why, "at_us": clock.now_us()})
    while at < gap.end:
        size = min(gap.end - at, _PAD_SIZE_MAX)
        if 0 < gap.end - at - size < layout.FRAME_SIZE_MIN:
            size -= layout.FRAME_SIZE_MIN
        room = size - layout.FRAME_SIZE_MIN
        content = (note if at == gap.begin and len(note) <= room else b"").ljust(room, b"\0")
        yield _Frame(at, size, layout.PAD, before.arrival_us, before.epoch, ordinal), content
        at += size


def _encoded(frame: _Frame, content: bytes, salt: int) -> bytes:
    return layout.encode_frame(layout.PAD, frame.position, frame.epoch, frame.arrival_us, frame.ordinal, content, salt)


def _write_trailer(handle: int, facts: layout.Header, marks: list[Mark], records: int, end: int) -> int:
    head = _TRAILER.pack(b"SSIDX\x1a\x0d\x0a", 1, len(marks), facts.ordinal, end, records)
    covered = head + b"".join(_MARK.pack(*mark) for mark in marks)
    whole = covered + layout.checksum(covered, facts.salt).to_bytes(8, "little")
    os.pwrite(handle, whole, layout.HEADER_SIZE + end - facts.base)
    return len(whole)


def pad_segment(target: str, like: layout.Header, gap: Lost, sealed: bool, why: str) -> None:
    """A segment of pads alone, in place of a file that is gone. Durable at return."""
    header = replace(
        like,
        base=gap.begin,
        previous_end=gap.begin,
        salt=secrets.randbits(64),
        created_us=clock.now_us(),
        map_size=layout.map_size_for(gap.end - gap.begin),
        copied_end=gap.begin,
    )
    with open(target, "xb", opener=_private) as made:
        os.pwrite(made.fileno(), header.encode(), 0)
        marks, records = _fill(made.fileno(), header, [gap], gap.end, why)
        if sealed:
            _write_trailer(made.fileno(), header, marks, records, gap.end)
        os.fsync(made.fileno())


def close_size(data: bytes) -> int:
    """What a close frame with this data takes."""
    return (layout.FRAME_SIZE_MIN + len(data) + 7) // 8 * 8


def close_segment(like: layout.Header, end: int, epoch: int, arrival_us: int, data: bytes) -> bytes:
    """A segment whose only frame closes its log at position `end`."""
    base = end - close_size(data)
    header = replace(
        like,
        base=base,
        previous_end=base,
        epoch=epoch,
        salt=secrets.randbits(64),
        created_us=clock.now_us(),
        map_size=layout.MAP_SIZE_MIN,
        copied_end=base,
        floor_arrival_us=arrival_us,
    )
    return header.encode() + layout.encode_frame(layout.CLOSE, base, epoch, arrival_us, 1, data, header.salt)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags & ~os.O_WRONLY | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def walk(path: str, header: layout.Header, lost: list[tuple[int, int]]) -> tuple[int, int]:
    """Where the frames of a segment end that hold one behind another, and how many records it has up to there.

    `lost` are the ranges in it that do not hold, and are passed over.
    """
    gaps = dict(lost)
    position, records = header.base, 0
    with open(path, "rb") as file:
        handle = file.fileno()
        size = os.fstat(handle).st_size
        while True:
            if position in gaps:
                position = gaps[position]
                continue
            offset = layout.HEADER_SIZE + position - header.base
            head = os.pread(handle, layout.FRAME_SIZE_MIN, offset)
            frame_size = int.from_bytes(head[4:8], "little")
            if len(head) < layout.FRAME_SIZE_MIN or not layout.FRAME_SIZE_MIN <= frame_size <= size - offset:
                return position, records
            record = native.decode_frame(os.pread(handle, frame_size, offset), position, 0, header.salt)
            if record is None:
                return position, records
            records = record["ordinal"] - (record["type"] != layout.DATA)
            position += frame_size
