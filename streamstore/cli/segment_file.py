"""A segment file's bytes as facts: header fields, frames, gaps, index trailer (docs/format.md). Reads one file, opens
no store, writes nothing.

Frames are decoded by the core itself; the header and the index are taken apart here, so that a file with a broken
header still shows.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgpack
import xxhash

from streamstore import native
from streamstore.cli.exits import VerbError

HEADER_SIZE = 4096
FRAME_HEADER_SIZE = 48
TYPES = {1: "data", 2: "close", 3: "epoch", 4: "pad"}
_CHECK_OFFSET = HEADER_SIZE - 8
_DESCRIPTION_OFFSET = 128
_INDEX_MAGIC = 0x0A0D1A5844495353
_INDEX_HEADER = struct.Struct("<QIIQQQ")  # magic, version, entries, ordinal of the segment, end position, records
_SEGMENT_MAGIC = 0x0A0D1A4745535353

# offset, struct code, name; the widths are the codes'
_FIELDS = (
    (0, "<Q", "magic"),
    (8, "<I", "version"),
    (12, "<I", "incompatible_features"),
    (16, "16s", "store_id"),
    (32, "<I", "stream"),
    (36, "<I", "shard"),
    (40, "<Q", "ordinal"),
    (48, "<Q", "base"),
    (56, "<Q", "previous_end"),
    (64, "<Q", "base_ordinal"),
    (72, "<Q", "epoch"),
    (80, "<Q", "salt"),
    (88, "<Q", "created_us"),
    (96, "<Q", "map_size"),
    (104, "<Q", "copied_end"),
    (112, "<Q", "floor_arrival_us"),
    (120, "<I", "reserved"),
    (124, "<I", "description_size"),
)


class Field(NamedTuple):
    """One field of the header."""

    offset: int
    size: int
    name: str
    value: Any


@dataclass(frozen=True)
class Frame:
    """What stands at a file offset: a frame that holds (`record` has its facts), or bytes that do not (`record` is
    None).
    """

    offset: int
    size: int
    position: int
    record: dict[str, int] | None
    raw: bytes

    @property
    def kind(self) -> str:
        if self.record is None:
            return "DAMAGED"
        return TYPES.get(self.record["type"], f"type {self.record['type']}")

    @property
    def durable(self) -> int | None:
        """The durable end that was known as it was written; None where it was not known."""
        lag = struct.unpack_from("<Q", self.raw, 32)[0] >> 16 & 0xFFFFFF
        return None if lag == 0xFFFFFF else self.position - 8 * int(lag)

    @property
    def checks(self) -> tuple[int, int]:
        """The header's check and the body's, as stored."""
        header, body = struct.unpack_from("<I", self.raw, 0)[0], struct.unpack_from("<Q", self.raw, 40)[0]
        return int(header), int(body)

    @property
    def data_key(self) -> int:
        """Under which data key it is encrypted; 0 where it is plain."""
        assert self.record is not None
        at = self.record["seal_offset"]
        return int.from_bytes(self.raw[at : at + 4], "little") if at else 0

    def part(self, name: str) -> bytes:
        """`attributes`, `key` or `data` of a frame that holds."""
        assert self.record is not None
        begin, size = self.record[f"{name}_offset"], max(self.record[f"{name}_size"], 0)
        return self.raw[begin : begin + size]


class SegmentFile:
    """One segment file, read when asked."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with open(path, "rb") as file:
            self.header = file.read(HEADER_SIZE)
        if len(self.header) < HEADER_SIZE:
            raise VerbError(
                f"{path}: {len(self.header)} bytes, and a segment's header has {HEADER_SIZE}: it was never written"
            )
        self.fields = [Field(at, struct.calcsize(code), name, self._field(at, code)) for at, code, name in _FIELDS]
        self.facts = {field.name: field.value for field in self.fields}
        if self.facts["magic"] != _SEGMENT_MAGIC:
            raise VerbError(f"{path}: not a segment file (its first bytes are {self.header[:8].hex(' ')})")
        self.file_size = path.stat().st_size

    def _field(self, offset: int, code: str) -> Any:
        value = struct.unpack_from(code, self.header, offset)[0]
        return value.hex() if isinstance(value, bytes) else value

    @property
    def header_holds(self) -> bool:
        """Whether the header's own check is right."""
        stored = struct.unpack_from("<Q", self.header, _CHECK_OFFSET)[0]
        return bool(xxhash.xxh3_64_intdigest(self.header[:_CHECK_OFFSET]) == stored)

    @property
    def description(self) -> Any:
        """What the header says about the stream, for rebuilding a catalog; None where there is nothing readable."""
        size = min(self.facts["description_size"], _CHECK_OFFSET - _DESCRIPTION_OFFSET)
        try:
            return (
                msgpack.unpackb(self.header[_DESCRIPTION_OFFSET : _DESCRIPTION_OFFSET + size], strict_map_key=False)
                if size
                else None
            )
        except Exception:  # whatever the bytes are, they are only shown
            return None

    def frames(self) -> Iterator[Frame]:
        """All frames in order, damaged stretches among them, up to where only zeros or the index follow."""
        with open(self.path, "rb") as file:
            offset = HEADER_SIZE
            while (frame := self._frame(file, offset)) is not None:
                yield frame
                offset += frame.size

    def _frame(self, file: Any, offset: int) -> Frame | None:
        header = _read(file, offset, FRAME_HEADER_SIZE)
        if len(header) < FRAME_HEADER_SIZE or not any(header) or struct.unpack_from("<Q", header)[0] == _INDEX_MAGIC:
            return None
        found = self._decode(file, offset, header)
        if found is not None:
            return found
        end = self._next_good(file, offset + 8)
        return Frame(
            offset, end - offset, self._position(offset), None, _read(file, offset, min(end - offset, 1 << 16))
        )

    def _position(self, offset: int) -> int:
        return int(self.facts["base"]) + offset - HEADER_SIZE

    def _decode(self, file: Any, offset: int, header: bytes) -> Frame | None:
        size = struct.unpack_from("<I", header, 4)[0]
        if size < FRAME_HEADER_SIZE or size % 8 or offset + size > self.file_size:
            return None
        raw = _read(file, offset, size)
        record = native.decode_frame(raw, self._position(offset), self.facts["base_ordinal"], self.facts["salt"])
        return None if record is None else Frame(offset, size, self._position(offset), record, raw)

    def _next_good(self, file: Any, offset: int) -> int:
        """The next offset where a frame holds, or where zeros or the index begin: a length in damaged bytes is not
        believed.
        """
        while offset < self.file_size:
            block = _read(file, offset, 1 << 20)
            for at in range(0, len(block) - FRAME_HEADER_SIZE + 1, 8):
                head = block[at : at + FRAME_HEADER_SIZE]
                if struct.unpack_from("<Q", head, 8)[0] == self._position(offset + at) and self._decode(
                    file, offset + at, head
                ):
                    return offset + at
                if struct.unpack_from("<Q", head)[0] == _INDEX_MAGIC:
                    return offset + at
            if not any(block):
                return offset
            if len(block) < 1 << 20:
                break
            offset += (len(block) - FRAME_HEADER_SIZE) // 8 * 8
        return _zeros_from(file, self.file_size)

    def index(self, offset: int) -> dict[str, Any] | None:
        """The index trailer at `offset`, where the frames end; None where there is none."""
        with open(self.path, "rb") as file:
            head = _read(file, offset, _INDEX_HEADER.size)
            if len(head) < _INDEX_HEADER.size or struct.unpack_from("<Q", head)[0] != _INDEX_MAGIC:
                return None
            _, version, entries, ordinal, end, records = _INDEX_HEADER.unpack(head)
            size = _INDEX_HEADER.size + 24 * entries
            bytes_ = _read(file, offset, size + 8) if offset + size + 8 <= self.file_size else head
        holds = len(bytes_) == size + 8 and self._check(bytes_[:size]) == struct.unpack_from("<Q", bytes_, size)[0]
        marks = list(struct.iter_unpack("<QQQ", bytes_[_INDEX_HEADER.size : size])) if holds else []
        facts = {"version": version, "entries": entries, "ordinal": ordinal, "end": end, "records": records}
        return {"offset": offset, **facts, "holds": holds, "marks": marks}

    def _check(self, covered: bytes) -> int:
        return int(xxhash.xxh3_64_intdigest(covered, seed=self.facts["salt"]))


def _read(file: Any, offset: int, size: int) -> bytes:
    file.seek(offset)
    data = file.read(size)
    assert isinstance(data, bytes)
    return data


def _zeros_from(file: Any, size: int) -> int:
    """Where the run of zeros that ends the file begins, on a multiple of 8."""
    end = size
    while end > HEADER_SIZE:
        begin = max(HEADER_SIZE, end - (1 << 20))
        block = _read(file, begin, end - begin).rstrip(b"\0")
        if block:
            return min(size, begin + (len(block) + 7) // 8 * 8)
        end = begin
    return HEADER_SIZE


def segment_paths(directory: Path) -> list[Path]:
    """The segment files of one log's directory, oldest first."""
    return sorted(path for path in directory.glob("*.seg") if path.stem.isdigit())
