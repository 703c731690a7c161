"""The bytes that backup and repair read and write themselves: the manifest, a segment's header, single frames
(docs/format.md). Pure functions over bytes; what a header's spare bytes hold for later versions is kept as it is.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import xxhash

from streamstore import clock

MANIFEST_SIZE = 64
HEADER_SIZE = 4096
FRAME_SIZE_MIN = 48
POSITION_FIRST = 64
DATA, CLOSE, PAD = 1, 2, 4
FRAME_COUNT_MAX = (1 << 24) - 2  # the ordinal field of a frame
EPOCH_MAX = (1 << 52) - 1
MAP_SIZE_MIN, MAP_SIZE_MAX = 128 << 10, 3 << 30
_POSITION_MAX = 1 << 62

MANIFEST_MAGIC = b"SMNIF\x1a\x0d\x0a"
_SEGMENT_MAGIC = b"SSSEG\x1a\x0d\x0a"
_MANIFEST = struct.Struct("<8sIIII16sQQ")
_HEADER = struct.Struct("<8sII16sII9QQII")
_CHECK = HEADER_SIZE - 8
_SECTOR = 512
_DESCRIPTION_SIZE_MAX = 3840
_LAG_UNKNOWN = (1 << 24) - 1
_ALIGNMENT = 64 << 10

VALID, ABSENT, DAMAGED, LATER = "valid", "absent", "damaged", "later"


def checksum(data: bytes | memoryview, seed: int = 0) -> int:
    """XXH3, 64 bits."""
    return int(xxhash.xxh3_64_intdigest(data, seed))


# --- manifest ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Manifest:
    """The 64 bytes that make a directory a store."""

    store_id: bytes
    created_us: int
    compat: int = 0
    read_only_compat: int = 0
    incompat: int = 0

    def encode(self) -> bytes:
        head = _MANIFEST.pack(
            MANIFEST_MAGIC,
            1,
            self.compat,
            self.read_only_compat,
            self.incompat,
            self.store_id,
            self.created_us,
            0,
        )
        return head + checksum(head).to_bytes(8, "little")


def parse_manifest(raw: bytes) -> Manifest | None:
    """None where the bytes are no manifest of version 1 whose check holds."""
    if len(raw) < MANIFEST_SIZE or checksum(raw[:56]) != int.from_bytes(raw[56:64], "little"):
        return None
    magic, version, compat, read_only_compat, incompat, store_id, created_us, _ = _MANIFEST.unpack(raw[:56])
    if magic != MANIFEST_MAGIC or version != 1:
        return None
    return Manifest(store_id, created_us, compat, read_only_compat, incompat)


def manifest_is_later(raw: bytes) -> bool:
    """A manifest whose check holds, of a version that is not ours."""
    whole = len(raw) >= MANIFEST_SIZE and checksum(raw[:56]) == int.from_bytes(raw[56:64], "little")
    return whole and int.from_bytes(raw[8:12], "little") != 1


# --- segment header ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Header:
    """The fields of a segment's header, believed or not."""

    version: int
    incompat: int
    store_id: bytes
    stream_id: int
    shard: int
    ordinal: int
    base: int
    previous_end: int
    base_ordinal: int
    epoch: int
    salt: int
    created_us: int
    map_size: int
    copied_end: int
    floor_arrival_us: int
    description: bytes = b""

    def encode(self) -> bytes:
        """A header that holds; the spare bytes are zero."""
        head = _HEADER.pack(
            _SEGMENT_MAGIC,
            self.version,
            self.incompat,
            self.store_id,
            self.stream_id,
            self.shard,
            self.ordinal,
            self.base,
            self.previous_end,
            self.base_ordinal,
            self.epoch,
            self.salt,
            self.created_us,
            self.map_size,
            self.copied_end,
            self.floor_arrival_us,
            0,
            len(self.description),
        )
        return sealed((head + self.description).ljust(HEADER_SIZE, b"\0"))


