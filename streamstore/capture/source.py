"""What a capture asks of where it captures from, and what it gets: records with the place they have there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from streamstore.native import Record
from streamstore.values import PutEntry


class Taken(NamedTuple):
    """One record of a source, on its way: the shard or file it is of, its place there, and what is put.

    Places rise within a unit; `entry.source` says both, and more.
    """

    unit: str
    place: int
    entry: PutEntry


class Lag(NamedTuple):
    """How far a capture is behind: milliseconds or bytes, as the source counts, and how many units are open."""

    amount: int
    unit: str
    open_units: int


class Source(Protocol):
    """Where a capture has its records from.

    First `fit` with how large a record may be (data and key together) and `restore` with what `state` gave last (None
    at the first time), then `seen` for every record that the stream got from this source since; then `batches`, of
    which an empty one comes at least twice a second where nothing is there. `took` says that a batch is in, `state`
    what is in by then: `is_settled` where that covers all that was seen, too. `notes` has what people should hear of;
    `shard_count` is what a stream for it may have. One with shards may have `hash_keys`, too: the first and the last
    hash key of a unit.
    """

    id: str
    name: str

    @property
    def shard_count(self) -> int: ...
    def fit(self, record_size_max: int) -> None: ...
    def restore(self, state: Any) -> None: ...
    def seen(self, source: Mapping[str, Any], record: Record) -> None: ...
    def batches(self, *, follow: bool) -> Iterator[Sequence[Taken]]: ...
    def took(self, batch: Sequence[Taken]) -> None: ...
    def is_settled(self) -> bool: ...
    def state(self) -> Any: ...
    def lag(self) -> Lag: ...
    def notes(self) -> dict[str, Any]: ...
    def close(self) -> None: ...
