"""A compacted segment with damaged blocks replaced by blocks of pads, and its index made again. Bytes in, bytes out.

A block of pads takes the place of the damaged one in the file, where it has room: pads are zeros and compress to
little. So all other blocks, and the index, stay as they are.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

import lz4.block
import msgpack

from streamstore import clock
from streamstore.backup import layout

_FIELDS = struct.Struct("<QQQQQIIQ")  # end, records, last arrival, last frame, index offset, blocks, runs, index check
_FIELDS_AT = 3968
_MARK = struct.Struct("<QQQQ")
_RUN = struct.Struct("<QQ")
_HEAD = struct.Struct("<QIIII12s16sI")  # of a block, behind its check
_STORED = 64
_LZ4, _SEALED = 1, 2
_RAW_SIZE_MAX = 16 << 20


class Fields(NamedTuple):
    """What a header says of its compacted segment."""

    end: int
    records: int
    last_arrival_us: int
    last_frame: int
    index_offset: int
    blocks: int
    runs: int
    index_check: int


class Mark(NamedTuple):
    """Where a block stands, and its first frame."""

    position: int
    arrival_us: int
    ordinal: int
    offset: int


class Run(NamedTuple):
    """The first frame under an epoch above those before it."""

    position: int
    epoch: int


class CannotMendError(Exception):
    """Why this segment stays as it is."""


def fields(header: bytes) -> Fields:
    """Of a header that holds."""
    return Fields(*_FIELDS.unpack_from(header, _FIELDS_AT))


def marks(raw: bytes) -> list[Mark]:
    """The blocks of a file whose index holds."""
    header = layout.parse_header(raw[: layout.HEADER_SIZE])
    found = _index(raw, header, fields(raw[: layout.HEADER_SIZE]))
    return found[0] if found else []


def _with_fields(header: bytes, said: Fields) -> bytes:
    raw = bytearray(header)
    _FIELDS.pack_into(raw, _FIELDS_AT, *said)
    return layout.sealed(bytes(raw))


def _index(raw: bytes, facts: layout.Header, said: Fields) -> tuple[list[Mark], list[Run]] | None:
    size = said.blocks * _MARK.size + said.runs * _RUN.size
    stored = raw[said.index_offset : said.index_offset + size]
    if len(stored) < size or layout.checksum(stored, facts.salt) != said.index_check:
        return None
    cut = said.blocks * _MARK.size
    marks = [Mark(*values) for values in _MARK.iter_unpack(stored[:cut])]
    return marks, [Run(*values) for values in _RUN.iter_unpack(stored[cut:])]


def mend(raw: bytes, lost: list[tuple[int, int]], why: str) -> bytes:
    """The file's bytes with pads for every block that a lost range touches. Raises CannotMendError."""
    header = raw[: layout.HEADER_SIZE]
    facts, said = layout.parse_header(header), fields(header)
    found = _index(raw, facts, said)
    if found is None:
        if lost:
            raise CannotMendError("its index and blocks are both damaged")
        return _with_index(raw, facts, said)
    marks, runs = found
    ends = [*marks[1:], Mark(said.end, said.last_arrival_us, facts.base_ordinal + said.records, said.index_offset)]
    out = bytearray(raw)
    for mark, following in zip(marks, ends, strict=True):
        if any(begin < following.position and end > mark.position for begin, end in lost):
            last = _put_pads(out, facts, mark, following, runs, why)
            if following.position == said.end:
                said = said._replace(last_frame=last)
    out[: layout.HEADER_SIZE] = _with_fields(header, said)
    return bytes(out)


