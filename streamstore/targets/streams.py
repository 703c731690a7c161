"""Targets in a store: a stream, or a queue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from streamstore.queue import Queue
from streamstore.stream import Stream
from streamstore.targets.target import Item, Target
from streamstore.values import PutEntry


class StreamTarget(Target):
    """Puts to a stream; durable at return as the stream's durability says.

    Keys, attributes and event times go with the data. A record's source goes on as it is; a record without one gets
    where it comes from: `from`, `stream`, `shard_id`, `sequence_number`, `arrival_us`. `owned` things are closed with
    the target.
    """

    def __init__(self, stream: Stream, *, origin: Stream | None = None, owned: Any = None) -> None:
        super().__init__()
        self.name = stream.name
        self._stream = stream
        self._from = None if origin is None else {"from": origin.token, "stream": origin.name}
        self._owned = owned

    def _send(self, items: Sequence[Item]) -> None:
        self._stream.put_records([self._entry(item) for item in items])

    def _entry(self, item: Item) -> PutEntry:
        return PutEntry(
            item.data,
            item.partition_key,
            item.explicit_hash_key,
            item.attributes or None,
            item.event_time,
            item.source or self._source(item),
        )

    def _source(self, item: Item) -> dict[str, Any] | None:
        if self._from is None or not hasattr(item, "arrival_us"):
            return None
        record = cast(Any, item)
        numbers = {"sequence_number": record.sequence_number, "arrival_us": record.arrival_us}
        return {**self._from, "shard_id": record.shard_id, **numbers}

    def close(self) -> None:
        if self._owned is not None:
            self._owned.close()


class QueueTarget(Target):
    """Puts the data of each item as a message under its partition key; durable at return as the queue is."""

    def __init__(self, queue: Queue, *, owned: Any = None) -> None:
        super().__init__()
        self.name = queue.name
        self._queue = queue
        self._owned = owned

    def _send(self, items: Sequence[Item]) -> None:
        if items:
            self._queue.put_many([bytes(item.data) for item in items], keys=[item.partition_key for item in items])

    def close(self) -> None:
        if self._owned is not None:
            self._owned.close()
