"""Format version 1 a second time: encoder and decoder of every file, from docs/format.md and not from the core.

Works on bytes in memory. Knows no directory and no recovery; shares nothing with streamstore but the document.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import xxhash
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VERSION = 1
FIRST_POSITION = 64

MANIFEST_MAGIC = b"SMNIF\x1a\x0d\x0a"
SEGMENT_MAGIC = b"SSSEG\x1a\x0d\x0a"
INDEX_MAGIC = b"SSIDX\x1a\x0d\x0a"
CONTROL_MAGIC = b"SSCTL\x1a\x0d\x0a"
MANIFEST_SIZE = 64
SEGMENT_HEADER_SIZE = 4096
SEGMENT_CHECK = SEGMENT_HEADER_SIZE - 8
SEGMENT_SPARE = 3968
COMPACTED = 1  # the incompat feature of one segment
DESCRIPTION_SIZE_MAX = 3840
CONTROL_HEADER_SIZE = 4096
CONTROL_ENTRY_SIZE = 320
LOCK_FILE_SIZE = 1024 * 16
FRAME_HEADER_SIZE = 48

DATA, CLOSE, EPOCH, PAD = 1, 2, 3, 4
TYPES = {DATA: "data", CLOSE: "close", EPOCH: "epoch", PAD: "pad"}
PRESENT, HASH_KEY, MORE, SEALED, OPENED = 1, 2, 4, 8, 16
SEAL_SIZE = 32
LAG_UNKNOWN = (1 << 24) - 1
INDEX_STRIDE = 1 << 16

_MANIFEST = struct.Struct("<8sIIII16sQ8x")
_SEGMENT = struct.Struct("<8sII16sII9QQ4xI")
assert _MANIFEST.size == 56
assert _SEGMENT.size == 128


class DamagedError(Exception):
    """A check does not hold."""


class UnknownError(Exception):
    """The checks hold, and a version, feature, type or flag is none of version 1."""


class AbsentError(Exception):
    """A segment that was never committed."""


def checksum(data: bytes, seed: int = 0) -> int:
    """XXH3, 64 bits."""
    return xxhash.xxh3_64_intdigest(data, seed)


def _word(value: int) -> bytes:
    return struct.pack("<Q", value)


# ---- manifest ----


@dataclass(frozen=True)
class Manifest:
    """The 64 bytes that make a directory a store."""

    store_id: bytes
    created_us: int
    version: int = VERSION
    compat: int = 0
    read_only_compat: int = 0
    incompat: int = 0

    def encode(self) -> bytes:
        head = _MANIFEST.pack(
            MANIFEST_MAGIC,
            self.version,
            self.compat,
            self.read_only_compat,
            self.incompat,
            self.store_id,
            self.created_us,
        )
        return head + _word(checksum(head))


def decode_manifest(data: bytes) -> Manifest:
    """UnknownError for another version or an incompatible feature; the two other masks are for the caller."""
    if len(data) < MANIFEST_SIZE or data[:8] != MANIFEST_MAGIC or data[56:64] != _word(checksum(data[:56])):
        raise DamagedError("manifest")
    _, version, compat, read_only_compat, incompat, store_id, created_us = _MANIFEST.unpack(data[:56])
    if version != VERSION or incompat:
        raise UnknownError(f"manifest version {version}, incompat {incompat:#x}")
    return Manifest(store_id, created_us, version, compat, read_only_compat, incompat)


# ---- segment header ----


@dataclass(frozen=True)
class SegmentHeader:
    """The first 4096 bytes of a segment; a valid one is the segment's commit."""

    store_id: bytes
    stream_id: int
    shard: int
    ordinal: int
    base: int
    salt: int
    base_ordinal: int = 0
    epoch: int = 1
    created_us: int = 0
    map_size: int = 128 << 20
    copied_end: int = 0  # 0: nothing was copied, which is stored as the base
    floor_arrival_us: int = 0
    description: bytes = b""
    previous_end: int = 0  # 0: the base, the only value of version 1
    version: int = VERSION
    incompat: int = 0
    spare: bytes = b""  # behind the description: of a compacted segment, what its blocks hold

    def encode(self) -> bytes:
        head = _SEGMENT.pack(
            SEGMENT_MAGIC,
            self.version,
            self.incompat,
            self.store_id,
            self.stream_id,
            self.shard,
            self.ordinal,
            self.base,
            self.previous_end or self.base,
            self.base_ordinal,
            self.epoch,
            self.salt,
            self.created_us,
            self.map_size,
            self.copied_end or self.base,
            self.floor_arrival_us,
            len(self.description),
        )
        covered = ((head + self.description).ljust(SEGMENT_SPARE, b"\0") + self.spare).ljust(SEGMENT_CHECK, b"\0")
        return covered + _word(checksum(covered))


