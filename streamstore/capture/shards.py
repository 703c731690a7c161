"""The shards of a Kinesis stream as a capture sees them: who came from whom, how far each is in, whose turn it is.

A child's turn comes when all of its parents that are captured were read to their end, so what one key was given before
a split or merge comes before what it was given after. Guarded by one lock; knows no client.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from streamstore import routing
from streamstore.limits import HASH_KEY_END


@dataclass
class Shard:
    """One shard of the source: its hash keys (both included), parents, the last number that is in, whether it ended.

    `start` is where a shard begins that nothing was taken of: the parameters of GetShardIterator.
    """

    id: str
    first_key: int = 0
    last_key: int = HASH_KEY_END - 1
    parents: tuple[str, ...] = ()
    number: str | None = None
    ended: bool = False
    start: Mapping[str, Any] = field(default_factory=lambda: {"ShardIteratorType": "TRIM_HORIZON"})
    read: str | None = None  # the last number that was fetched
    read_to_end: bool = False
    is_listed: bool = False  # the source has it still
    is_closed: bool = False  # there: nothing comes any more behind its tip
    is_at_tip: bool = False  # where a capture that does not follow stops
    behind_ms: int = 0
    has: set[str] = field(default_factory=set)  # numbers that came in behind the checkpoint

    def iterator(self) -> dict[str, Any]:
        """What to ask GetShardIterator for, to go on."""
        if self.read is not None:
            return {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": self.read}
        return dict(self.start)

    def hash_key(self, partition_key: str) -> int | None:
        """A hash key that places a record within this shard's range; None where its partition key does."""
        return None if self.first_key <= routing.hash_key(partition_key) <= self.last_key else self.first_key

    def to_map(self) -> dict[str, Any]:
        """As a checkpoint keeps it."""
        return {
            "keys": [f"{self.first_key:032x}", f"{self.last_key:032x}"],
            "parents": list(self.parents),
            "number": self.number,
            "ended": self.ended,
            "start": dict(self.start),
        }


class Shards:
    """All of them, by id."""

    def __init__(self, start: Mapping[str, Any]) -> None:
        self._lock = threading.Lock()
        self._start = dict(start)  # of shards that were there at the beginning
        self._shards: dict[str, Shard] = {}
        self._begun = False
        self._running: set[str] = set()

    def restore(self, state: Mapping[str, Any]) -> None:
        """What `to_map` gave."""
        self._begun = True
        for shard_id, kept in state.items():
            first, last = (int(key, 16) for key in kept["keys"])
            shard = Shard(shard_id, first, last, tuple(kept["parents"]), kept["number"], kept["ended"], kept["start"])
            shard.read, shard.read_to_end = shard.number, shard.ended
            self._shards[shard_id] = shard

    def seen(self, shard_id: str, number: str) -> None:
        """A record of this shard is in, that the checkpoint does not know of."""
        shard = self._shards.setdefault(shard_id, Shard(shard_id))
        shard.has.add(number)

    def note(self, listed: Iterable[Mapping[str, Any]]) -> bool:
        """What ListShards gave; True where a shard is new."""
        with self._lock:
            fresh = False
            for known in self._shards.values():
                known.is_listed = False
            for each in listed:
                shard = self._shards.get(each["ShardId"])
                if shard is None:
                    start = {"ShardIteratorType": "TRIM_HORIZON"} if self._begun else self._start
                    shard = self._shards[each["ShardId"]] = Shard(each["ShardId"], start=start)
                    fresh = True
                shard.is_listed, shard.is_closed = True, _is_closed(each)
                keys = each["HashKeyRange"]
                shard.first_key, shard.last_key = int(keys["StartingHashKey"]), int(keys["EndingHashKey"])
                parents = (each.get("ParentShardId"), each.get("AdjacentParentShardId"))
                shard.parents = tuple(parent for parent in parents if parent)
            self._begun = True
            return fresh

    def hash_keys(self, shard_id: str) -> tuple[int, int]:
        """The first and the last hash key of a shard."""
        with self._lock:
            shard = self._shards[shard_id]
            return shard.first_key, shard.last_key

    def ready(self) -> list[Shard]:
        """Shards whose turn it is and that nobody reads; they count as read from now on."""
        with self._lock:
            found = [
                shard
                for shard in self._shards.values()
                if shard.is_listed
                and not shard.read_to_end
                and shard.id not in self._running
                and all(self._is_over(parent) for parent in shard.parents)
            ]
            self._running.update(shard.id for shard in found)
            return found

    def _is_over(self, shard_id: str) -> bool:
        parent = self._shards.get(shard_id)
        return parent is None or parent.read_to_end or not parent.is_listed

    def ended(self, shard: Shard) -> None:
        """It was read to its end, all of which is on its way."""
        with self._lock:
            shard.read_to_end = True

    def took(self, shard: Shard, number: str) -> None:
        """All up to this number is in."""
        shard.number = number
        if shard.has:
            shard.has = {each for each in shard.has if int(each) > int(number)}

    @property
    def is_settled(self) -> bool:
        """Do the numbers cover all that came in behind the checkpoint? What the source has no more does not count."""
        with self._lock:
            return not any(shard.has and shard.is_listed and not shard.ended for shard in self._shards.values())

    @property
    def is_done(self) -> bool:
        """Was every shard that is known read to its end, or to its tip where that is enough?"""
        with self._lock:
            shards = [shard for shard in self._shards.values() if shard.is_listed]
            return all(shard.read_to_end or shard.is_at_tip for shard in shards)

    @property
    def childless(self) -> bool:
        """Is there a shard that has ended, and nobody who goes on with its keys?"""
        with self._lock:
            parents = {parent for shard in self._shards.values() for parent in shard.parents}
            return any(
                shard.is_listed and shard.read_to_end and shard.id not in parents for shard in self._shards.values()
            )

    def lag(self) -> tuple[int, int]:
        """(the most milliseconds that a shard is behind, how many are open)."""
        with self._lock:
            open_shards = [shard for shard in self._shards.values() if shard.is_listed and not shard.read_to_end]
        return max((shard.behind_ms for shard in open_shards), default=0), len(open_shards)

    def to_map(self) -> dict[str, Any]:
        """All that a checkpoint keeps."""
        with self._lock:
            for shard in self._shards.values():
                # What was read to its end is in by now: nothing is under way when a checkpoint is made.
                shard.ended = shard.ended or (shard.read_to_end and shard.read == shard.number)
            return {shard.id: shard.to_map() for shard in self._shards.values()}


def _is_closed(listed: Mapping[str, Any]) -> bool:
    return listed.get("SequenceNumberRange", {}).get("EndingSequenceNumber") is not None
