"""What an actor does with a store: plain values in, plain values out, so that a call here and one in another process
are the same.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import streamstore
from streamstore import grants, native, routing
from streamstore.compaction import Compactor
from streamstore.errors import InvalidArgumentError, PartialPutError, StreamFullError

Entry = tuple[bytes, str | None, int | None]
Told = list[tuple[int, str]]
"""For each record put: its shard's index and its sequence number."""
Row = tuple[int, str, bytes, str | None, int | None, int]
"""A record: shard index, sequence number, data, partition key, explicit hash key, arrival time."""

NAME = "s"


def open_store(path: str, ring: str | None = None, *, create: bool = False) -> streamstore.Store:
    """The store, with the key ring that lies beside it; nobody works in the background."""
    return streamstore.open(path, create=create, maintenance=False, key_ring=ring or ring_of(path))


def ring_of(path: str) -> str:
    """The key file of the store in that directory."""
    return path + ".key"


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


def put_what_fits(store: streamstore.Store, entries: Sequence[Entry]) -> list[tuple[int, str] | None]:
    """A batch over whatever shards of a stream that may be full: None for what was refused for that."""
    try:
        return list(put_many(store, entries, sync=False))
    except StreamFullError:
        return [None] * len(entries)
    except PartialPutError as error:
        if strange := [item for item in error.results if isinstance(item, Exception) and not _is_full(item)]:
            raise strange[0] from None
        return [None if _is_full(item) else _told([item])[0] for item in error.results]


def _is_full(outcome: Any) -> bool:
    return isinstance(outcome, StreamFullError)


def append(store: streamstore.Store, shard: int, entries: Sequence[Entry]) -> Told:
    """A batch to one shard, at the tail that was just looked at."""
    own = store.stream(NAME).shard(routing.shard_id(shard))
    return _told(own.append(entries, expected_tail=own.tail))


def read(store: streamstore.Store, start: Any, *, merge: bool) -> list[Row]:
    """All there is from `start` on."""
    return rows(store.stream(NAME).read(start, merge=merge, on_trimmed="skip"))


def read_columns(store: streamstore.Store, shard: int, limit: int) -> list[Row]:
    """All there is of a shard, through Arrow; it tells no explicit hash keys."""
    own, found, position = store.stream(NAME).shard(routing.shard_id(shard)), [], None
    while True:
        batch = own.read_arrow(position, limit)
        if not batch.num_rows:
            return found
        for row in batch.to_pylist():
            number = native.sequence_number(row["epoch"], row["position"], row["shard"])
            us = round(row["arrival"].timestamp() * 1_000_000)
            found.append((row["shard"], number, row["data"], row["partition_key"], None, us))
        position = json.loads(batch.schema.metadata[b"next_position"])


def is_sealed(store: streamstore.Store, shard: int, number: str) -> bool:
    """Whether a record stands encrypted in its segment."""
    log = store.stream(NAME).log(shard)
    epoch, position, _ = native.parse_sequence_number(number)
    record = native.Log.find(log, position, epoch)  # retention may hide it at once
    assert record is not None
    return bool(record.seal_offset)


def encrypt(store: streamstore.Store, how: str) -> tuple[bool, int]:
    """Start, stop, rotate or rewrap; returns whether what comes is encrypted, and how many data keys there are."""
    stream = store.stream(NAME)
    change = {
        "start": stream.start_encryption,
        "stop": stream.stop_encryption,
        "rotate": stream.rotate_key,
        "rewrap": stream.rewrap_keys,
    }
    return encryption(change[how]())


def encryption(facts: Any) -> tuple[bool, int]:
    """What a stream says of its encryption."""
    return facts.enabled, len(facts.keys)


def keep_at_most(store: streamstore.Store, size: int, on_full: str) -> None:
    """Set max_bytes (0: none), down to what no caller may ask for."""
    stream = store.stream(NAME)
    store.catalog.publish("alter", stream.info, set={"max_bytes": size, "on_full": on_full})
    grants.renew(stream)


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


def facts(stream: streamstore.Stream) -> list[tuple[int, int, int, tuple[int, ...], bool]]:
    """Of each shard: index, first and last hash key, parents, closed."""
    return [
        (
            shard.index,
            *shard.hash_range,
            tuple(routing.shard_index(parent) for parent in shard.parents),
            shard.is_closed,
        )
        for shard in stream.shards()
    ]


def split(store: streamstore.Store, shard: int, key: int) -> None:
    """Split a shard."""
    store.stream(NAME).split_shard(routing.shard_id(shard), key)


def merge(store: streamstore.Store, shard: int, other: int) -> None:
    """Merge two shards."""
    store.stream(NAME).merge_shards(routing.shard_id(shard), routing.shard_id(other))


def update(store: streamstore.Store, count: int) -> None:
    """Make so many equal shards."""
    store.stream(NAME).update_shard_count(count)


def compact(store: streamstore.Store, shard: int) -> int:
    """Compact all that is sealed of a shard; returns how many segments were."""
    stream = store.stream(NAME)
    log = stream.log(shard)
    done = Compactor(rate=0).compact(log, now_us=1 << 60, after_us=0, size_max=1 << 20, sealer=stream.sealer(log))
    if done.left_alone:
        raise AssertionError(done.left_alone)
    return done.segments


def compact_all(store: streamstore.Store) -> None:
    """Compact all shards, slowly enough to be killed on the way."""
    stream = store.stream(NAME)
    for shard in stream.shards():
        compact(store, shard.index)


def maintain(store: streamstore.Store) -> None:
    """One round of maintenance."""
    problems = store.maintain().problems
    if problems:
        raise AssertionError(problems)


def reshard(store: streamstore.Store, seed: int) -> None:
    """Split or merge whatever is there; nothing where a step that somebody died over came first and ended it."""
    chance = random.Random(seed)
    stream = store.stream(NAME)
    able = sorted((shard for shard in stream.shards() if not shard.is_closed), key=lambda shard: shard.hash_range)
    place = chance.randrange(len(able))
    low, high = able[place].hash_range
    with suppress(InvalidArgumentError):
        if chance.random() < 0.2:
            stream.update_shard_count(chance.randint(1, 6))
        elif place + 1 < len(able) and chance.random() < 0.6:
            stream.merge_shards(able[place].id, able[place + 1].id)
        elif low < high:
            stream.split_shard(able[place].id, chance.randint(low + 1, high))


_ALL = (
    maintain,
    compact,
    compact_all,
    split,
    merge,
    update,
    reshard,
    put,
    put_many,
    put_what_fits,
    append,
    read,
    read_columns,
    is_sealed,
    encrypt,
    keep_at_most,
    clear,
    flush,
    seal,
    keep_for,
    set_clock,
    snapshot,
)
ACTIONS = {action.__name__: action for action in _ALL}
