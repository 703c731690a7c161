"""Targets in a store: a stream, or a queue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from streamstore.queue import Queue
from streamstore.stream import Stream
from streamstore.targets.target import Item, Target
from streamstore.values import PutEntry


def source_of(item: Item, origin: Stream | None) -> Mapping[str, Any] | None:
    """What the source of a copy says: that of the original where it has one, else where in `origin` that stands."""
    if item.source or origin is None or not hasattr(item, "arrival_us"):
        return item.source or None
    record = cast(Any, item)
    return {
        "from": origin.token,
        "stream": origin.name,
        "shard_id": record.shard_id,
        "sequence_number": record.sequence_number,
        "arrival_us": record.arrival_us,
    }


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
        self._origin = origin
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
            source_of(item, self._origin),
        )

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
