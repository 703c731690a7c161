"""An embedded store under load: a stream, or a queue. Each process opens it once; connections are threads of that."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence
from typing import Any

import streamstore
from streamstore.bench.load.subject import Read, share_of
from streamstore.errors import InvalidArgumentError
from streamstore.native import Record
from streamstore.reader import Reader
from streamstore.store import Store
from streamstore.stream import Stream

_WAIT_S = 0.2


class EmbeddedStream:
    """A stream of a store in this machine's file system."""

    def __init__(self, address: str, directory: str, name: str, durability: str | None) -> None:
        self.address = address
        self._directory, self._name, self._durability = directory, name, durability
        self._store: Store | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_store": None}

    def _open(self) -> Store:
        if self._store is None:
            self._store = streamstore.open(self._directory)
        return self._store

    def prepare(self, shards: int) -> None:
        """Make store and stream where they are missing."""
        self._open().create_stream(self._name, shard_count=shards, durability=self._durability, exist_ok=True)

    def durability(self) -> str:
        """The stream's."""
        return self._open().stream(self._name).durability

    def connect(self) -> StreamConnection:
        """The stream; it is for all threads."""
        return StreamConnection(self._open().stream(self._name))

    def close(self) -> None:
        """Close this process's store."""
        if self._store is not None:
            self._store.close()
            self._store = None


class StreamConnection:
    """Puts and reads of a stream."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def put(self, entries: Sequence[tuple[bytes, str]]) -> int:
        """One call; nothing is ever refused in part but by an exception."""
        if len(entries) == 1:
            self._stream.put_record(entries[0][0], entries[0][1])
        else:
            self._stream.put_records(entries)
        return 0

    def reading(self, share: int, shares: int, *, tip: bool, fan_out: bool) -> StreamReading:
        """Every reader of the tip sees the whole stream where they fan out, else its share of the shards."""
        shard_ids = sorted(shard.id for shard in self._stream.shards())
        mine = shard_ids if fan_out else share_of(shard_ids, share, shares, tip=tip)
        return StreamReading(self._stream, mine, "LATEST" if tip else "TRIM_HORIZON")

    def close(self) -> None:
        """Nothing of its own is open."""


class StreamReading:
    """A place in some shards: batch by batch from the beginning, or following from the tip."""

    def __init__(self, stream: Stream, shard_ids: Sequence[str], start: str) -> None:
        self._stream = stream
        self._shards = [stream.shard(shard_id) for shard_id in shard_ids]
        self._places: list[Any] = [start for _ in self._shards]
        self._turn = 0
        tips = [shard.tail for shard in self._shards]
        self._tip: Any = {**tips[0], "shards": {name: place for tip in tips for name, place in tip["shards"].items()}}
        self._reader: Reader | None = None
        self._batches: Iterator[list[Record]] = iter(())

    def read(self, limit: int) -> Read:
        """A batch of the shard whose turn it is; at its end from its beginning."""
        turn = self._turn = (self._turn + 1) % len(self._shards)
        batch = self._shards[turn].read(self._places[turn], limit=limit)
        # 0 ms behind may also be said of a record that arrived within this very millisecond.
        at_end = len(batch) < limit and batch.millis_behind_latest == 0
        self._places[turn] = "TRIM_HORIZON" if at_end else batch.next_position
        return Read([record.data for record in batch], batch.millis_behind_latest)

    def follow(self, limit: int) -> Read:
        """What comes, as soon as it does."""
        if self._reader is None:
            self._reader = self._stream.read(self._tip, follow=True, timeout=_WAIT_S)
            self._batches = self._reader.batches()
        batch = next(self._batches, None)
        if batch is None:
            self._tip, self._reader = self._reader.position, None
            return Read((), 0)
        return Read([record.data for record in batch], -1)

    def close(self) -> None:
        """End the reader."""
        if self._reader is not None:
            self._reader.close()


class EmbeddedQueue:
    """A queue of a store: a put, then a get and an acknowledgement."""

    def __init__(self, address: str, directory: str, name: str, durability: str | None) -> None:
        self.address = address
        self._directory, self._name, self._durability = directory, name, durability or "sync"
        self._queue: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_queue": None}

    def _open(self) -> Any:
        if self._queue is None:
            options: dict[str, Any] = {"durability": self._durability, "codec": "bytes"}
            self._queue = streamstore.Queue(self._directory, self._name, **options)
        return self._queue

    def prepare(self, shards: int) -> None:
        """Make store and queue where they are missing."""
        self._open()

    def durability(self) -> str:
        """As it was asked for."""
        return self._durability

    def connect(self) -> QueueConnection:
        """The queue; it is for all threads."""
        return QueueConnection(self._open())

    def close(self) -> None:
        """Close this process's store."""
        if self._queue is not None:
            self._queue.close()
            self._queue = None


class QueueConnection:
    """Puts to a queue, and workers of it."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue

    def put(self, entries: Sequence[tuple[bytes, str]]) -> int:
        """One call."""
        self._queue.put_many([data for data, _ in entries], keys=[key for _, key in entries])
        return 0

    def reading(self, share: int, shares: int, *, tip: bool, fan_out: bool) -> QueueReading:
        """A worker; each message goes to one of them."""
        if fan_out:
            raise InvalidArgumentError("a queue has no fan-out: each message goes to one worker")
        return QueueReading(self._queue)

    def close(self) -> None:
        """Nothing of its own is open."""


class QueueReading:
    """A worker that acknowledges what it gets."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue

    def read(self, limit: int) -> Read:
        """The same as following: a queue has no beginning to go back to."""
        return self.follow(limit)

    def follow(self, limit: int) -> Read:
        """Messages as they come, acknowledged at return."""
        try:
            messages = self._queue.get_many(limit, timeout=_WAIT_S)
        except queue.Empty:
            return Read((), 0)
        self._queue.ack_many(messages)
        return Read([message.body for message in messages], 0)

    def close(self) -> None:
        """Nothing of its own is open."""
