"""The attribute block of a record: a msgpack map of what the producer says about it. Written here, read in `_hot`.

"u"  user attributes: map of str to anything msgpack holds
"t"  event time: microseconds since 1970 UTC
"s"  source: where the record was captured or imported from
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgpack

from streamstore import clock
from streamstore.errors import InvalidArgumentError, InvalidTypeError, RecordTooLargeError
from streamstore.limits import ATTRIBUTES_SIZE_MAX, HASH_KEY_END, PARTITION_KEY_CHARACTERS_MAX
from streamstore.values import PutEntry

_ENTRY_KEYS = frozenset(PutEntry._fields)


def encode(
    attributes: Mapping[str, Any] | None = None,
    event_time: datetime | int | float | None = None,
    source: Mapping[str, Any] | None = None,
) -> bytes | None:
    """The block, or None where there is nothing to say.

    Raises InvalidTypeError and InvalidArgumentError (a naive datetime among them), RecordTooLargeError over 4 KiB.
    """
    block: dict[str, Any] = {}
    if attributes is not None:
        block["u"] = _checked("attributes", attributes)
    if event_time is not None:
        block["t"] = event_us(event_time)
    if source is not None:
        block["s"] = _checked("source", source)
    if not block:
        return None
    try:
        encoded: bytes = msgpack.packb(block)
    except (TypeError, OverflowError, ValueError) as error:
        raise InvalidTypeError(f"attributes hold what msgpack cannot: {error}") from None
    if len(encoded) > ATTRIBUTES_SIZE_MAX:
        raise RecordTooLargeError(f"attributes take {len(encoded)} bytes, over the limit of {ATTRIBUTES_SIZE_MAX}")
    return encoded


def event_us(value: datetime | int | float) -> int:
    """Microseconds of an event time: an aware datetime, or seconds since 1970."""
    try:
        return clock.to_us(value)
    except ValueError as error:
        raise InvalidArgumentError(f"event_time: {error}") from None
    except TypeError as error:
        raise InvalidTypeError(f"event_time: {error}") from None


def _checked(what: str, mapping: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(mapping, Mapping):
        raise InvalidTypeError(f"{what} is a dict, not {type(mapping).__name__}")
    for key in mapping:
        if not isinstance(key, str):
            raise InvalidTypeError(f"the keys of {what} are str, not {type(key).__name__}")
    return dict(mapping)


def normalize(entry: Any, index: int) -> tuple[tuple[Any, Any, Any], bytes | None]:
    """((data, partition key, explicit hash key), block) of any form an entry of put_records may have."""
    if isinstance(entry, dict):
        if unknown := entry.keys() - _ENTRY_KEYS:
            raise InvalidArgumentError(
                f"entry {index}: unknown keys {sorted(map(str, unknown))}; known are {sorted(_ENTRY_KEYS)}"
            )
        if "data" not in entry:
            raise InvalidArgumentError(f"entry {index}: 'data' is missing")
        entry = PutEntry(**entry)
    if isinstance(entry, PutEntry):
        try:
            block = encode(entry.attributes, entry.event_time, entry.source)
        except (InvalidArgumentError, InvalidTypeError, RecordTooLargeError) as error:
            raise type(error)(f"entry {index}: {error}") from None
        return (entry.data, entry.partition_key, entry.explicit_hash_key), block
    if not isinstance(entry, (tuple, list)):
        raise InvalidTypeError(
            f"entry {index}: a tuple (data, partition_key), a dict or a PutEntry is wanted, not {type(entry).__name__}"
        )
    if not 1 <= len(entry) <= 3:
        raise InvalidArgumentError(
            f"entry {index}: {len(entry)} items; an entry is (data, partition_key[, explicit_hash_key])"
        )
    data, key, hash_key = (*entry, None, None)[:3]
    return (data, key, hash_key), None


def check(entry: tuple[Any, Any, Any], index: int, record_size_max: int) -> None:
    """Raise for an entry that the core would refuse: the slow twin of the checks in `_hot`, for entries that go
    another way. A negative index is that of a record that stands alone.
    """
    data, key, hash_key = entry
    where = f"entry {index}: " if index >= 0 else ""
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise InvalidTypeError(f"{where}data must be bytes, bytearray or memoryview, not {type(data).__name__}")
    if key is not None and not isinstance(key, str):
        raise InvalidTypeError(f"{where}partition_key must be str or None, not {type(key).__name__}")
    if key is not None and not 1 <= len(key) <= PARTITION_KEY_CHARACTERS_MAX:
        raise InvalidArgumentError(
            f"{where}partition_key has {len(key)} characters; 1 to {PARTITION_KEY_CHARACTERS_MAX} are allowed"
        )
    try:
        key_size = 0 if key is None else len(key.encode())
    except UnicodeEncodeError:
        raise InvalidArgumentError(
            f"{where}partition_key has a lone surrogate and cannot be written as UTF-8"
        ) from None
    size = (data.nbytes if isinstance(data, memoryview) else len(data)) + key_size
    if size > record_size_max:
        raise RecordTooLargeError(f"{where}a record of {size} bytes is over the limit of {record_size_max} bytes")
    if hash_key is None:
        return
    if not isinstance(hash_key, int):
        raise InvalidTypeError(f"{where}explicit_hash_key must be an int or None, not {type(hash_key).__name__}")
    if not 0 <= hash_key < HASH_KEY_END:
        raise InvalidArgumentError(f"{where}explicit_hash_key must be 0 to 2**128 - 1")
