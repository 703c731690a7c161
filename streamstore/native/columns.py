"""Columns: a decoded chunk without an object per record, as Arrow wants it."""

from __future__ import annotations

from typing import Any

from streamstore._core import ffi

# For arrays that the core fills in itself.
new_uncleared = ffi.new_allocator(should_clear_after_alloc=False)


class Columns:
    """A chunk as the core decoded it: the bytes of whole frames, and an array of structures that says where things
    are in them.

    `u64` and `u32` are strided views of one field over all records; offsets count from the start of `buffer`.
    """

    __slots__ = (
        "_words32",
        "_words64",
        "buffer",
        "count",
        "damage",
        "next_position",
        "shard_index",
        "status",
        "visible",
    )
    _size: int = ffi.sizeof("ss_record")

    def __init__(self, shard_index: int, buffer: bytearray, records: Any, status: int, result: Any) -> None:
        self.shard_index = shard_index
        self.buffer = buffer
        self.count = int(result.count)
        self.status = status
        self.next_position = int(result.next_position)
        self.visible = int(result.visible)
        self.damage = (int(result.damage_begin), int(result.damage_end))
        words = memoryview(ffi.buffer(records, self.count * self._size)).cast("B") if self.count else memoryview(b"")
        self._words64 = words.cast("Q")
        self._words32 = words.cast("I")

    def u64(self, name: str) -> memoryview:
        """A field of 64 bits."""
        return self._words64[ffi.offsetof("ss_record", name) // 8 :: self._size // 8]

    def u32(self, name: str) -> memoryview:
        """A field of 32 bits."""
        return self._words32[ffi.offsetof("ss_record", name) // 4 :: self._size // 4]