def empty_header(store_id: bytes, stream_id: int, shard: int, ordinal: int) -> Header:
    """What the place of a segment says about it; the rest is to be filled in."""
    return Header(1, 0, store_id, stream_id, shard, ordinal, 64, 64, 0, 0, 0, clock.now_us(), MAP_SIZE_MIN, 64, 0)


def parse_header(raw: bytes) -> Header:
    """The fields as they stand, whether or not the header holds; `header_state` says that."""
    values = _HEADER.unpack(raw[: _HEADER.size])
    size = min(values[-1], _DESCRIPTION_SIZE_MAX)
    fields = (*values[1:16], raw[_HEADER.size : _HEADER.size + size])
    return Header(*fields)


def header_state(raw: bytes) -> str:
    """What a reader makes of these bytes: VALID; ABSENT (never committed); DAMAGED; LATER (of a later version)."""
    if len(raw) < HEADER_SIZE:
        return ABSENT
    raw = raw[:HEADER_SIZE]
    if raw[:8] != _SEGMENT_MAGIC or checksum(raw[:_CHECK]) != int.from_bytes(raw[_CHECK:], "little"):
        return ABSENT if _torn(raw) else DAMAGED
    found = parse_header(raw)
    if found.version != 1:
        return LATER
    bounded = (
        struct.unpack_from("<I", raw, 124)[0] <= _DESCRIPTION_SIZE_MAX
        and MAP_SIZE_MIN <= found.map_size <= MAP_SIZE_MAX
        and found.base % 8 == 0
        and 64 <= found.base <= _POSITION_MAX
        and found.previous_end == found.base
        and found.copied_end % 8 == 0
        and found.base_ordinal <= _POSITION_MAX
        and found.epoch <= EPOCH_MAX
    )
    return VALID if bounded else DAMAGED


def _torn(raw: bytes) -> bool:
    """The power went while it was written: a part that must hold something is zero."""
    size = struct.unpack_from("<I", raw, 124)[0]
    used = _HEADER.size + (size if size <= _DESCRIPTION_SIZE_MAX else 0)
    sectors = (raw[at : at + _SECTOR] for at in range(0, used - _SECTOR + 1, _SECTOR))
    return not any(raw[:8]) or not any(raw[_CHECK:]) or not all(any(sector) for sector in sectors)


def sealed(raw: bytes) -> bytes:
    """The header's bytes with the check that fits them."""
    return raw[:_CHECK] + checksum(raw[:_CHECK]).to_bytes(8, "little")


def with_store_id(raw: bytes, store_id: bytes) -> bytes:
    """The header of the same segment in another store. Frames need no change: their salt does not depend on it."""
    return sealed(raw[:16] + store_id + raw[32:])


def map_size_for(used: int) -> int:
    """The address space of a segment that holds `used` bytes of frames and the index behind them."""
    size = HEADER_SIZE + used + 48 + 24 * (used // 65536 + 8)
    return max(MAP_SIZE_MIN, (size + _ALIGNMENT - 1) // _ALIGNMENT * _ALIGNMENT)


def allocation(size: int) -> int:
    """The file size that a writer would have given to a segment of which `size` bytes are used."""
    return (size + _ALIGNMENT - 1) // _ALIGNMENT * _ALIGNMENT


# --- frames -----------------------------------------------------------------------------------------------------------


def encode_frame(
    kind: int, position: int, epoch: int, arrival_us: int, ordinal: int, data: bytes | memoryview, salt: int
) -> bytes:
    """A frame without key and attributes; `ordinal` counts the records of the segment before it, plus one."""
    pad = -len(data) % 8
    body = bytes(data) + bytes(pad)
    covered = struct.pack(
        "<IQQQQ",
        FRAME_SIZE_MIN + len(body),
        position,
        arrival_us << 12,
        epoch << 12 | kind << 8 | 1,
        ordinal << 40 | _LAG_UNKNOWN << 16 | pad,
    )
    check = checksum(covered, salt)
    body_check = (checksum(body, salt) ^ check) or 1
    return struct.pack("<I", check & 0xFFFFFFFF) + covered + body_check.to_bytes(8, "little") + body
