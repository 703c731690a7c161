"""The core through cffi and nothing else, in the model's terms: frames in, frames out, statuses as exceptions.

Imports `_core` when it is first used, so that the house rules can be checked before anything is built.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import Any

from model import format as v1

BUFFER_SIZE = 1 << 20
RECORDS_MAX = 1000


class Status(IntEnum):
    """The statuses that tests name; the numbers are part of the seam."""

    OK = 0
    NOT_FOUND = 3
    CORRUPT = 7
    TRIMMED = 8
    SHARD_CLOSED = 9
    FORMAT = 18
    FOREIGN = 19


class CoreError(Exception):
    """A status that is not OK."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status & 0xFF}, errno {status >> 8}")
        self.status = status & 0xFF


def _check(status: int) -> None:
    if status:
        raise CoreError(status)


def _frame(buffer: Any, record: Any) -> v1.Frame:
    def part(offset: int, size: int) -> bytes:
        return bytes(buffer[offset : offset + size])

    return v1.Frame(
        record.position,
        record.epoch,
        record.arrival_us,
        record.ordinal,
        record.type,
        0,
        part(record.attributes_offset, record.attributes_size),
        record.hash_key_hi << 64 | record.hash_key_lo if record.hash_key_present else None,
        None if record.key_size < 0 else part(record.key_offset, record.key_size),
        part(record.data_offset, record.data_size),
        seal=part(record.seal_offset, v1.SEAL_SIZE if record.seal_offset else 0),
    )


class Core:
    """A store open in the core."""

    def __init__(self, path: Path, *, create: bool = False, read_only: bool = False, pwrite: bool = False) -> None:
        from streamstore._core import ffi, lib

        self.ffi, self.lib = ffi, lib
        flags = create * lib.SS_OPEN_CREATE | read_only * lib.SS_OPEN_READ_ONLY | pwrite * lib.SS_OPEN_PWRITE
        out = ffi.new("ss_store **")
        _check(lib.ss_store_open(os.fsencode(path), flags, out))
        self.store = out[0]

    def __enter__(self) -> Core:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.lib.ss_store_close(self.store)
        self.lib.ss_store_free(self.store)

    def log(
        self, stream_id: int, shard: int, *, segment_size: int = 0, description: bytes = b"", start: int = 0
    ) -> CoreLog:
        """One shard, as a `sync` stream has it."""
        options = self.ffi.new("ss_log_options *")
        block = self.ffi.from_buffer("uint8_t[]", description)
        options.segment_size_max, options.record_size_max = segment_size, 1 << 20
        options.start_position = start
        options.description, options.description_size = block, len(description)
        out = self.ffi.new("ss_log **")
        _check(self.lib.ss_store_log(self.store, stream_id, shard, options, out))
        return CoreLog(self, out[0])

    @staticmethod
    def decode(raw: bytes, position: int, base_ordinal: int, salt: int) -> tuple[v1.Frame, int]:
        """(frame, type) of the frame that `raw` begins with."""
        from streamstore._core import ffi, lib

        record = ffi.new("ss_record *")
        _check(lib.ss_record_decode(raw, len(raw), position, base_ordinal, salt, record))
        return _frame(raw, record), record.type


class CoreLog:
    """One log of an open store."""

    def __init__(self, core: Core, pointer: Any) -> None:
        self.core, self.pointer = core, pointer
        self.ffi, self.lib = core.ffi, core.lib

    def state(self) -> Any:
        out = self.ffi.new("ss_log_state *")
        _check(self.lib.ss_log_state_get(self.pointer, out))
        return out

    def recovery(self) -> Any:
        out = self.ffi.new("ss_recovery *")
        self.lib.ss_log_recovery_get(self.pointer, out)
        return out

    def segments(self) -> list[Any]:
        """What the core says of each segment file, oldest first."""
        count, found = self.ffi.new("size_t *"), self.ffi.new("ss_segment_info[]", 100)
        _check(self.lib.ss_log_segments(self.pointer, found, 100, count))
        return [found[i] for i in range(count[0])]

    def seek_time(self, arrival_us: int) -> int:
        out = self.ffi.new("uint64_t *")
        _check(self.lib.ss_log_seek_time(self.pointer, arrival_us, out))
        return int(out[0])

    def seek_ordinal(self, ordinal: int) -> int:
        out = self.ffi.new("uint64_t *")
        _check(self.lib.ss_log_seek_ordinal(self.pointer, ordinal, out))
        return int(out[0])

    def sync(self) -> None:
        _check(self.lib.ss_log_sync(self.pointer, 0))

    def append(self, frames: Sequence[v1.Frame], *, close: bool = False) -> None:
        """Append what these frames hold; where they stand is the core's to say."""
        entries = self.ffi.new("ss_entry[]", len(frames))
        keep = []
        for entry, frame in zip(entries, frames, strict=True):
            for name, content in (("data", frame.data), ("key", frame.key or b""), ("attributes", frame.attributes)):
                keep.append(self.ffi.from_buffer("uint8_t[]", content))
                setattr(entry, name, keep[-1])
                setattr(entry, f"{name}_size", len(content))
            if frame.key is None:
                entry.key_size = -1
            if frame.hash_key is not None:
                entry.hash_key_present = 1
                entry.hash_key_hi, entry.hash_key_lo = frame.hash_key >> 64, frame.hash_key & (1 << 64) - 1
        flags = self.lib.SS_APPEND_CLOSE if close else 0
        out = self.ffi.new("ss_appended *")
        _check(self.lib.ss_log_append(self.pointer, entries, len(frames), 0, flags, self.ffi.NULL, out))

    def read(self) -> list[v1.Frame]:
        """Every record from the start to the visible end."""
        buffer = bytearray(BUFFER_SIZE)
        found: list[v1.Frame] = []
        records = self.ffi.new("ss_record[]", RECORDS_MAX)
        result = self.ffi.new("ss_read_result *")
        position = self.state().start
        while True:
            where = self.ffi.from_buffer(buffer)
            _check(self.lib.ss_log_read(self.pointer, position, 0, where, BUFFER_SIZE, records, RECORDS_MAX, result))
            if result.count == 0:
                return found
            found += [_frame(buffer, records[i]) for i in range(result.count)]
            position = result.next_position

    def get(self, position: int) -> v1.Frame:
        """The record at `position`, under whatever epoch."""
        buffer = bytearray(BUFFER_SIZE)
        record, result = self.ffi.new("ss_record *"), self.ffi.new("ss_read_result *")
        where = self.ffi.from_buffer(buffer)
        _check(self.lib.ss_log_get(self.pointer, position, 0, where, BUFFER_SIZE, record, result))
        return _frame(buffer, record)