def _never_committed(head: bytes) -> bool:
    """Whether a header whose check fails was still being written: a part that must hold something is zero."""
    size = int.from_bytes(head[124:128], "little")
    used = 128 + (size if size <= DESCRIPTION_SIZE_MAX else 0)
    sectors = [head[at : at + 512] for at in range(0, used - 511, 512)]
    return not all(any(part) for part in (head[:8], head[SEGMENT_CHECK:], *sectors))


def decode_segment_header(data: bytes) -> SegmentHeader:
    """Raise AbsentError, DamagedError or UnknownError for what is no header of version 1."""
    head = data[:SEGMENT_HEADER_SIZE]
    if len(head) < SEGMENT_HEADER_SIZE:
        raise AbsentError
    if head[:8] != SEGMENT_MAGIC or head[SEGMENT_CHECK:] != _word(checksum(head[:SEGMENT_CHECK])):
        raise AbsentError if _never_committed(head) else DamagedError("segment header")
    values = _SEGMENT.unpack(head[:128])
    version, incompat = values[1:3]
    if version != VERSION or incompat & ~COMPACTED:
        raise UnknownError(f"segment version {version}, incompat {incompat:#x}")
    store_id, stream_id, shard, ordinal, base, previous_end, base_ordinal, epoch, salt, created_us = values[3:13]
    map_size, copied_end, floor_arrival_us, description_size = values[13:]
    if (
        description_size > DESCRIPTION_SIZE_MAX
        or not 128 << 10 <= map_size <= 3 << 30
        or base % 8
        or not FIRST_POSITION <= base <= 1 << 62
        or previous_end != base
        or not 0 <= copied_end - base <= map_size
        or base_ordinal > 1 << 62
        or epoch >= 1 << 52
    ):
        raise DamagedError("segment header: a value out of its bounds")
    return SegmentHeader(
        store_id,
        stream_id,
        shard,
        ordinal,
        base,
        salt,
        base_ordinal,
        epoch,
        created_us,
        map_size,
        copied_end,
        floor_arrival_us,
        head[128 : 128 + description_size],
        previous_end,
        version,
        incompat,
        head[SEGMENT_SPARE:SEGMENT_CHECK].rstrip(b"\0") and head[SEGMENT_SPARE:SEGMENT_CHECK],
    )


# ---- frame ----


