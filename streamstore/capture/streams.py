"""A stream of another store as the source of a capture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from streamstore import clock, iterators
from streamstore.capture.source import Lag, Taken
from streamstore.native import Record
from streamstore.reader import Reader
from streamstore.stream import Stream
from streamstore.values import PutEntry

# A reader that follows is asked again so often, in seconds, so that a capture can be stopped.
WAIT = 0.3


class StreamSource:
    """The records of a stream, with their keys, hash keys, attributes and event times.

    The source of a record that has one goes on as its source's `source`. `owned` is closed with it.
    """

    def __init__(self, stream: Stream, *, start: Any = "TRIM_HORIZON", owned: Any = None) -> None:
        self.id = stream.token
        self.name = f"stream {stream.name!r} of {stream.attachment.path}"
        self._stream = stream
        self._owned = owned
        is_time = not isinstance(start, (str, Mapping))
        self._position: Any = iterators.time_us(start, "start") / 1_000_000 if is_time else start
        self._has: dict[str, set[str]] = {}
        self._parents: dict[str, tuple[str, ...]] = {}
        self._behind_ms = self._trimmed = 0

    @property
    def shard_count(self) -> int:
        """How many shards of it are open."""
        return sum(not shard.is_closed for shard in self._stream.shards())

    def hash_keys(self, shard_id: str) -> tuple[int, int]:
        """The first and the last hash key of a shard."""
        return self._stream.shard(shard_id).hash_range

    def fit(self, record_size_max: int) -> None:
        pass  # records are taken whole; the put of one that is too large is refused

    def restore(self, state: Any) -> None:
        if state is not None:
            self._position = state["position"]
        elif self._position == "LATEST":  # the same place for whoever goes on
            with self._stream.read("LATEST") as reader:
                self._position = reader.position

    def seen(self, source: Mapping[str, Any], record: Record) -> None:
        self._has.setdefault(source["shard_id"], set()).add(source["sequence_number"])

    def batches(self, *, follow: bool) -> Iterator[Sequence[Taken]]:
        while True:
            timeout = WAIT if follow else None
            with self._stream.read(self._position, follow=follow, timeout=timeout, on_trimmed="skip") as reader:
                for batch in reader.batches():
                    yield from self._batch(reader, batch)
                self._position = reader.position
                self._trimmed += reader.trimmed_count
            if not follow:
                return
            self._behind_ms = 0
            yield []

    def _batch(self, reader: Reader, records: Sequence[Record]) -> Iterator[Sequence[Taken]]:
        self._behind_ms = max(0, clock.now_us() - records[-1].arrival_us) // 1000
        fresh = [record for record in records if record.sequence_number not in self._has.get(record.shard_id, ())]
        self._position = reader.position  # behind this batch: nobody asks for the state before it is in
        for record in records if self._has else ():
            self._forget(record.shard_id, record.sequence_number)
        if fresh:
            yield [self._taken(record) for record in fresh]

    def _forget(self, shard_id: str, number: str) -> None:
        """Numbers up to this one do not come again; they have as many digits each, and compare as texts."""
        left = {each for each in self._has.pop(shard_id, ()) if each > number}
        if left:
            self._has[shard_id] = left

    def is_settled(self) -> bool:
        return not self._has

    def _taken(self, record: Record) -> Taken:
        source: dict[str, Any] = {
            "from": self.id,
            "stream": self._stream.name,
            "shard_id": record.shard_id,
            "sequence_number": record.sequence_number,
            "arrival_us": record.arrival_us,
        }
        if record.shard_id not in self._parents:
            self._parents[record.shard_id] = self._stream.shard(record.shard_id).parents
        if self._parents[record.shard_id]:
            source["parents"] = list(self._parents[record.shard_id])
        if record.attribute_block and record.source:
            source["source"] = record.source
        return Taken(record.shard_id, record.position, self._entry(record, source))

    @staticmethod
    def _entry(record: Record, source: Mapping[str, Any]) -> PutEntry:
        event_time = record.event_time if record.attribute_block else None
        attributes = record.attributes if record.attribute_block else None
        return PutEntry(
            record.data, record.partition_key, record.explicit_hash_key, attributes or None, event_time, source
        )

    def took(self, batch: Sequence[Taken]) -> None:
        pass

    def state(self) -> Any:
        shards = {shard.id: {"parents": list(shard.parents)} for shard in self._stream.shards()}
        return {"position": self._position, "shards": shards}

    def lag(self) -> Lag:
        return Lag(self._behind_ms, "ms", 1)

    def notes(self) -> dict[str, Any]:
        return {"trimmed": self._trimmed} if self._trimmed else {}

    def close(self) -> None:
        if self._owned is not None:
            self._owned.close()
