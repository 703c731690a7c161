"""Columns: a stretch of a log without an object per record, as Arrow wants it.

The memory comes from the caller (Arrow's own pool), because the columns outlive the read. Frames are decoded a block at
a time, so that the array of decoded frames stays in the cache.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from streamstore import limits
from streamstore._core import ffi, lib
from streamstore.native.border import CORRUPT, INTERRUPTED, OK, SMALL, TRIMMED, error_for
from streamstore.native.log import Log

_BLOCK_SIZE = 64 * limits.KIB
_BLOCK_RECORDS = _BLOCK_SIZE // lib.SS_FRAME_HEADER_SIZE + 1
_NUMBERS = ("position", "epoch", "ordinal", "arrival_us")
_VIEWS = ("data", "key", "attributes")
_BITS = ("key_present", "attributes_present")
Allocate = Callable[[int], Any]
"""A size in bytes -> an object with an `address`, such as pyarrow.allocate_buffer gives."""


class Columns:
    """The columns of up to `limit` records from `position`, at most about `size` bytes of frames.

    `buffers` has one buffer for each number (8 bytes a row), view (16 bytes a row, into `frames`) and presence (a bit a
    row); `count` rows are filled. `status` is OK, or CORRUPT or TRIMMED behind the last row.
    """

    def __init__(self, log: Log, position: int, limit: int, size: int, allocate: Allocate) -> None:
        self.shard_index = log.shard_index
        self.next_position = position
        self.count = self.key_count = self.attributes_count = 0
        self.status = OK
        self.damage = (0, 0)
        self._allocate = allocate
        self._size = size
        self._rows = min(limit, size // lib.SS_FRAME_HEADER_SIZE + 1)
        self.frames = allocate(size)
        self.buffers = {name: allocate(8 * self._rows) for name in _NUMBERS}
        self.buffers.update((name, allocate(16 * self._rows)) for name in _VIEWS)
        self.buffers.update((name, allocate((self._rows + 7) // 8)) for name in _BITS)
        self._fill(log)

    def _fill(self, log: Log) -> None:
        columns = ffi.new("ss_columns *")
        for name, buffer in self.buffers.items():
            setattr(columns, name, ffi.cast("uint64_t *" if name in _NUMBERS else "uint8_t *", buffer.address))
        records = ffi.new("ss_record[]", _BLOCK_RECORDS)
        result = ffi.new("ss_read_result *")
        used, block = 0, _BLOCK_SIZE
        while self.count < self._rows:
            room = min(self._size - used, block)
            if room < lib.SS_FRAME_HEADER_SIZE:
                break
            frames = ffi.cast("uint8_t *", self.frames.address)
            limit = min(_BLOCK_RECORDS, self._rows - self.count)
            status = lib.ss_log_read(log.pointer, self.next_position, 0, frames + used, room, records, limit, result)
            code = status & 0xFF
            if code == SMALL:
                # A frame larger than a block, or than what is left; where it is the very first, than all there is.
                block = max(2 * block, int(result.size_needed))
                if self.count == 0 and block > self._size:
                    self._size = block
                    self.frames = self._allocate(block)
                elif room == self._size - used:
                    break
            elif code in (OK, CORRUPT):
                lib.ss_columns_fill(records, result.count, frames, used, self.count, columns)
                self.count += int(result.count)
                used += int(result.used)
                self.next_position = int(result.next_position)
                if code == CORRUPT or not result.count:
                    self._end(status, result)
                    break
            elif code == TRIMMED:
                self.status = status if self.count == 0 else OK
                break
            elif code != INTERRUPTED:
                raise error_for(status, log.shard_id)
        self.key_count, self.attributes_count = int(columns.key_count), int(columns.attributes_count)

    def _end(self, status: int, result: Any) -> None:
        self.status = status
        if status & 0xFF == CORRUPT:
            self.damage = (int(result.damage_begin), int(result.damage_end))
            self.next_position = self.damage[0]
