"""Compacted segments a second time: blocks, their index, LZ4 both ways; from docs/format.md and not from the core."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import replace

from model import format as v1

PACKED = 1
SPARE = 3968
BLOCK_HEADER_SIZE = 64
BLOCK_SIZE = 64 << 10
BLOCK_SIZE_MAX = 16 << 20
LZ4, SEALED = 1, 2
LAG_MASK = ((1 << 24) - 1) << 16
_BLOCK = struct.Struct("<QIIII12s16s4x")
_SPARE = struct.Struct("<QQQQQIIQ")
_MARK = struct.Struct("<QQQQ")
_RUN = struct.Struct("<QQ")


# ---- LZ4 ----


def _length(value: int) -> bytes:
    return b"" if value < 15 else b"\xff" * ((value - 15) // 255) + bytes([(value - 15) % 255])


def compress(data: bytes) -> bytes:
    """One LZ4 block: greedy, by a table of the last place of each 4 bytes."""
    out, places, literals, at = bytearray(), {}, 0, 0
    while at + 12 <= len(data):  # the format wants the last 5 bytes as literals, and no match in the last 12
        word = data[at : at + 4]
        match = places.get(word, -1)
        places[word] = at
        if match < 0 or at - match > 0xFFFF:
            at += 1
            continue
        size = 4
        while at + size < len(data) - 5 and data[match + size] == data[at + size]:
            size += 1
        run = at - literals
        out.append(min(run, 15) << 4 | min(size - 4, 15))
        out += _length(run) + data[literals:at] + struct.pack("<H", at - match) + _length(size - 4)
        at += size
        literals = at
    run = len(data) - literals
    out.append(min(run, 15) << 4)
    return bytes(out + _length(run) + data[literals:])


def expand(block: bytes, size: int) -> bytes:
    """What an LZ4 block of `size` bytes was made from. DamagedError where it is none."""
    out, at = bytearray(), 0

    def more(value: int) -> int:
        nonlocal at
        while value >= 15:
            byte = block[at]
            at += 1
            value += byte
            if byte < 255:
                break
        return value

    try:
        while True:
            token = block[at]
            at += 1
            literals = more(token >> 4)
            if literals > len(block) - at:
                raise v1.DamagedError("literals")
            out += block[at : at + literals]
            at += literals
            if at == len(block):
                break
            offset = block[at] | block[at + 1] << 8
            at += 2
            length = more(token & 15) + 4
            if not 0 < offset <= len(out) or len(out) + length > size:
                raise v1.DamagedError("match")
            for _ in range(length):
                out.append(out[-offset])
    except IndexError:
        raise v1.DamagedError("LZ4 block") from None
    if len(out) != size:
        raise v1.DamagedError("LZ4 size")
    return bytes(out)


# ---- Blocks ----


def pack_frame(frame: v1.Frame) -> bytes:
    """A frame as it stands in a block: the durable end not known, both checks zero."""
    raw = bytearray(replace(frame, durable=0).encode(0))
    raw[0:4] = bytes(4)
    raw[40:48] = bytes(8)
    return bytes(raw)


def unpack_frame(raw: bytes, position: int) -> v1.Frame:
    """The frame that `raw` begins with; DamagedError where its checks are not zero, or none stands there."""
    if len(raw) < v1.FRAME_HEADER_SIZE or any(raw[0:4]) or any(raw[40:48]):
        raise v1.DamagedError("frame in a block")
    size = int.from_bytes(raw[4:8], "little")
    head_hash = v1.checksum(raw[4:40])
    check = (v1.checksum(raw[v1.FRAME_HEADER_SIZE : size]) ^ head_hash) or 1
    whole = struct.pack("<I", head_hash & 0xFFFFFFFF) + raw[4:40] + struct.pack("<Q", check) + raw[48:size]
    return v1.decode_frame(whole, position, 0)


def blocks_of(frames: Iterable[v1.Frame]) -> list[list[v1.Frame]]:
    """Frames in order, as many to a block as stay within its size."""
    blocks: list[list[v1.Frame]] = []
    room = 0
    for frame in frames:
        if frame.size > room:
            blocks.append([])
            room = BLOCK_SIZE
        blocks[-1].append(frame)
        room -= frame.size
    return blocks


def encode_block(frames: list[v1.Frame], salt: int) -> bytes:
    """One block, padded to a multiple of 8."""
    raw = b"".join(pack_frame(frame) for frame in frames)
    stored, flags = compress(raw), LZ4
    if len(stored) >= len(raw):
        stored, flags = raw, 0
    covered = _BLOCK.pack(frames[0].position, len(raw), len(stored), flags, 0, b"", b"") + stored
    block = v1._word(v1.checksum(covered, salt)) + covered
    return block + bytes(-len(block) % 8)


def decode_block(data: bytes, salt: int) -> tuple[list[v1.Frame], int]:
    """(frames, bytes taken) of the block that `data` begins with. DamagedError, UnknownError."""
    if len(data) < BLOCK_HEADER_SIZE:
        raise v1.DamagedError("no room for a block's header")
    position, raw_size, stored_size, flags, _, _, _ = _BLOCK.unpack(data[8:BLOCK_HEADER_SIZE])
    end = BLOCK_HEADER_SIZE + stored_size
    if not 48 <= raw_size <= BLOCK_SIZE_MAX or not 0 < stored_size <= raw_size or end > len(data):
        raise v1.DamagedError("block header")
    if data[:8] != v1._word(v1.checksum(data[8:end], salt)):
        raise v1.DamagedError("block check")
    if flags & ~LZ4:
        raise v1.UnknownError(f"block flags {flags:#x}")
    raw = expand(data[BLOCK_HEADER_SIZE:end], raw_size) if flags else data[BLOCK_HEADER_SIZE:end]
    frames, at = [], 0
    while at < raw_size:
        frames.append(unpack_frame(raw[at:], position + at))
        at += frames[-1].size
    return frames, end + -end % 8


# ---- The file ----


def encode_packed(header: v1.SegmentHeader, frames: list[v1.Frame]) -> bytes:
    """A whole file: what the header says of its blocks is made here. Ordinals count from the header's base ordinal."""
    body, marks, runs = b"", [], []
    for block in blocks_of(frames):
        first = block[0]
        offset = v1.SEGMENT_HEADER_SIZE + len(body)
        marks.append((first.position, first.arrival_us, header.base_ordinal + first.ordinal - 1, offset))
        body += encode_block(block, header.salt)
    for frame in frames:
        if not runs or frame.epoch > runs[-1][1]:
            runs.append((frame.position, frame.epoch))
    index = b"".join(_MARK.pack(*mark) for mark in marks) + b"".join(_RUN.pack(*run) for run in runs)
    last = frames[-1]
    end = last.position + last.size
    spare = _SPARE.pack(
        end,
        sum(frame.type == v1.DATA for frame in frames),
        last.arrival_us,
        last.position,
        v1.SEGMENT_HEADER_SIZE + len(body),
        len(marks),
        len(runs),
        v1.checksum(index, header.salt),
    )
    return replace(header, incompat=PACKED, copied_end=end, spare=spare).encode() + body + index


