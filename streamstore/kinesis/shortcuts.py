"""The common forms of PutRecord and PutRecords, checked in a few steps: what they accept is what `validation` accepts.

Anything unusual gives None, and goes the long way, which also has the texts for what is wrong.
"""

from __future__ import annotations

from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Callable
from itertools import repeat
from operator import add
from typing import Any

from streamstore.kinesis import scalars
from streamstore.kinesis.scalars import SHAPES

Entry = tuple[bytes, "str | None", "int | None"]
_BATCH_MEMBERS = {"StreamName", "Records"}
_ENTRY_MEMBERS = ("Data", "PartitionKey")
_RECORD_MEMBERS = {"StreamName", "Data", "PartitionKey"}
_NAME = SHAPES["StreamName"]
_KEY = SHAPES["PartitionKey"]
_DATA = SHAPES["Data"]
_BATCH = SHAPES["PutRecordsRequestEntryList"]
assert isinstance(_NAME, scalars.Text)
assert isinstance(_KEY, scalars.Text)
assert isinstance(_BATCH, scalars.Listing)
assert _NAME.pattern is not None
_matches_name = _NAME.pattern.fullmatch
assert isinstance(_DATA, scalars.Blob)
_DATA_MAX = _DATA.high or 0
_KEY_MAX, _BATCH_MAX, _NAME_MAX = _KEY.high or 0, _BATCH.high or 0, _NAME.high or 0


class Entries(list[Entry]):
    """Entries of a PutRecords as the store takes them, their shapes already checked; sizes of data and key in bytes."""

    __slots__ = ("largest", "total")
    largest: int
    total: int


def put_records(value: Any) -> dict[str, Any] | None:
    """A checked PutRecords out of JSON, with `Entries`; None for one that is not plain."""
    if type(value) is not dict or value.keys() != _BATCH_MEMBERS or not _is_name(value["StreamName"]):
        return None
    records = value["Records"]
    if type(records) is not list or not 0 < len(records) <= _BATCH_MAX:
        return None
    try:
        texts = [item["Data"] for item in records]
        keys = [item["PartitionKey"] for item in records]
        data = list(map(a2b_base64, texts))
        joined = "".join(keys)
    except (KeyError, TypeError, AttributeError, Base64Error, ValueError):
        return None
    sizes, key_sizes = list(map(len, data)), list(map(len, keys))
    if not joined.isascii() or not min(key_sizes) or max(key_sizes) > _KEY_MAX or max(sizes) > _DATA_MAX:
        return None
    # Each is as long as the text made of its bytes, or longer by what is no base64 and was skipped.
    if set(map(len, records)) != {len(_ENTRY_MEMBERS)} or sum(map(len, texts)) != sum(map(_text_size, sizes)):
        return None
    entries = Entries(zip(data, keys, repeat(None)))
    entries.total, entries.largest = sum(sizes) + len(joined), max(map(add, sizes, key_sizes))
    return {"StreamName": value["StreamName"], "Records": entries}


def put_record(value: Any) -> dict[str, Any] | None:
    """A checked PutRecord out of JSON; None for one that is not plain."""
    if type(value) is not dict or value.keys() != _RECORD_MEMBERS or not _is_name(value["StreamName"]):
        return None
    text, key = value["Data"], value["PartitionKey"]
    if type(text) is not str or type(key) is not str or not 0 < len(key) <= _KEY_MAX or not key.isascii():
        return None
    try:
        data = a2b_base64(text)
    except (Base64Error, ValueError):
        return None
    if len(data) > _DATA_MAX or len(text) != _text_size(len(data)):
        return None
    return {"StreamName": value["StreamName"], "Data": data, "PartitionKey": key}


def _is_name(name: Any) -> bool:
    return type(name) is str and len(name) <= _NAME_MAX and _matches_name(name) is not None


def _text_size(size: int) -> int:
    return (size + 2) // 3 * 4


SHORTCUTS: dict[str, Callable[[Any], dict[str, Any] | None]] = {"PutRecord": put_record, "PutRecords": put_records}
