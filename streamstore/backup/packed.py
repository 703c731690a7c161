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
_PAD_SIZE_MAX = 1 << 20


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
        return _anew(raw, facts, said, why)
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
    room = following.offset - mark.offset
    if following.offset > len(out):
        raise CannotMendError("its index says what cannot be")
    epoch = max((run.epoch for run in runs if run.position <= mark.position), default=facts.epoch)
    ordinal = following.ordinal - facts.base_ordinal + 1
    block = _pad_block(facts.salt, mark.position, following.position, epoch, mark.arrival_us, ordinal, why)
    if len(block) > room:
        raise CannotMendError("a block of pads is larger than the one that it is to replace")
    out[mark.offset : following.offset] = block.ljust(room, b"\0")
    return mark.position


def _pad_block(salt: int, begin: int, end: int, epoch: int, arrival_us: int, ordinal: int, why: str) -> bytes:
    """A block whose one frame is a pad from `begin` to `end`."""
    size = end - begin
    if not layout.FRAME_SIZE_MIN <= size <= _RAW_SIZE_MAX:
        raise CannotMendError("a range is lost that no block can hold")
    note: bytes = msgpack.packb({"lost": [begin, end], "why": why, "at_us": clock.now_us()})
    content = (note if len(note) <= size - layout.FRAME_SIZE_MIN else b"").ljust(size - layout.FRAME_SIZE_MIN, b"\0")
    ordinal = min(ordinal, layout.FRAME_COUNT_MAX)
    frame = bytearray(layout.encode_frame(layout.PAD, begin, epoch, arrival_us, ordinal, content, salt))
    frame[0:4], frame[40:48] = bytes(4), bytes(8)  # the block's check covers them
    packed = lz4.block.compress(bytes(frame), store_size=False)
    shrank = len(packed) < size
    stored = packed if shrank else bytes(frame)
    head = _HEAD.pack(begin, size, len(stored), _LZ4 if shrank else 0, 0, bytes(12), bytes(16), 0)
    return layout.checksum(head + stored, salt).to_bytes(8, "little") + head + stored


# --- made anew --------------------------------------------------------------------------------------------------------


class _Good(NamedTuple):
    """A block that holds, as it stands in the file, and what its frames say."""

    position: int
    end: int
    arrival_us: int
    last_arrival_us: int
    ordinal: int
    last_frame: int
    records: int
    runs: list[Run]
    raw: bytes


def _anew(raw: bytes, facts: layout.Header, said: Fields, why: str) -> bytes:
    """The file from the blocks that hold, with pads between them, and an index."""
    blocks: list[tuple[Mark, bytes]] = []
    runs: list[Run] = []
    offset, position, last_frame = layout.HEADER_SIZE, facts.base, facts.base
    arrival_us, epoch, records = facts.floor_arrival_us, facts.epoch, 0

    def put(at: int, arrival: int, before: int, block: bytes) -> None:
        nonlocal offset
        whole = block.ljust((len(block) + 7) // 8 * 8, b"\0")
        blocks.append((Mark(at, arrival, facts.base_ordinal + before, offset), whole))
        offset += len(whole)

    for good in [*_good_blocks(raw, facts, said), None]:
        following = said.end if good is None else good.position
        before = said.records if good is None else good.ordinal - 1
        while position < following:
            end = min(following, position + _PAD_SIZE_MAX)
            if 0 < following - end < layout.FRAME_SIZE_MIN:
                end -= layout.FRAME_SIZE_MIN
            block = _pad_block(facts.salt, position, end, epoch, arrival_us, before + 1, why)
            put(position, arrival_us, records, block)
            runs = runs or [Run(position, epoch)]
            last_frame, position, records = position, end, before
        if good is not None:
            put(good.position, good.arrival_us, good.ordinal - 1, good.raw)
            for run in good.runs:
                if not runs or run.epoch > runs[-1].epoch:
                    runs.append(run)
            position, last_frame, records = good.end, good.last_frame, good.records
            arrival_us, epoch = good.last_arrival_us, runs[-1].epoch
    index = b"".join([_MARK.pack(*mark) for mark, _ in blocks] + [_RUN.pack(*run) for run in runs])
    check = layout.checksum(index, facts.salt)
    made = Fields(said.end, said.records, said.last_arrival_us, last_frame, offset, len(blocks), len(runs), check)
    header = _with_fields(raw[: layout.HEADER_SIZE], made)
    return header + b"".join(block for _, block in blocks) + index


def _good_blocks(raw: bytes, facts: layout.Header, said: Fields) -> Iterator[_Good]:
    """The blocks that hold, in order; where one does not, the next is looked for."""
    offset, position = layout.HEADER_SIZE, facts.base
    while position < said.end and offset + _STORED <= len(raw):
        at, size, stored_size, flags, *_ = _HEAD.unpack_from(raw, offset + 8)
        possible = (
            position <= at < said.end
            and layout.FRAME_SIZE_MIN <= size <= min(_RAW_SIZE_MAX, said.end - at)
            and 0 < stored_size <= min(size, len(raw) - offset - _STORED)
        )
        whole = raw[offset : offset + _STORED + stored_size] if possible else b""
        if not possible or int.from_bytes(whole[:8], "little") != layout.checksum(whole[8:], facts.salt):
            offset += 8
            continue
        if flags & _SEALED:
            raise CannotMendError("its index is damaged, and its blocks are encrypted")
        stored = whole[_STORED:]
        frames = lz4.block.decompress(stored, uncompressed_size=size) if flags & _LZ4 else stored
        yield _described(frames, at, whole)
        position = at + size
        offset += (len(whole) + 7) // 8 * 8


def _described(frames: bytes, position: int, whole: bytes) -> _Good:
    runs: list[Run] = []
    at = last = records = 0
    first_ordinal = first_arrival = arrival = 0
    while at + layout.FRAME_SIZE_MIN <= len(frames):
        size, _, arrival_word, epoch_word, counts = struct.unpack_from("<IQQQQ", frames, at + 4)
        if size < layout.FRAME_SIZE_MIN:
            raise CannotMendError("a block holds what is no frame")
        ordinal, arrival = counts >> 40, arrival_word >> 12
        if at == 0:
            first_ordinal, first_arrival = ordinal, arrival
        if not runs or epoch_word >> 12 > runs[-1].epoch:
            runs.append(Run(position + at, epoch_word >> 12))
        records = ordinal - (epoch_word >> 8 & 15 != layout.DATA)
        last = position + at
        at += size
    end = position + len(frames)
    return _Good(position, end, first_arrival, arrival, first_ordinal, last, records, runs, whole)
