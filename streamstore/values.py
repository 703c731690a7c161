"""Small value types that cross the public interface. They hold data; they do not look anything up."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

Position = dict[str, Any]
"""Where to read on: a plain dict that json carries, made by `reader.position`, `batch.next_position` and
`shard.tail`.
"""


class HashRange(NamedTuple):
    """The hash keys a shard owns, both ends included."""

    start: int
    end: int


class SequenceRange(NamedTuple):
    """The sequence numbers a shard holds: none is below `start`; `end` is None while the shard is open."""

    start: str
    end: str | None


class PutEntry(NamedTuple):
    """One record for put_records, with all that can be said about it. A dict with these keys serves as well."""

    data: bytes
    partition_key: str | None = None
    explicit_hash_key: int | None = None
    attributes: Mapping[str, Any] | None = None
    event_time: datetime | int | float | None = None
    source: Mapping[str, Any] | None = None


class LogState(NamedTuple):
    """The facts on one log at one moment, as the core has them: positions in bytes, times in microseconds."""

    start: int
    tail: int
    durable: int
    visible: int
    epoch: int
    record_count: int
    start_record_count: int
    last_arrival_us: int
    segment_ordinal: int
    segment_base: int
    allocated_bytes: int
    closed: int
    durability: int


class Segment(NamedTuple):
    """One segment file of a log, oldest first."""

    ordinal: int
    base: int
    end: int
    base_ordinal: int
    epoch: int
    salt: int
    file_size: int
    disk_bytes: int
    created_us: int
    sealed: int
    index_present: int
    live: int
    packed: int


class DataKey(NamedTuple):
    """A data key of a stream, as the catalog knows it: which ring wrapped it, under which master key, and when it was
    made.
    """

    key_id: int
    ring: str
    master: str
    created_us: int


class Encryption(NamedTuple):
    """Whether new records of a stream are encrypted, under which data key (0: none), and all keys it has had."""

    enabled: bool
    key_id: int
    keys: tuple[DataKey, ...]


class Appended(NamedTuple):
    """Where a batch went."""

    epoch: int
    first_position: int
    end_position: int
    arrival_us: int
    positions: tuple[int, ...]


class LogOptions(NamedTuple):
    """What a log needs to know when it is attached; sizes in bytes."""

    durability: str
    segment_size: int
    record_size_max: int
    epoch_floor: int
    start_position: int
    description: bytes
    reserve_size: int = 0
    arrival_floor_us: int = 0


class LiveSegment(NamedTuple):
    """What is known of a live segment without opening its file.

    No record before `base` arrived after `floor_arrival_us`, and none from there on before it.
    """

    ordinal: int
    base: int
    base_ordinal: int
    floor_arrival_us: int
    created_us: int
