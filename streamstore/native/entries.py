"""What goes in: entries for a log's append, and the Target through which puts take the fast door."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from streamstore._core import ffi, lib
from streamstore._hot import PutResults, Target, make_put_results, own
from streamstore.native.border import call, raise_partial
from streamstore.values import HashRange

if TYPE_CHECKING:
    from streamstore.native.log import Log

_WORD = (1 << 64) - 1


def _hash_key(key: int) -> tuple[int, int]:
    return key >> 64, key & _WORD


def fill_entry(item: Any, entry: tuple[Any, ...], attributes: Any, keep: list[Any]) -> None:
    """Fill an ss_entry; `keep` holds what it points to until the call is over."""
    data, key, hash_key = (*entry, None, None)[:3]
    item.data = pointer = ffi.from_buffer("uint8_t[]", data)
    item.data_size = len(pointer)
    keep.append(pointer)
    item.key_size = -1
    if key is not None:
        item.key = pointer = ffi.from_buffer("uint8_t[]", key.encode() if isinstance(key, str) else key)
        item.key_size = len(pointer)
        keep.append(pointer)
    if attributes:
        item.attributes = pointer = ffi.from_buffer("uint8_t[]", attributes)
        item.attributes_size = len(pointer)
        keep.append(pointer)
    if hash_key is not None:
        item.hash_key_present = 1
        item.hash_key_hi, item.hash_key_lo = _hash_key(hash_key)


_FREE_RANGES = int(ffi.cast("uintptr_t", ffi.addressof(lib, "ss_ranges_free")))


def range_table(ranges: Sequence[HashRange]) -> tuple[int, object]:
    """The address of what routes hash keys to places in `ranges`, and what keeps it there; InvalidArgumentError unless
    these tile the space.
    """
    table = ffi.new("ss_ranges **")
    starts = ffi.new("ss_hash_key[]", [_hash_key(item.start) for item in ranges])
    ends = ffi.new("ss_hash_key[]", [_hash_key(item.end) for item in ranges])
    places = ffi.new("uint32_t[]", list(range(len(ranges))))
    call("routing", lib.ss_ranges_create, starts, ends, places, len(ranges), table)
    address = int(ffi.cast("uintptr_t", table[0]))
    return address, own(address, _FREE_RANGES)


def make_target(
    logs: Sequence[Log], ranges: Sequence[HashRange], *, record_size_max: int, sync: bool, terms: int = 0
) -> Target:
    """The fast door for puts into these logs; `ranges[i]` is what `logs[i]` owns, `terms` what the caller knows them
    to be.
    """
    address, table = range_table(ranges)
    return Target(
        address,
        [log.address for log in logs],
        [log.shard_index for log in logs],
        [log.shard_id for log in logs],
        record_size_max,
        sync,
        (table, tuple((log.keepalive, log.memory) for log in logs[:1])),
        terms,
    )


def whole_results(outcomes: list[Any]) -> PutResults:
    """What one call into C would have given for entries that took several. Raises PartialPutError for an exception."""
    if any(isinstance(item, Exception) for item in outcomes):
        raise_partial(outcomes)
    return make_put_results(tuple(outcomes))


def frame_size_max(data: Any, key: str | None, block: bytes | None) -> int:
    """Bytes of a log that a record takes at most, explicit hash key and pad included."""
    return (
        int(lib.SS_FRAME_HEADER_SIZE)
        + len(memoryview(data).cast("B"))
        + len((key or "").encode())
        + len(block or b"")
        + 64
    )