@dataclass(frozen=True)
class Frame:
    """One frame. `ordinal` counts the data frames before it in its segment, plus one; `durable` 0 = not known."""

    position: int
    epoch: int
    arrival_us: int
    ordinal: int
    type: int = DATA
    durable: int = 0
    attributes: bytes = b""
    hash_key: int | None = None
    key: bytes | None = None
    data: bytes = b""
    flags: int = field(default=PRESENT)
    seal: bytes = b""  # key id, nonce and tag of encrypted attributes, key and data; zeros where OPENED is set

    @property
    def size(self) -> int:
        return (FRAME_HEADER_SIZE + len(self._content()) + 7) // 8 * 8

    def _content(self) -> bytes:
        hash_key = b"" if self.hash_key is None else self.hash_key.to_bytes(16, "little")
        return self.seal + self.attributes + hash_key + (self.key or b"") + self.data

    def encode(self, salt: int) -> bytes:
        content = self._content()
        pad = -len(content) % 8
        body = content + bytes(pad)
        lag = LAG_UNKNOWN if self.durable == 0 else min((self.position - self.durable) // 8, LAG_UNKNOWN)
        flags = self.flags | (0 if self.hash_key is None else HASH_KEY)
        flags |= SEALED if self.seal and not flags & OPENED else 0
        covered = struct.pack(
            "<IQQQQ",
            FRAME_HEADER_SIZE + len(body),
            self.position,
            self.arrival_us << 12 | (0 if self.key is None else len(self.key) + 1),
            self.epoch << 12 | self.type << 8 | flags,
            self.ordinal << 40 | lag << 16 | len(self.attributes) << 3 | pad,
        )
        header_hash = checksum(covered, salt)
        body_check = (checksum(body, salt) ^ header_hash) or 1
        return struct.pack("<I", header_hash & 0xFFFFFFFF) + covered + _word(body_check) + body


def decode_frame(data: bytes, position: int, salt: int) -> Frame:
    """The frame that `data` begins with. DamagedError, or UnknownError for a type or flag none of ours."""
    if len(data) < FRAME_HEADER_SIZE:
        raise DamagedError("no room for a header")
    header_check, size, at, arrival, epoch, counts, body_check = struct.unpack("<IIQQQQQ", data[:FRAME_HEADER_SIZE])
    if at != position or size < FRAME_HEADER_SIZE or size % 8:
        raise DamagedError("frame header")
    header_hash = checksum(data[4:40], salt)
    if header_check != header_hash & 0xFFFFFFFF:
        raise DamagedError("frame header check")
    flags, kind, key_field = epoch & 0xFF, epoch >> 8 & 0xF, arrival & 0xFFF
    pad, attributes_size, lag = counts & 7, counts >> 3 & 0x1FFF, counts >> 16 & LAG_UNKNOWN
    hash_key_size = 16 if flags & HASH_KEY else 0
    key_size = max(key_field - 1, 0)
    seal_size = SEAL_SIZE if flags & (SEALED | OPENED) else 0
    fixed = FRAME_HEADER_SIZE + seal_size + attributes_size + hash_key_size + key_size + pad
    if fixed > size or kind == 0 or not flags & PRESENT or (flags & SEALED and flags & OPENED):
        raise DamagedError("frame sizes")
    if size > len(data) or body_check != ((checksum(data[FRAME_HEADER_SIZE:size], salt) ^ header_hash) or 1):
        raise DamagedError("frame body")
    if kind not in TYPES or flags & ~(PRESENT | HASH_KEY | MORE | SEALED | OPENED):
        raise UnknownError(f"frame type {kind}, flags {flags:#x}")
    parts, start = [], FRAME_HEADER_SIZE
    for length in (seal_size, attributes_size, hash_key_size, key_size, size - fixed):
        parts.append(data[start : start + length])
        start += length
    return Frame(
        position,
        epoch >> 12,
        arrival >> 12,
        counts >> 40,
        kind,
        0 if lag == LAG_UNKNOWN or lag * 8 > position else position - lag * 8,
        parts[1],
        int.from_bytes(parts[2], "little") if hash_key_size else None,
        parts[3] if key_field else None,
        parts[4],
        flags & ~(HASH_KEY | SEALED),
        parts[0],
    )


def _sealed(frame: Frame, stream_id: int, key_id: int) -> tuple[bytes, bytes]:
    """(what is encrypted, what is authenticated beside it)."""
    key_field = 0 if frame.key is None else len(frame.key) + 1
    covered = struct.pack("<IIII", stream_id, key_id, len(frame.attributes), key_field)
    covered += b"" if frame.hash_key is None else frame.hash_key.to_bytes(16, "little")
    return frame.attributes + (frame.key or b"") + frame.data, covered


def _parts(frame: Frame, content: bytes) -> Frame:
    key_end = len(frame.attributes) + len(frame.key or b"")
    key = None if frame.key is None else content[len(frame.attributes) : key_end]
    return replace(frame, attributes=content[: len(frame.attributes)], key=key, data=content[key_end:])


def seal_frame(frame: Frame, key: bytes, nonce: bytes, stream_id: int, key_id: int) -> Frame:
    """A plain frame encrypted under a data key of 32 bytes."""
    content, covered = _sealed(frame, stream_id, key_id)
    box = AESGCM(key).encrypt(nonce, content, covered)
    return replace(_parts(frame, box[:-16]), seal=struct.pack("<I", key_id) + nonce + box[-16:])


def open_frame(frame: Frame, key: bytes, stream_id: int) -> Frame:
    """The frame that was sealed. cryptography.exceptions.InvalidTag where the tag does not hold."""
    content, covered = _sealed(frame, stream_id, int.from_bytes(frame.seal[:4], "little"))
    return replace(_parts(frame, AESGCM(key).decrypt(frame.seal[4:16], content + frame.seal[16:], covered)), seal=b"")


# ---- whole segments ----


def encode_segment(header: SegmentHeader, frames: Iterable[Frame], tail: int = 1024) -> bytes:
    """A segment file: header, frames, and `tail` zero bytes of allocated space."""
    return header.encode() + b"".join(frame.encode(header.salt) for frame in frames) + bytes(tail)


def decode_segment(data: bytes) -> tuple[SegmentHeader, list[Frame], bool]:
    """(header, frames up to the first that does not hold, whether zeros alone follow them)."""
    header = decode_segment_header(data)
    if header.incompat & COMPACTED:
        from model import packed

        return packed.decode_packed(data)
    frames: list[Frame] = []
    position = header.base
    while True:
        offset = SEGMENT_HEADER_SIZE + position - header.base
        try:
            frame = decode_frame(data[offset:], position, header.salt)
        except DamagedError:
            return header, frames, not any(data[offset:])
        frames.append(frame)
        position += frame.size


def encode_index(header: SegmentHeader, frames: Iterable[Frame], end: int) -> bytes:
    """The trailer of a segment that the next live one ends at `end`."""
    entries, records, stride = [], 0, -1
    for frame in frames:
        if frame.position >= end:
            break
        if frame.position // INDEX_STRIDE != stride:
            stride = frame.position // INDEX_STRIDE
            entries.append((frame.position, frame.arrival_us, header.base_ordinal + frame.ordinal - 1))
        records += frame.type == DATA
    head = struct.pack("<8sIIQQQ", INDEX_MAGIC, VERSION, len(entries), header.ordinal, end, records)
    covered = head + b"".join(struct.pack("<QQQ", *entry) for entry in entries)
    return covered + _word(checksum(covered, header.salt))


def live(headers: Iterable[SegmentHeader]) -> list[SegmentHeader]:
    """Those that count: a later segment cuts all earlier ones at its base."""
    kept: list[SegmentHeader] = []
    for header in sorted(headers, key=lambda each: each.ordinal):
        while kept and kept[-1].base >= header.base:
            kept.pop()
        kept.append(header)
    return kept


def read_log(files: Iterable[bytes]) -> list[Frame]:
    """Every frame of a log without damage, in order; ordinals count from the start of the log."""
    decoded = {}
    for data in files:
        header, frames, _ = decode_segment(data)
        decoded[header.ordinal] = (header, frames)
    segments = live(header for header, _ in decoded.values())
    found = []
    for i, header in enumerate(segments):
        end = segments[i + 1].base if i + 1 < len(segments) else 1 << 63
        for frame in decoded[header.ordinal][1]:
            if frame.position + frame.size <= end:
                found.append(replace(frame, ordinal=header.base_ordinal + frame.ordinal))
    return found


def sequence_number(epoch: int, position: int, shard: int) -> str:
    """186 bits as 56 digits."""
    return str(2 << 184 | epoch << 132 | position << 68 | shard << 4 | 2)


# ---- control file ----


@dataclass(frozen=True)
class ControlEntry:
    """What an opener takes over from a log's entry in an older control file."""

    stream_id: int
    shard: int
    durability: int = 0
    durable: int = 0
    frame: int = 0  # a frame boundary at or below `durable`
    ready: bool = True
    inflight: int = 0

    def encode(self) -> bytes:
        entry = bytearray(CONTROL_ENTRY_SIZE)
        struct.pack_into("<IIQQ", entry, 0, 0, 1 if self.ready else 0, self.durable, self.durable)
        struct.pack_into("<Q", entry, 64, self.durable)
        struct.pack_into("<Q", entry, 80, self.inflight)
        struct.pack_into("<I", entry, 184, self.durability)
        struct.pack_into("<II", entry, 192, self.stream_id, self.shard)
        mark = struct.pack("<QQQ", self.durable, self.frame, self.stream_id << 32 | self.shard)
        check = checksum(mark, int.from_bytes(CONTROL_MAGIC, "little"))
        struct.pack_into("<QQQ", entry, 208, self.durable, self.frame, check)
        return bytes(entry)


def encode_control(store_id: bytes, entries: list[ControlEntry], incarnation: int, epoch_counter: int = 0) -> bytes:
    """A control file as a clean close in a boot that nobody knows leaves it, with room for no more logs than it
    names.
    """
    head = struct.pack(
        "<8sII16sQIIIIQQQ",
        CONTROL_MAGIC,
        1,
        CONTROL_ENTRY_SIZE,
        store_id,
        incarnation,
        1,
        0,
        0,
        0,
        epoch_counter,
        0,
        0,
    ).ljust(128, b"\0")
    counts = struct.pack("<III", 0, len(entries), len(entries))
    return (head + counts).ljust(CONTROL_HEADER_SIZE, b"\0") + b"".join(entry.encode() for entry in entries)