def decode_packed(data: bytes) -> tuple[v1.SegmentHeader, list[v1.Frame], bool]:
    """(header, frames, True), as decode_segment; the index is compared with the blocks. DamagedError."""
    header = v1.decode_segment_header(data)
    end, records, last_arrival, last_frame, index, count, run_count, check = _SPARE.unpack(header.spare[: _SPARE.size])
    if len(data) < index or (data[index:] and v1.checksum(data[index:], header.salt) != check):
        raise v1.DamagedError("block index")
    frames: list[v1.Frame] = []
    marks, offset = [], v1.SEGMENT_HEADER_SIZE
    while offset < index:
        found, size = decode_block(data[offset:index], header.salt)
        first = found[0]
        marks.append((first.position, first.arrival_us, header.base_ordinal + first.ordinal - 1, offset))
        frames += found
        offset += size
    marks_end = index + count * _MARK.size
    if marks != list(_MARK.iter_unpack(data[index:marks_end])) or len(data) != marks_end + run_count * _RUN.size:
        raise v1.DamagedError("the index is not that of the blocks")
    facts = (frames[-1].position + frames[-1].size, sum(frame.type == v1.DATA for frame in frames))
    if (end, records, last_arrival, last_frame) != (*facts, frames[-1].arrival_us, frames[-1].position):
        raise v1.DamagedError("the header says what is not so")
    return header, frames, True
