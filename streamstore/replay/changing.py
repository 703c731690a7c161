"""What a replay changes of its records: the partition key, the event time. What it does not change goes as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from streamstore import clock
from streamstore.errors import InvalidArgumentError
from streamstore.native import Record
from streamstore.stream import Stream
from streamstore.targets import Item, source_of
from streamstore.values import PutEntry

KeyOf = Callable[[Record], "str | None"]
Change = Callable[[Sequence[Record]], "Sequence[Item]"]
TIMES = ("keep", "now")


def change(origin: Stream, key: KeyOf | None, times: str) -> Change | None:
    """A function from records to what is sent instead; None where nothing changes.

    With `key` the partition key is what that gives, and a hash key of the record's own does not count any more; where
    it gives None, the record keeps both. With `times` "now" the event time is the moment at which it is sent. Raises
    InvalidArgumentError.
    """
    if times not in TIMES:
        raise InvalidArgumentError(f"times is 'keep' or 'now', not {times!r}")
    if key is not None and not callable(key):
        raise InvalidArgumentError("key is a function of a record that gives a partition key")
    if key is None and times == "keep":
        return None

    def changed(records: Sequence[Record]) -> Sequence[Item]:
        now = clock.to_datetime(clock.now_us()) if times == "now" else None
        return [_changed(record, origin, key, now) for record in records]

    return changed


def _changed(record: Record, origin: Stream, key: KeyOf | None, now: Any) -> PutEntry:
    chosen = None if key is None else key(record)
    return PutEntry(
        record.data,
        record.partition_key if chosen is None else chosen,
        record.explicit_hash_key if chosen is None else None,
        record.attributes or None,
        now or record.event_time,
        source_of(record, origin),
    )
