"""What is done to a store before its power is cut: a few short stories to the end of which everything is tried, and
random ones."""

from __future__ import annotations

import functools
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamstore
from cuts.seam import Trace, Untraced
from cuts.story import Event
from streamstore import limits
from streamstore.compaction import Compactor

CATALOG_ROLL_SIZE = 4096  # a few dozen events: the catalog is snapshotted often
SEGMENT_SIZE = 128 * 1024
SIZES = (0, 1, 20, 100, 100, 400, 500, 2000, 9000)
LARGE = (20_000, 60_000)  # two fill a segment
KEYS = [f"key-{number}" for number in range(8)]


class Actor:
    """Does things to a store and writes down when they began and when they were acknowledged."""

    def __init__(self, path: Path, trace: Trace | Untraced, seed: int, first: int = 0) -> None:
        limits.CATALOG_ROLL_SIZE = CATALOG_ROLL_SIZE
        self.path, self.trace, self.chance, self.made = path, trace, random.Random(seed), first
        self.events: list[Event] = []
        self.lock = threading.Lock()

    def open(self) -> None:
        """The store, with nobody at work in the background."""
        self.store = streamstore.open(self.path, maintenance=False)

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

    def delete(self, name: str) -> None:
        self.note("delete began", name=name)
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

    def put(self, name: str, entries: list[tuple[bytes, str, int | None]], sync: bool = False) -> None:
        """One record by itself, or many at once."""
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


def short(durability: str) -> dict[str, Callable[[Actor], None]]:
    """The short stories, by name; a stream of that durability is there in each."""

    def several(actor: Actor, steps: list[Callable[[Actor], Any]]) -> None:
        actor.create("s", durability, 1)
        for step in steps:
            step(actor)

    def one(actor: Actor) -> None:
        actor.some("s")

    def batch(actor: Actor) -> None:
        actor.some("s", 7)

    def large(actor: Actor) -> None:
        actor.some("s", 2, large=True)

    steps: dict[str, Callable[[Actor], Any]] = {
        "put": one,
        "batch": batch,
        "roll": large,
        "seal": lambda actor: actor.seal("s"),
        "flush": Actor.flush,
        "reopen": Actor.reopen,
        "split": lambda actor: actor.split("s"),
        "clear": lambda actor: actor.clear("s", list(actor.events)),
        "compact": lambda actor: actor.compact("s"),
    }
    stories: dict[str, Callable[[Actor], None]] = {}
    for names in (
        "put put put",
        "put batch flush put",
        "batch reopen put",
        "put roll roll put",
        "put seal put compact",
        "batch seal batch seal compact put",
        "put split put",
        "roll split batch compact",
        "put clear put",
        "batch seal put clear batch",
    ):
        stories[names] = functools.partial(several, steps=[steps[name] for name in names.split()])
    return stories


def long(actor: Actor, count: int) -> None:
    """So many random things, over streams that come and go."""
    chance, alive, made = actor.chance, [], 0
    for _ in range(count):
        if not alive or (len(alive) < 3 and chance.random() < 0.04):
            made += 1
            alive.append(f"s{made}")
            actor.create(alive[-1], chance.choice(("sync", "interval", "process")), chance.choice((1, 1, 2, 3)))
            continue
        name, what = chance.choice(alive), chance.random()
        if what < 0.6:
            actor.some(name, chance.choice((1, 1, 1, 3, 12)), one_key=chance.random() < 0.5,
                       large=chance.random() < 0.1, sync=chance.random() < 0.1)  # fmt: skip
        elif what < 0.66:
            actor.flush()
        elif what < 0.72:
            actor.seal(name)
        elif what < 0.78:
            actor.compact(name)
        elif what < 0.84:
            actor.split(name) if len(actor.open_shards(name)) < 4 else actor.merge(name)
        elif what < 0.88:
            actor.merge(name)
        elif what < 0.91:
            actor.clear(name, list(actor.events))
        elif what < 0.96:
            actor.reopen()
        elif len(alive) > 1:
            alive.remove(name)
            actor.delete(name)


def together(actor: Actor, threads: int, count: int) -> None:
    """Several threads put to one stream at once: group commits, of which a cut may hit any part."""
    actor.create("s", "sync", 1)
    failed: list[BaseException] = []

    def write() -> None:
        try:
            for _ in range(count):
                actor.some("s", 1)
        except BaseException as error:
            failed.append(error)

    writers = [threading.Thread(target=write) for _ in range(threads)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    if failed:
        raise failed[0]
