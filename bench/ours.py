"""streamstore in the shape in which the rows drive every engine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import streamstore
from bench import workload
from bench.engine import batches
from bench.race import Lap

Entry = tuple[bytes, str]
ARROW_RECORDS_MAX = 2_000_000


class StreamStore:
    """A store with one stream in it, with the public calls that a user makes."""

    name = "streamstore"
    version = ""
    setup = ""

    def __init__(self, directory: Path, durability: str, shard_count: int = 1) -> None:
        self.durability = durability
        self.store = streamstore.open(str(directory), durability=durability)
        self.stream = self.store.create_stream("bench", shard_count=shard_count, durability=durability)

    def prepare(self, data: Sequence[bytes]) -> list[Entry]:
        """Return the records with partition keys."""
        return workload.keyed(list(data))

    def prepare_batches(self, data: Sequence[bytes], size: int) -> list[Sequence[Entry]]:
        """Return the records with partition keys, cut into batches."""
        return batches(self.prepare(data), size)

    def put_each(self, prepared: Sequence[Entry]) -> None:
        """One put_record a record."""
        put = self.stream.put_record
        for data, key in prepared:
            put(data, partition_key=key)

    def put_batches(self, prepared: Sequence[Sequence[Entry]]) -> None:
        """One put_records a batch."""
        put = self.stream.put_records
        for batch in prepared:
            put(batch)

    def read_all(self) -> int:
        """Iterate over every Record and take its data as bytes."""
        count = 0
        with self.stream.read("TRIM_HORIZON") as reader:
            for record in reader:
                _data = record.data
                count += 1
        return count

    def read_untouched(self) -> int:
        """Iterate over every Record and look at none."""
        count = 0
        with self.stream.read("TRIM_HORIZON") as reader:
            for _record in reader:
                count += 1
        return count

    def read_arrow(self) -> int:
        """Take every record of the one shard as Arrow, sequence numbers as integers."""
        return int(self.stream.shards()[0].read_arrow("TRIM_HORIZON", limit=ARROW_RECORDS_MAX).num_rows)

    def group_totals(self) -> tuple[int, int]:
        """Return how many puts were made durable so far, and by how many syncs."""
        (shard,) = self.store.stats("bench")["streams"][0]["shards"]
        return shard["synced_puts"], shard["sync_count"]

    def close(self) -> None:
        """Close the store."""
        self.store.close()


def lap(engine: Any, what: str, data: Sequence[bytes], batch: int = 0) -> Lap:
    """Return the round in which an engine puts `data`: `what` is "put_each", or a batched put with its batch size."""
    prepare = (lambda: engine.prepare_batches(data, batch)) if batch else (lambda: engine.prepare(data))
    return named_lap(engine, len(data), getattr(engine, what), prepare)


def named_lap(engine: Any, count: int, run: Any, prepare: Any = lambda: None, durability: str | None = None) -> Lap:
    """Return a round of an engine, under its name and version."""
    return Lap(engine.name, durability or engine.durability, count, run, prepare, engine.version, engine.setup)
