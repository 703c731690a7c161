"""A parcel: one Kinesis record to be, with the user records in it; what a target says of it; where parcels go."""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

from streamstore.producer.future import UserRecordFuture
from streamstore.values import HashRange


class Kind(enum.Enum):
    """What to do about an answer."""

    STORED = enum.auto()
    THROTTLED = enum.auto()  # not stored; again later
    AGAIN = enum.auto()  # not stored, or nobody knows: again later
    MOVED = enum.auto()  # not stored: the shard takes no more; by a new map of the shards
    REFUSED = enum.auto()  # never will be


class Answer(NamedTuple):
    """What a target says of one parcel."""

    kind: Kind
    shard_id: str = ""
    sequence_number: str = ""
    code: str = ""
    message: str = ""
    cause: BaseException | None = None


class Parcel:
    """One Kinesis record to be. `due` and `expires` (monotonic seconds) are those of its oldest user record."""

    __slots__ = ("data", "due", "expires", "explicit_hash_key", "items", "partition_key", "shard_id", "slot")

    def __init__(
        self,
        bundle: tuple[bytes, str, int | None, int, list[UserRecordFuture]],
        shard_id: str,
        due: float,
        expires: float,
    ) -> None:
        self.data, self.partition_key, self.explicit_hash_key, self.slot, self.items = bundle
        self.shard_id = shard_id
        self.due, self.expires = due, expires

    @property
    def size(self) -> int:
        """Bytes of data and key, as the service counts them."""
        return len(self.data) + len(self.partition_key.encode())


class ShardMap(NamedTuple):
    """The open shards of a stream by hash range, and what else is to be known of it before anything is put."""

    shard_ids: Sequence[str]
    ranges: Sequence[HashRange]
    record_size_max: int
    is_auto: bool  # the stream places records itself, whatever their keys
    others: Mapping[str, HashRange] = {}  # what was asked for and is closed


class Target(Protocol):
    """Where parcels go."""

    is_local: bool
    name: str

    def look(self, others: Collection[str] = ()) -> ShardMap:
        """The shards as they are now, and these closed ones. Raises what the store or the client raises."""

    def put(self, parcels: Sequence[Parcel]) -> list[Answer]:
        """An answer for each parcel. Raises nothing that has to do with one of them, or with the way there."""

    def close(self) -> None:
        """Let go of what it made itself."""
