"""Annotated dumps: every byte of a file with its offset and what it means, for people and for docs/format.md.

The bytes come from the file; the names stand here once.
"""

from __future__ import annotations

from collections.abc import Iterator

from model import format as v1
from model import packed

MANIFEST_FIELDS = [
    ("magic", 8),
    ("version", 4),
    ("compat features", 4),
    ("read-only compat features", 4),
    ("incompat features", 4),
    ("store id", 16),
    ("created, us", 8),
    ("zero", 8),
    ("check", 8),
]
SEGMENT_FIELDS = [
    ("magic", 8),
    ("version", 4),
    ("incompat features", 4),
    ("store id", 16),
    ("stream id", 4),
    ("shard", 4),
    ("ordinal", 8),
    ("base", 8),
    ("previous end", 8),
    ("base ordinal", 8),
    ("epoch", 8),
    ("salt", 8),
    ("created, us", 8),
    ("map size", 8),
    ("copied end", 8),
    ("floor arrival, us", 8),
    ("zero", 4),
    ("description size", 4),
]
INDEX_FIELDS = [
    ("magic", 8),
    ("version", 4),
    ("entries", 4),
    ("ordinal of the segment", 8),
    ("end of its frames", 8),
    ("records in it", 8),
]
INDEX_ENTRY_FIELDS = [("  position", 8), ("  arrival, us", 8), ("  records before it", 8)]
SPARE_FIELDS = [
    ("end", 8),
    ("records", 8),
    ("last arrival, us", 8),
    ("last frame's position", 8),
    ("index offset", 8),
    ("blocks", 4),
    ("epochs", 4),
    ("index check", 8),
]
BLOCK_FIELDS = [
    ("check", 8),
    ("position", 8),
    ("raw size", 4),
    ("stored size", 4),
    ("flags", 4),
    ("key id", 4),
    ("nonce", 12),
    ("tag", 16),
    ("zero", 4),
]
MARK_FIELDS = [("  position", 8), ("  arrival, us", 8), ("  records before it", 8), ("  file offset", 8)]
RUN_FIELDS = [("  position", 8), ("  epoch", 8)]
_HEX = ("nonce", "tag", "index check", "magic", "salt", "check", "store id", "zero")


def _line(offset: int, data: bytes, says: str) -> Iterator[str]:
    for start in range(0, max(len(data), 1), 16):
        part = data[start : start + 16]
        yield f"{offset + start:6d}  {part.hex(' '):<47}  {says if start == 0 else ''}".rstrip()


def _fields(data: bytes, offset: int, fields: list[tuple[str, int]]) -> Iterator[str]:
    for name, size in fields:
        raw = data[offset : offset + size]
        value = "" if name in _HEX else f" = {int.from_bytes(raw, 'little')}"
        yield from _line(offset, raw, name + value)
        offset += size


def _text(data: bytes) -> str:
    return "".join(chr(byte) if 32 <= byte < 127 else "." for byte in data)


def dump_manifest(data: bytes) -> list[str]:
    """One line a field."""
    return list(_fields(data, 0, MANIFEST_FIELDS))


def dump_header(data: bytes) -> list[str]:
    """The segment header, its zeros in one line."""
    size = int.from_bytes(data[124:128], "little")
    check = v1.SEGMENT_CHECK
    if data[12] & v1.COMPACTED:
        end = v1.SEGMENT_SPARE + sum(width for _, width in SPARE_FIELDS)
        return [
            *_fields(data, 0, SEGMENT_FIELDS),
            *(_line(128, data[128 : 128 + size], "description (msgpack)") if size else ()),
            f"{128 + size:6d}  ... {v1.SEGMENT_SPARE - 128 - size} zero bytes",
            *_fields(data, v1.SEGMENT_SPARE, SPARE_FIELDS),
            f"{end:6d}  ... {check - end} zero bytes",
            *_line(check, data[check : check + 8], f"check: XXH3-64 of bytes 0 to {check}, seed 0"),
        ]
    return [
        *_fields(data, 0, SEGMENT_FIELDS),
        *(_line(128, data[128 : 128 + size], "description (msgpack)") if size else ()),
        f"{128 + size:6d}  ... {check - 128 - size} zero bytes",
        *_line(check, data[check : check + 8], f"check: XXH3-64 of bytes 0 to {check}, seed 0"),
    ]


