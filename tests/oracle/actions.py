"""What an actor does with a store: plain values in, plain values out, so that a call here and one in another process
are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamstore
from streamstore import routing

Entry = tuple[bytes, str | None, int | None]
Told = list[tuple[int, str]]
"""For each record put: its shard's index and its sequence number."""
Row = tuple[int, str, bytes, str | None, int | None, int]
"""A record: shard index, sequence number, data, partition key, explicit hash key, arrival time."""

NAME = "s"


def _told(results: Any) -> Told:
    return [(routing.shard_index(result.shard_id), result.sequence_number) for result in results]


def rows(records: Any) -> list[Row]:
    """Records as plain values."""
    return [
        (
            routing.shard_index(record.shard_id),
            record.sequence_number,
            record.data,
            record.partition_key,
            record.explicit_hash_key,
            record.arrival_us,
        )
        for record in records
    ]


def put(store: streamstore.Store, entry: Entry, *, sync: bool) -> Told:
    """One record."""
    data, key, hash_key = entry
    return _told([store.stream(NAME).put_record(data, key, explicit_hash_key=hash_key, sync=sync)])


def put_many(store: streamstore.Store, entries: Sequence[Entry], *, sync: bool) -> Told:
    """A batch over whatever shards."""
    return _told(store.stream(NAME).put_records(entries, sync=sync))


def append(store: streamstore.Store, shard: int, entries: Sequence[Entry]) -> Told:
    """A batch to one shard, at the tail that was just looked at."""
    own = store.stream(NAME).shard(routing.shard_id(shard))
    return _told(own.append(entries, expected_tail=own.tail))


def read(store: streamstore.Store, start: Any, *, merge: bool) -> list[Row]:
    """All there is from `start` on."""
    return rows(store.stream(NAME).read(start, merge=merge, on_trimmed="skip"))


def clear(store: streamstore.Store) -> None:
    """Remove every record."""
    store.stream(NAME).clear()


def flush(store: streamstore.Store) -> None:
    """Make all durable."""
    store.flush()


def seal(store: streamstore.Store, shard: int) -> None:
    """Let a shard begin a new segment."""
    store.stream(NAME).log(shard).roll()


def keep_for(store: streamstore.Store, us: int) -> None:
    """Set the retention, down to what no caller may ask for."""
    stream = store.stream(NAME)
    store.catalog.publish("alter", stream.info, set={"retention_us": us})
    stream.horizon.forget()


def set_clock(store: streamstore.Store, wall_us: int, jump_us: int) -> None:
    """Let the wall clock stand at a time, and be so far ahead of where the boot clock lets expect it."""
    store.clock.wall = lambda: wall_us
    store.clock.jump = lambda: jump_us
    store.clock.forget()
    store.stream(NAME).horizon.forget()


def snapshot(store: streamstore.Store, target: str) -> None:
    """Copy the whole store."""
    store.snapshot(target)


_ALL = (put, put_many, append, read, clear, flush, seal, keep_for, set_clock, snapshot)
ACTIONS = {action.__name__: action for action in _ALL}
