"""The async Stream and Shard. What only moves bytes in memory runs right here; what waits for a disk runs off the
loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from streamstore import shard, stream
from streamstore.aio.offload import call
from streamstore.aio.reader import Reader
from streamstore.aio.waiter import waiter_of
from streamstore.native import PutResult, PutResults, Record
from streamstore.shard import Batch
from streamstore.values import Encryption, HashRange, Position, SequenceRange

if TYPE_CHECKING:
    import pyarrow


class Stream:
    """The async twin of a stream; `.inner` is the sync one."""

    def __init__(self, inner: stream.Stream) -> None:
        self.inner = inner
        self.name = inner.name

    def __repr__(self) -> str:
        return f"<aio {self.inner!r}>"

    @property
    def durability(self) -> str:
        """`sync`, `interval` or `process`."""
        return self.inner.durability

    async def put_record(
        self,
        data: bytes,
        partition_key: str | None = None,
        *,
        explicit_hash_key: int | None = None,
        attributes: Mapping[str, Any] | None = None,
        event_time: datetime | int | float | None = None,
        sync: bool = False,
    ) -> PutResult:
        """Store one record, as Stream.put_record does. Where the ack waits for the disk, concurrent puts share a
        sync.
        """
        options: dict[str, Any] = {
            "explicit_hash_key": explicit_hash_key,
            "attributes": attributes,
            "event_time": event_time,
            "sync": sync,
        }
        if sync or self.inner.durability == "sync":
            return await call(self.inner.put_record, data, partition_key, **options)
        return self.inner.put_record(data, partition_key, **options)

    async def put_records(self, entries: Iterable[Any], *, sync: bool = False) -> PutResults:
        """Store many records in one call, as Stream.put_records does."""
        if sync or self.inner.durability == "sync":
            return await call(self.inner.put_records, entries, sync=sync)
        return self.inner.put_records(entries, sync=sync)

    def read(
        self,
        start: Any = "TRIM_HORIZON",
        *,
        end: Any = None,
        follow: bool = False,
        timeout: float | None = None,
        merge: bool = False,
        on_trimmed: str = "raise",
        on_corruption: str = "raise",
        deaggregate: bool | str = False,
    ) -> Reader:
        """Read all shards, as Stream.read does, from positions bound now; iterate with `async for`."""
        inner = self.inner.read(
            start,
            end=end,
            follow=follow,
            timeout=timeout,
            merge=merge,
            on_trimmed=on_trimmed,
            on_corruption=on_corruption,
            deaggregate=deaggregate,
        )
        return Reader(inner, waiter_of(self.inner.attachment))

    async def last(self, n: int, *, deaggregate: bool | str = False) -> list[Record]:
        """The newest `n` records of all shards, in arrival order."""
        return await call(self.inner.last, n, deaggregate=deaggregate)

    async def clear(self) -> None:
        """Remove every record, as Stream.clear does."""
        await call(self.inner.clear)

    @property
    def encryption(self) -> Encryption:
        """Whether new records are encrypted, and under which keys, as the catalog says now."""
        return self.inner.encryption

    async def start_encryption(self, key_id: str | None = None) -> Encryption:
        """Encrypt what is written from now on, as Stream.start_encryption does."""
        return await call(self.inner.start_encryption, key_id)

    async def rotate_key(self, key_id: str | None = None) -> Encryption:
        """Go on under a new data key, as Stream.rotate_key does."""
        return await call(self.inner.rotate_key, key_id)

    async def stop_encryption(self) -> Encryption:
        """Write in plain from now on, as Stream.stop_encryption does."""
        return await call(self.inner.stop_encryption)

    async def rewrap_keys(self, key_id: str | None = None) -> Encryption:
        """Wrap all data keys anew, as Stream.rewrap_keys does."""
        return await call(self.inner.rewrap_keys, key_id)

    async def split_shard(self, shard_id: str, new_starting_hash_key: int | None = None) -> list[Shard]:
        """Split a shard, as Stream.split_shard does."""
        return [Shard(item) for item in await call(self.inner.split_shard, shard_id, new_starting_hash_key)]

    async def merge_shards(self, shard_id: str, adjacent_shard_id: str) -> Shard:
        """Merge two shards, as Stream.merge_shards does."""
        return Shard(await call(self.inner.merge_shards, shard_id, adjacent_shard_id))

    async def update_shard_count(self, count: int, progress: Callable[[int, int], None] | None = None) -> list[Shard]:
        """Make `count` equal shards, as Stream.update_shard_count does; `progress` is called in another thread."""
        return [Shard(item) for item in await call(self.inner.update_shard_count, count, progress)]

    async def shards(self) -> list[Shard]:
        """All shards, by index."""
        return [Shard(item) for item in await call(self.inner.shards)]

    async def shard(self, shard_id: str) -> Shard:
        """The shard of that id."""
        return Shard(await call(self.inner.shard, shard_id))


class Shard:
    """The async twin of a shard; `.inner` is the sync one."""

    def __init__(self, inner: shard.Shard) -> None:
        self.inner = inner
        self.id = inner.id

    def __repr__(self) -> str:
        return f"<aio {self.inner!r}>"

    @property
    def hash_range(self) -> HashRange:
        """The hash keys it owns, both ends included."""
        return self.inner.hash_range

    @property
    def parents(self) -> tuple[str, ...]:
        """The ids of the shards it came from."""
        return self.inner.parents

    @property
    def parent(self) -> str | None:
        """The id of the shard that was split, or that was named first in the merge."""
        return self.inner.parent

    @property
    def adjacent_parent(self) -> str | None:
        """The id of the other shard of the merge that made it."""
        return self.inner.adjacent_parent

    @property
    def children(self) -> tuple[str, ...]:
        """The ids of the shards that went on with its keys."""
        return self.inner.children

    @property
    def is_closed(self) -> bool:
        """Was it ended by a split or merge?"""
        return self.inner.is_closed

    @property
    def record_count(self) -> int:
        """Records that can be read."""
        return self.inner.record_count

    @property
    def sequence_range(self) -> SequenceRange:
        """The lowest number it may hold, and the highest once it is closed."""
        return self.inner.sequence_range

    @property
    def tail(self) -> Position:
        """Where the next record goes."""
        return self.inner.tail

    async def read(
        self, start: Any = None, *, after: str | None = None, at: str | None = None, limit: int = 10_000
    ) -> Batch:
        """Read up to `limit` records in order, as Shard.read does."""
        return await call(self.inner.read, start, after=after, at=at, limit=limit)

    async def get(self, sequence_number: str) -> Record:
        """The record of that number."""
        return await call(self.inner.get, sequence_number)

    async def append(self, batch: Sequence[Any], expected_tail: Position | None = None) -> list[PutResult]:
        """Append a batch to this very shard, as Shard.append does."""
        return await call(self.inner.append, batch, expected_tail)

    async def read_arrow(
        self, start: Any = None, limit: int = 100_000, *, after: str | None = None, at: str | None = None
    ) -> pyarrow.RecordBatch:
        """Up to `limit` records as one pyarrow.RecordBatch."""
        return await call(self.inner.read_arrow, start, limit, after=after, at=at)