def dump_frame(data: bytes, offset: int, frame: v1.Frame, shard: int = 0) -> list[str]:
    """One frame that holds, word by word and part by part."""
    number = v1.sequence_number(frame.epoch, frame.position, shard)
    head = f"--- {v1.TYPES[frame.type]} frame at position {frame.position}"
    lines = [f"{head}, sequence number {number}" if frame.type == v1.DATA else head]
    durable = frame.durable if frame.durable else "not known"
    key_id = int.from_bytes(frame.seal[:4], "little")
    content = (
        *(((4, f"key id = {key_id}"), (12, "nonce"), (16, "tag")) if frame.seal else ()),
        (len(frame.attributes), "attributes (msgpack)"),
        (0 if frame.hash_key is None else 16, f"explicit hash key = {frame.hash_key}"),
        (len(frame.key or b""), f"partition key {_text(frame.key or b'')!r}"),
        (len(frame.data), f"data {_text(frame.data)!r}"),
    )
    pad = frame.size - v1.FRAME_HEADER_SIZE - sum(size for size, _ in content)
    key = "no key" if frame.key is None else f"key size {len(frame.key)}"
    flags = frame.flags | (0 if frame.hash_key is None else v1.HASH_KEY) | (v1.SEALED if frame.seal else 0)
    words = (
        (4, "header check"),
        (4, f"frame size = {frame.size}"),
        (8, f"position = {frame.position}"),
        (8, f"arrival = {frame.arrival_us} us, {key}"),
        (8, f"epoch = {frame.epoch}, type = {frame.type}, flags = {flags}"),
        (
            8,
            f"ordinal = {frame.ordinal}, durable end = {durable}, "
            f"attributes size = {len(frame.attributes)}, pad = {pad}",
        ),
        (8, "body check"),
    )
    for size, says in (*words, *content, (pad, "pad")):
        if size:
            lines += _line(offset, data[offset : offset + size], says)
            offset += size
    return lines


def dump_index(data: bytes, offset: int) -> list[str]:
    """An index trailer."""
    count = int.from_bytes(data[offset + 12 : offset + 16], "little")
    fields = INDEX_FIELDS + INDEX_ENTRY_FIELDS * count + [("check", 8)]
    return ["--- index trailer", *_fields(data, offset, fields)]


def dump_block(data: bytes, offset: int) -> tuple[list[str], int]:
    """One block of a compacted segment, and where the next one stands."""
    raw_size, stored_size, flags = (
        int.from_bytes(data[offset + at : offset + at + 4], "little") for at in (16, 20, 24)
    )
    frames, size = packed.decode_block(data[offset:], int.from_bytes(data[80:88], "little"))
    kind = "LZ4" if flags & packed.LZ4 else "as they are"
    begin = offset + packed.BLOCK_HEADER_SIZE
    lines = [
        f"--- block of {len(frames)} frames, {raw_size} bytes, positions {frames[0].position} to "
        f"{frames[-1].position + frames[-1].size}",
        *_fields(data, offset, BLOCK_FIELDS),
        *_line(begin, data[begin : begin + stored_size], f"the frames, {kind}"),
    ]
    if begin + stored_size < offset + size:
        lines += _line(begin + stored_size, data[begin + stored_size : offset + size], "pad")
    return lines, offset + size


def dump_packed(data: bytes) -> list[str]:
    """A whole compacted segment: header, blocks, index."""
    lines, offset = dump_header(data), v1.SEGMENT_HEADER_SIZE
    index, blocks, runs = (
        int.from_bytes(data[v1.SEGMENT_SPARE + at : v1.SEGMENT_SPARE + at + size], "little")
        for at, size in ((32, 8), (40, 4), (44, 4))
    )
    while offset < index:
        block, offset = dump_block(data, offset)
        lines += block
    return [*lines, "--- index", *_fields(data, index, MARK_FIELDS * blocks + RUN_FIELDS * runs)]


def dump_segment(data: bytes) -> list[str]:
    """A whole segment file: header, frames, and what follows the last frame that holds."""
    if data[12] & v1.COMPACTED:
        return dump_packed(data)
    header, frames, zero = v1.decode_segment(data)
    lines = dump_header(data)
    offset = v1.SEGMENT_HEADER_SIZE
    for frame in frames:
        lines += dump_frame(data, offset, frame, header.shard)
        offset += frame.size
    if data[offset : offset + 8] == v1.INDEX_MAGIC:
        lines += dump_index(data, offset)
        offset += 48 + 24 * int.from_bytes(data[offset + 12 : offset + 16], "little")
        zero = not any(data[offset:])
    rest = data[offset:]
    if zero:
        lines.append(f"--- {len(rest)} zero bytes to the end of the file")
        return lines
    lines.append("--- no frame holds here")
    used = len(rest.rstrip(b"\0"))
    lines += _line(offset, rest[: (used + 7) // 8 * 8], "")
    lines.append(f"--- {len(rest) - (used + 7) // 8 * 8} zero bytes to the end of the file")
    return lines