def _put_pads(out: bytearray, facts: layout.Header, mark: Mark, following: Mark, runs: list[Run], why: str) -> int:
    """Write a block of pads where a block stood; returns the position of its last frame."""
    size, room = following.position - mark.position, following.offset - mark.offset - _STORED
    if not layout.FRAME_SIZE_MIN <= size <= _RAW_SIZE_MAX or following.offset > len(out):
        raise CannotMendError("its index says what cannot be")
    epoch = max((run.epoch for run in runs if run.position <= mark.position), default=facts.epoch)
    note: bytes = msgpack.packb({"lost": [mark.position, following.position], "why": why, "at_us": clock.now_us()})
    content = (note if len(note) <= size - layout.FRAME_SIZE_MIN else b"").ljust(size - layout.FRAME_SIZE_MIN, b"\0")
    ordinal = min(following.ordinal - facts.base_ordinal + 1, layout.FRAME_COUNT_MAX)
    frame = bytearray(
        layout.encode_frame(layout.PAD, mark.position, epoch, mark.arrival_us, ordinal, content, facts.salt)
    )
    frame[0:4], frame[40:48] = bytes(4), bytes(8)  # the block's check covers them
    stored = lz4.block.compress(bytes(frame), store_size=False)
    if len(stored) > room or len(stored) >= size:
        raise CannotMendError("a block of pads is larger than the one that it is to replace")
    head = _HEAD.pack(mark.position, size, len(stored), _LZ4, 0, bytes(12), bytes(16), 0)
    block = layout.checksum(head + stored, facts.salt).to_bytes(8, "little") + head + stored
    out[mark.offset : following.offset] = block.ljust(following.offset - mark.offset, b"\0")
    return mark.position


# --- the index --------------------------------------------------------------------------------------------------------


def _with_index(raw: bytes, facts: layout.Header, said: Fields) -> bytes:
    """The file with an index made from its blocks, all of which hold."""
    marks: list[Mark] = []
    runs: list[Run] = []
    for mark, epochs in _blocks(raw, facts, said):
        marks.append(mark)
        for run in epochs:
            if not runs or run.epoch > runs[-1].epoch:
                runs.append(run)
    stored = b"".join([_MARK.pack(*mark) for mark in marks] + [_RUN.pack(*run) for run in runs])
    made = said._replace(blocks=len(marks), runs=len(runs), index_check=layout.checksum(stored, facts.salt))
    return _with_fields(raw[: layout.HEADER_SIZE], made) + raw[layout.HEADER_SIZE : said.index_offset] + stored


def _blocks(raw: bytes, facts: layout.Header, said: Fields) -> Iterator[tuple[Mark, list[Run]]]:
    offset, position = layout.HEADER_SIZE, facts.base
    while position < said.end:
        head = raw[offset : offset + _STORED]
        if len(head) < _STORED:
            raise CannotMendError("its index and blocks are both damaged")
        at, size, stored_size, flags, *_ = _HEAD.unpack(head[8:])
        stored = raw[offset + _STORED : offset + _STORED + stored_size]
        held = int.from_bytes(head[:8], "little") == layout.checksum(head[8:] + stored, facts.salt)
        if not held or at != position or not layout.FRAME_SIZE_MIN <= size <= _RAW_SIZE_MAX:
            raise CannotMendError("its index and blocks are both damaged")
        if flags & _SEALED:
            raise CannotMendError("its index is damaged, and its blocks are encrypted")
        frames = lz4.block.decompress(stored, uncompressed_size=size) if flags & _LZ4 else stored
        yield _described(frames, facts, position, offset)
        position += size
        offset += _STORED + (stored_size + 7) // 8 * 8


def _described(frames: bytes, facts: layout.Header, position: int, offset: int) -> tuple[Mark, list[Run]]:
    arrival, _, counts = struct.unpack_from("<QQQ", frames, 16)
    mark = Mark(position, arrival >> 12, facts.base_ordinal + (counts >> 40) - 1, offset)
    runs, at = [], 0
    while at + layout.FRAME_SIZE_MIN <= len(frames):
        size = int.from_bytes(frames[at + 4 : at + 8], "little")
        if size < layout.FRAME_SIZE_MIN:
            raise CannotMendError("a block holds what is no frame")
        runs.append(Run(position + at, int.from_bytes(frames[at + 24 : at + 32], "little") >> 12))
        at += size
    return mark, runs
