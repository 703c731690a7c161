"""A Packing: one compacted segment in the making, block by block. Knows the core's calls, not when or why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from streamstore import limits
from streamstore._core import ffi, lib
from streamstore.native.border import CHANGED, INTERRUPTED, NOT_FOUND, OK, SMALL, error_for

if TYPE_CHECKING:
    from streamstore.native.log import Log

BLOCKS = 8
_LZ4: int = lib.SS_BLOCK_LZ4
_SEALED: int = lib.SS_BLOCK_SEALED


class SegmentsGoneError(Exception):
    """What was to be packed was trimmed, replaced by another's pack, or deleted meanwhile: nothing was done."""


class Block(NamedTuple):
    """Frames of sealed segments, as they come: `raw` may be changed in place. `sealed` frames are encrypted, `opened`
    ones were until an earlier compaction.
    """

    position: int
    raw: memoryview
    sealed: int
    opened: int


class Seal(NamedTuple):
    """How a block was encrypted."""

    key_id: int
    nonce: bytes
    tag: bytes


def expand_block(stored: bytes, size: int) -> bytes | None:
    """What an LZ4 block of that size was made from; None where it is none."""
    out = ffi.new("uint8_t[]", size)
    expanded = lib.ss_lz4_expand(stored, len(stored), out, size) == OK
    return bytes(ffi.buffer(out, size)) if expanded else None


class Packing:
    """Segments `first` to `last` (ordinals) of a log on their way into one. Context manager; one thread at a time.

    Raises InvalidArgumentError where they may not be packed; everything raises CorruptRangeError where they are
    damaged, SegmentsGoneError where they are not there any more.
    """

    def __init__(self, log: Log, first: int, last: int) -> None:
        out = ffi.new("ss_pack **")
        self._log = log  # keeps the store's memory
        self._pointer: Any = None
        self._call(lib.ss_log_pack_begin, log.pointer, first, last, out)
        self._pointer = out[0]
        self._buffer = bytearray(4 * limits.COMPACTION_BLOCK_SIZE)

    def _call(self, function: Callable[..., int], *arguments: Any) -> None:
        while (status := function(*arguments)) != OK:
            if status & 0xFF in (CHANGED, NOT_FOUND):
                raise SegmentsGoneError(self._log.shard_id)
            if status & 0xFF != INTERRUPTED:
                raise error_for(status, self._log.shard_id)

    def __enter__(self) -> Packing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go; what was not committed is removed. Safe to call twice."""
        pointer, self._pointer = self._pointer, None
        if pointer is not None:
            lib.ss_log_pack_free(pointer)

    def pack(self, limit: int) -> int:
        """Compress and write up to `limit` blocks in one go; returns how many.

        Fewer than that: it is at the end, or what comes next is encrypted (or was) and is for `blocks` and `put`.
        """
        count = ffi.new("size_t *")
        self._call(lib.ss_log_pack_some, self._pointer, limit, count)
        return int(count[0])

    def blocks(self) -> Iterator[list[Block]]:
        """All frames, a few blocks at a time; each list is to be put before the next is asked for."""
        items = ffi.new("ss_pack_block[]", BLOCKS)
        count = ffi.new("size_t *")
        while True:
            buffer = ffi.from_buffer("uint8_t[]", self._buffer)
            status = lib.ss_log_pack_next(self._pointer, buffer, len(self._buffer), items, BLOCKS, count)
            del buffer
            if status == SMALL:
                self._buffer = bytearray(items[0].size)
                continue
            if status == CHANGED:
                raise SegmentsGoneError(self._log.shard_id)
            if status != OK:
                raise error_for(status, self._log.shard_id)
            if not count[0]:
                return
            whole = memoryview(self._buffer)
            yield [
                Block(
                    item.position,
                    whole[item.offset : item.offset + item.size],
                    item.sealed_frames,
                    item.opened_frames,
                )
                for item in (items[index] for index in range(count[0]))
            ]

    def _stored(self, raw: memoryview, stored: Any, *, compressed: bool, seal: Seal | None) -> tuple[Any, Any]:
        held = ffi.from_buffer("uint8_t[]", raw), ffi.from_buffer("uint8_t[]", stored)
        item = ffi.new("ss_pack_stored *")
        item.raw, item.stored = held
        item.raw_size, item.stored_size = len(raw), len(stored)
        item.flags = (_LZ4 if compressed else 0) | (_SEALED if seal else 0)
        if seal:
            item.key_id = seal.key_id
            item.nonce = seal.nonce
            item.tag = seal.tag
        return item, held

    def put(self, block: Block, stored: Any, *, compressed: bool, seal: Seal | None = None) -> None:
        """Write a block as `stored` (bytes): compressed or not, encrypted or not."""
        item, held = self._stored(block.raw, stored, compressed=compressed, seal=seal)
        self._call(lib.ss_log_pack_put, self._pointer, item)
        del held

    def associated(self, block: Block, stored: Any, *, compressed: bool, key_id: int) -> bytes:
        """What is to be sealed along with a block that is stored as `stored` once it is encrypted."""
        item, held = self._stored(block.raw, stored, compressed=compressed, seal=None)
        item.flags |= _SEALED
        item.key_id = key_id
        out = ffi.new("uint8_t[32]")
        lib.ss_log_pack_associate(self._pointer, block.position, item, out)
        del held
        return bytes(out)

    def finish(self, limit: int) -> int:
        """Sync what was written, then read up to `limit` blocks back and compare them; returns how many are left."""
        left = ffi.new("size_t *")
        self._call(lib.ss_log_pack_finish, self._pointer, limit, left)
        return int(left[0])

    def commit(self) -> None:
        """Replace the segments."""
        self._call(lib.ss_log_pack_commit, self._pointer)

    def progress(self) -> tuple[int, int]:
        """(bytes of the log that were put, bytes of the file)."""
        out = ffi.new("ss_pack_progress *")
        lib.ss_log_pack_progress_get(self._pointer, out)
        return int(out.position - out.base), int(out.stored_bytes)
