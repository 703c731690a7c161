"""Columns: a stretch of a log without an object per record, as Arrow wants it.

The memory comes from the caller (Arrow's own pool), because the columns outlive the read; the core fills it in
one call.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from streamstore._core import ffi, lib
from streamstore.native.border import CORRUPT, INTERRUPTED, OK, SMALL, TRIMMED, error_for
from streamstore.native.log import Log

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
        self.sealed = False  # some row is encrypted: these columns hold ciphertext
        self.damage = (0, 0)
        rows = min(limit, size // lib.SS_FRAME_HEADER_SIZE + 1)
        self.frames = allocate(size)
        self.buffers = {name: allocate(8 * rows) for name in _NUMBERS}
        self.buffers.update((name, allocate(16 * rows)) for name in _VIEWS)
        self.buffers.update((name, allocate((rows + 7) // 8)) for name in _BITS)
        columns = ffi.new("ss_columns *")
        for name, buffer in self.buffers.items():
            setattr(columns, name, ffi.cast("uint64_t *" if name in _NUMBERS else "uint8_t *", buffer.address))
        result = ffi.new("ss_read_result *")
        while True:
            frames = ffi.cast("uint8_t *", self.frames.address)
            arguments = (log.pointer, position, 0, frames, size, columns, rows, result)
            status = log.read_columns(position, columns, result, partial(lib.ss_log_read_columns, *arguments))
            code = status & 0xFF
            if code == SMALL and result.size_needed > size:  # the first frame alone is larger
                size = int(result.size_needed)
                self.frames = allocate(size)
            elif code != INTERRUPTED:
                break
        if code not in (OK, CORRUPT, TRIMMED):
            raise error_for(status, log.shard_id)
        self.status = status
        if code != TRIMMED:
            self.sealed = bool(result.sealed)
            self.count, self.next_position = int(result.count), int(result.next_position)
            self.key_count, self.attributes_count = int(columns.key_count), int(columns.attributes_count)
        if code == CORRUPT:
            self.damage = (int(result.damage_begin), int(result.damage_end))
            self.next_position = self.damage[0]  # told now, or met by the next read
