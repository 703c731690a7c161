"""Whoever does things to a store whose power is cut, and writes down what was begun and what was acknowledged."""

from __future__ import annotations

import random
import threading
from pathlib import Path
from typing import Any

import streamstore
from cuts import seam
from cuts.seam import Trace, Untraced
from cuts.story import Event
from streamstore import limits
from streamstore.compaction import Compactor
from streamstore.queue import trim as queue_trim

CATALOG_ROLL_SIZE = 4096  # a few dozen events: the catalog is snapshotted often
JOURNAL_ROLL_SIZE = 2048  # likewise what queues and consumers know
SEGMENT_SIZE = 128 * 1024
SIZES = (0, 1, 20, 100, 100, 400, 500, 2000, 9000)
LARGE = (20_000, 60_000)  # two fill a segment
KEYS = [f"key-{number}" for number in range(8)]
RING = streamstore.CallableKeyRing(lambda key, context: key[::-1], lambda box, context: box[::-1], "reversed")


class Actor:
    """Does things to a store and writes down when they began and when they were acknowledged."""

    def __init__(self, path: Path, trace: Trace | Untraced, seed: int, first: int = 0) -> None:
        limits.CATALOG_ROLL_SIZE = CATALOG_ROLL_SIZE
        limits.JOURNAL_ROLL_SIZE = queue_trim._ROLL_SIZE = JOURNAL_ROLL_SIZE
        limits.QUEUE_SEGMENT_SIZE = SEGMENT_SIZE
        self.path, self.trace, self.chance, self.made = path, trace, random.Random(seed), first
        self.events: list[Event] = []
        self.lock = threading.Lock()
        self.is_open = False
        self.streams: list[str] = []  # that were made and not deleted
        self.limited: set[str] = set()  # of them those in which a put may drop what is oldest

    def open(self) -> None:
        """The store, with nobody at work in the background."""
        self.store = streamstore.open(self.path, maintenance=False, key_ring=RING)
        self.is_open = True
        self.store.clock.wall = seam.wall_us
        self.parts: dict[str, Any] = {}  # queues and consumers of this handle, and what they gave

    def note(self, what: str, **values: Any) -> dict[str, Any]:
        """An event, as of now."""
        with self.lock:
            self.events.append(Event(self.trace.mark(), what, values))
        return values

    def close(self) -> None:
        """A clean end: all of it is durable."""
        began = self.note("flush began")
        self.store.close()
        self.note("flushed", of=began)

    def flush(self) -> None:
        began = self.note("flush began")
        self.store.flush()
        self.note("flushed", of=began)

    def reopen(self) -> None:
        self.close()
        self.open()

    def create(self, name: str, durability: str, shards: int) -> None:
        self.note("create began", name=name, durability=durability)
        self.store.create_stream(name, shards, durability=durability, segment_size=SEGMENT_SIZE)
        self.note("created", name=name)
        self.streams.append(name)

    def delete(self, name: str) -> None:
        self.note("delete began", name=name)
        self.streams.remove(name)
        self.limited.discard(name)
        self.store.delete_stream(name)
        self.note("deleted", name=name)

    def entries(self, count: int, one_key: bool, large: bool) -> list[tuple[bytes, str, int | None]]:
        """Records unlike any other; the empty one there is but once."""
        entries = []
        key = self.chance.choice(KEYS)
        for _ in range(count):
            with self.lock:
                self.made += 1
                head = b"%d/" % self.made
            size = self.chance.choice(LARGE if large else SIZES)
            body = bytes(self.chance.choice((0, 0, 46, 255)) for _ in range(min(size, 64)))
            entries.append(((head + body * (size // 64 + 1))[: max(size, len(head))], key, None))
            key = key if one_key else self.chance.choice(KEYS)
        return entries

    def put(
        self, name: str, entries: list[tuple[bytes, str, int | None]], sync: bool = False
    ) -> list[tuple[bytes, str, int]]:
        """One record by itself, or many at once: data, shard and number of each."""
        stream = self.store.stream(name)
        one_key = len({entry[1] for entry in entries}) == 1 and all(entry[2] is None for entry in entries)
        self.note("put began", name=name, entries=entries, **{"one key": one_key})
        if len(entries) == 1:
            data, key, hash_key = entries[0]
            results = [stream.put_record(data, key, explicit_hash_key=hash_key, sync=sync)]
        else:
            results = list(stream.put_records(entries, sync=sync))
        told = [
            (entry[0], result.shard_id, int(result.sequence_number))
            for entry, result in zip(entries, results, strict=True)
        ]
        self.note("put", name=name, results=told, sync=sync)
        if name in self.limited:
            self.left(name)
        return told

    def left(self, name: str) -> None:
        """Something was dropped: what is not there any more is gone, and the rest stays."""
        found = [record.data for record in self.store.stream(name).read(on_trimmed="skip")]
        self.note("left", name=name, found=found)

    def some(self, name: str, count: int = 1, *, large: bool = False, one_key: bool = True, sync: bool = False) -> None:
        """Put so many."""
        self.put(name, self.entries(count, one_key, large), sync)

    def clear(self, name: str, events: list[Event]) -> None:
        there = [data for event in events if event.what == "put" and event.values["name"] == name
                 for data, _, _ in event.values["results"]]  # fmt: skip
        self.note("clear began", name=name)
        self.store.stream(name).clear()
        self.note("cleared", name=name, of=there)

    def open_shards(self, name: str) -> list[Any]:
        shards = [shard for shard in self.store.stream(name).shards() if not shard.is_closed]
        return sorted(shards, key=lambda shard: shard.hash_range)

    def split(self, name: str) -> None:
        shard = self.chance.choice(self.open_shards(name))
        self.store.stream(name).split_shard(shard.id)
        self.note("resharded", name=name)

    def merge(self, name: str) -> None:
        shards = self.open_shards(name)
        if len(shards) > 1:
            at = self.chance.randrange(len(shards) - 1)
            self.store.stream(name).merge_shards(shards[at].id, shards[at + 1].id)
            self.note("resharded", name=name)

    def seal(self, name: str) -> None:
        """The next record of each open shard goes to a new segment."""
        for shard in self.open_shards(name):
            self.store.stream(name).log(shard.index).roll()

    def compact(self, name: str) -> None:
        """Each shard's sealed segments become one, compressed."""
        stream = self.store.stream(name)
        for shard in stream.shards():
            Compactor(rate=0).compact(stream.log(shard.index), now_us=1 << 60, after_us=0, size_max=1 << 20)
