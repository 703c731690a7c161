"""A compacted segment file's bytes as facts: its own header fields, its blocks and the frames in them (docs/format.md).

Reads one file, opens no store; frames are decoded by the core. What is encrypted shows as a block without frames.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import xxhash

from streamstore import native
from streamstore.cli.segment_file import FRAME_HEADER_SIZE, HEADER_SIZE, Frame, SegmentFile

COMPACTED = 1
LZ4, SEALED = 1, 2
_SPARE_OFFSET = 3968
_SPARE = struct.Struct("<QQQQQIIQ")
_SPARE_NAMES = (
    "end",
    "records",
    "last_arrival_us",
    "last_frame",
    "index_offset",
    "blocks",
    "epochs",
    "index_check",
)
_BLOCK = struct.Struct("<QQIIII12s16s4x")
_MARK = struct.Struct("<QQQQ")
_RUN = struct.Struct("<QQ")
_BLOCK_SIZE_MAX = 16 << 20


class Block(NamedTuple):
    """One block: where it stands, what it says, and its frames where it holds and can be read without a key."""

    offset: int
    position: int
    raw_size: int
    stored_size: int
    flags: int
    key_id: int
    holds: bool
    frames: list[Frame]

    def to_map(self) -> dict[str, Any]:
        """All but the frames."""
        return {name: value for name, value in self._asdict().items() if name != "frames"}


def is_compacted(file: SegmentFile) -> bool:
    """Whether it holds blocks instead of frames."""
    return bool(file.facts["incompatible_features"] & COMPACTED)


def facts(file: SegmentFile) -> dict[str, int]:
    """What the header says of the blocks."""
    return dict(zip(_SPARE_NAMES, _SPARE.unpack_from(file.header, _SPARE_OFFSET), strict=True))


def index(file: SegmentFile) -> dict[str, Any]:
    """The two tables behind the blocks; empty where their check does not hold."""
    says = facts(file)
    size = says["blocks"] * _MARK.size + says["epochs"] * _RUN.size
    raw = b""
    if says["index_offset"] + size <= file.file_size:
        with open(file.path, "rb") as source:
            source.seek(says["index_offset"])
            raw = source.read(size)
    holds = len(raw) == size and xxhash.xxh3_64_intdigest(raw, seed=file.facts["salt"]) == says["index_check"]
    begin = says["blocks"] * _MARK.size
    return {
        "offset": says["index_offset"],
        "holds": holds,
        "marks": list(_MARK.iter_unpack(raw[:begin])) if holds else [],
        "epochs": list(_RUN.iter_unpack(raw[begin:])) if holds else [],
    }


def blocks(file: SegmentFile) -> Iterator[Block]:
    """All blocks in order; where the index holds, those behind a damaged one too."""
    end = min(facts(file)["index_offset"], file.file_size)
    marks = index(file)["marks"]
    with open(file.path, "rb") as source:
        if marks:
            for mark in marks:
                yield _block(file, source, mark[3], end)
            return
        offset = HEADER_SIZE
        while offset + _BLOCK.size <= end:
            block = _block(file, source, offset, end)
            yield block
            if not block.holds:
                return
            offset += (_BLOCK.size + block.stored_size + 7) // 8 * 8


def _block(file: SegmentFile, source: Any, offset: int, end: int) -> Block:
    source.seek(offset)
    head = source.read(_BLOCK.size)
    check, position, raw_size, stored_size, flags, key_id, _, _ = _BLOCK.unpack(head.ljust(_BLOCK.size, b"\0"))
    fits = 0 < stored_size <= raw_size <= _BLOCK_SIZE_MAX and offset + _BLOCK.size + stored_size <= end
    stored = source.read(stored_size) if fits else b""
    holds = fits and xxhash.xxh3_64_intdigest(head[8:] + stored, seed=file.facts["salt"]) == check
    raw = b""
    if holds and not flags & SEALED:
        raw = (native.expand_block(stored, raw_size) or b"") if flags & LZ4 else stored
    frames = list(_frames(file, position, raw))
    return Block(offset, position, raw_size, stored_size, flags, key_id, holds, frames)


def _frames(file: SegmentFile, position: int, raw: bytes) -> Iterator[Frame]:
    """The frames of an expanded block; their offsets are those in it."""
    at = 0
    while at + FRAME_HEADER_SIZE <= len(raw):
        size = int.from_bytes(raw[at + 4 : at + 8], "little")
        size = size if FRAME_HEADER_SIZE <= size <= len(raw) - at else len(raw) - at
        frame = raw[at : at + size]
        record = native.decode_frame(_checked(frame), position + at, file.facts["base_ordinal"], 0)
        yield Frame(at, size, position + at, record, frame)
        at += size


def _checked(frame: bytes) -> bytes:
    """The frame with the checks that a block's frames do without."""
    head = xxhash.xxh3_64_intdigest(frame[4:40])
    body = xxhash.xxh3_64_intdigest(frame[FRAME_HEADER_SIZE:]) ^ head or 1
    return struct.pack("<I", head & 0xFFFFFFFF) + frame[4:40] + struct.pack("<Q", body) + frame[FRAME_HEADER_SIZE:]
