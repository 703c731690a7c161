"""The archive form: a header that says what it is, blocks of records (msgpack under lz4) with checks, an end that says
how many there were. Written and read front to back, so it goes through pipes.

    header   magic 8 | version 4 | size 4 | msgpack map | check 8
    block    records 4 | raw size 4 | stored size 4 | zero 4 | check 8 | lz4 block of msgpack rows
    end      a block of no records, whose msgpack is {"records": how many}

A check is XXH3 of what stands before it (of a block, of its first 16 bytes and what follows the check), seeded by the
header's "salt", so that blocks of another archive do not fit.
"""

from __future__ import annotations

import secrets
import struct
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import lz4.block
import msgpack
import xxhash

from streamstore import limits
from streamstore.archive.rows import Origin, Row
from streamstore.errors import FormatVersionError, InvalidArgumentError, StorageError

MAGIC = b"SSARC\x1a\x0d\x0a"
_VERSION = 1
_HEAD = struct.Struct("<8sII")
_BLOCK = struct.Struct("<IIIIQ")
_BLOCK_SIZE = 1 * limits.MIB
_HEADER_SIZE_MAX = 1 * limits.MIB
_RAW_SIZE_MAX = limits.RECORD_SIZE_MAX + 16 * limits.MIB
# What bytes whose check holds, and which none of us wrote, raise on their way through msgpack, LZ4 and the rows.
_NONSENSE = (
    KeyError,
    IndexError,
    TypeError,
    ValueError,
    AttributeError,
    OverflowError,
    RecursionError,
    msgpack.UnpackException,
)


class BlockSink:
    """Writes an archive."""

    def __init__(self, file: BinaryIO, origin: Origin, facts: dict[str, Any]) -> None:
        self._file = file
        self._salt = secrets.randbits(63)
        self._packer = msgpack.Packer()
        self._waiting: list[bytes] = []
        self._size = self._count = self._records = 0
        said = msgpack.packb({**facts, "from": origin.token, "stream": origin.stream, "salt": self._salt})
        head = _HEAD.pack(MAGIC, _VERSION, len(said)) + said
        file.write(head + xxhash.xxh3_64_intdigest(head).to_bytes(8, "little"))

    def rows(self, rows: list[Row]) -> None:
        for row in rows:
            key = row.explicit_hash_key
            hash_key = None if key is None else key.to_bytes(16, "big")
            packed = self._packer.pack((*row[:4], hash_key, row.block, row.data))
            self._waiting.append(packed)
            self._size += len(packed)
            self._count += 1
            if self._size >= _BLOCK_SIZE:
                self._flush()

    def _flush(self) -> None:
        if self._count:
            self._write(self._count, b"".join(self._waiting))
            self._records += self._count
            self._waiting, self._size, self._count = [], 0, 0

    def _write(self, count: int, raw: bytes) -> None:
        stored = lz4.block.compress(raw, store_size=False)
        head = struct.pack("<IIII", count, len(raw), len(stored), 0)
        check = xxhash.xxh3_64_intdigest(head + stored, self._salt)
        self._file.write(head + check.to_bytes(8, "little") + stored)

    def end(self) -> None:
        self._flush()
        self._write(0, msgpack.packb({"records": self._records}))
        self._file.flush()


class BlockSource:
    """Reads an archive. Raises InvalidArgumentError for what is none, StorageError where it is damaged or cut off."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        head = _exactly(file, _HEAD.size)
        magic, version, size = _HEAD.unpack(head) if len(head) == _HEAD.size else (b"", 0, 0)
        if magic != MAGIC:
            raise InvalidArgumentError("this is no archive of streamstore (its first bytes are others)")
        if version != _VERSION:
            raise FormatVersionError(f"an archive of version {version}: a later release wrote it")
        if size > _HEADER_SIZE_MAX:
            raise StorageError("the archive's header is damaged")
        said, check = _exactly(file, size), _exactly(file, 8)
        if int.from_bytes(check, "little") != xxhash.xxh3_64_intdigest(head + said) or len(check) < 8:
            raise StorageError("the archive's header is damaged")
        try:
            self.facts = msgpack.unpackb(said, strict_map_key=False)
            self.origin = Origin(str(self.facts["from"]), str(self.facts["stream"]))
            self._salt = int(self.facts["salt"])
        except _NONSENSE as error:
            raise StorageError(f"the archive's header says what no header does ({error!r})") from None
        if not 0 <= self._salt < 1 << 64:
            raise StorageError("the archive's header is damaged")

    def batches(self) -> Iterator[list[Row]]:
        """The records, block by block, each checked before anything of it is given."""
        records = 0
        while True:
            count, raw = self._block(records)
            if count == 0:
                said = _unpacked(_count, raw, records)
                if said != records:
                    raise StorageError(f"the archive says that it has {said} records, and has {records}")
                return
            rows = _unpacked(_rows, raw, records)
            if len(rows) != count:
                raise StorageError(f"a block of the archive has {len(rows)} records instead of {count}")
            records += count
            yield rows

    def _block(self, records: int) -> tuple[int, bytes]:
        head = _exactly(self._file, _BLOCK.size)
        if len(head) < _BLOCK.size:
            raise StorageError(f"the archive ends early, after {records} records: it was cut off")
        count, raw_size, stored_size, _, check = _BLOCK.unpack(head)
        if raw_size > _RAW_SIZE_MAX or stored_size > _RAW_SIZE_MAX:
            raise StorageError(f"the archive is damaged after {records} records")
        stored = _exactly(self._file, stored_size)
        if len(stored) < stored_size:
            raise StorageError(f"the archive ends early, after {records} records: it was cut off")
        if xxhash.xxh3_64_intdigest(head[:16] + stored, self._salt) != check:
            raise StorageError(f"the archive is damaged after {records} records")
        try:
            return count, lz4.block.decompress(stored, uncompressed_size=raw_size)
        except lz4.block.LZ4BlockError as error:
            raise StorageError(f"the archive is damaged after {records} records ({error})") from None


def _unpacked(unpack: Callable[[bytes], Any], raw: bytes, records: int) -> Any:
    """What a block says; StorageError where that is nothing that an archive says."""
    try:
        return unpack(raw)
    except _NONSENSE as error:
        raise StorageError(f"the archive is damaged after {records} records ({error!r})") from None


def _count(raw: bytes) -> Any:
    return msgpack.unpackb(raw)["records"]


def _rows(raw: bytes) -> list[Row]:
    unpacker = msgpack.Unpacker(max_buffer_size=len(raw) + 1, strict_map_key=False)
    unpacker.feed(raw)
    return [_row(values) for values in unpacker]


def _row(values: Any) -> Row:
    shard_id, number, arrival_us, key, hash_key, block, data = values
    return Row(
        shard_id, number, arrival_us, key, None if hash_key is None else int.from_bytes(hash_key, "big"), block, data
    )


def _exactly(file: BinaryIO, size: int) -> bytes:
    """So many bytes, fewer where the file ends; a pipe gives them in pieces."""
    parts = []
    while size:
        part = file.read(min(size, 8 * limits.MIB))
        if not part:
            break
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
