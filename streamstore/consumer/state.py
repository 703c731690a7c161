"""What a named consumer remembers, as a pure state: a place for each shard, who reads it, who is there.

attach     incarnation, boot               all members of another one are dead, whatever they are called
join       member                          leave     member: its shards are free
take       member, shards                  release   member, shards
commit     member, {shard: place}, round   durable; of shards that the member holds, in the present round
reset      {shard: place}                  a new round: commits that were under way count no more
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgpack

from streamstore.errors import FormatVersionError

Member = tuple[int, int]
"""(slot << 32 | generation of the process, a number of its own)"""


class Place(NamedTuple):
    """How far a shard was consumed: position, records before it, epoch of the last of them; and how many user records
    of the aggregate at the position, whose epoch it is then.
    """

    position: int
    ordinal: int
    epoch: int
    part: int = 0


class Group:
    """The state; `fold` alone changes it."""

    def __init__(self) -> None:
        self.places: dict[int, Place] = {}
        self.holders: dict[int, Member] = {}
        self.members: list[Member] = []
        self.round = 0
        self.incarnation = 0
        self.boot = ""

    def fold(self, event: bytes) -> None:
        """Apply one event. FormatVersionError for one of a later version."""
        try:
            kind, *values = msgpack.unpackb(event, strict_map_key=False)
            _HANDLERS[kind](self, *values)
        except (KeyError, TypeError, ValueError) as cause:
            raise FormatVersionError(f"a consumer's log holds what this version cannot read ({cause!r})") from cause

    def snapshot(self) -> bytes:
        """The whole state as one event."""
        return event(
            "snapshot",
            {shard: list(place) for shard, place in self.places.items()},
            {shard: list(member) for shard, member in self.holders.items()},
            [list(member) for member in self.members],
            self.round,
            self.incarnation,
            self.boot,
        )

    def _load(
        self,
        places: Mapping[int, Any],
        holders: Mapping[int, Any],
        members: Iterable[Any],
        number: int,
        incarnation: int = 0,
        boot: str = "",
    ) -> None:
        self.places = {shard: Place(*place) for shard, place in places.items()}
        self.holders = {shard: _member(holder) for shard, holder in holders.items()}
        self.members = [_member(item) for item in members]
        self.round = number
        self.incarnation, self.boot = incarnation, boot

    def _attach(self, incarnation: int, boot: str) -> None:
        self.incarnation, self.boot = incarnation, boot
        self.members, self.holders = [], {}

    def _join(self, member: Sequence[int]) -> None:
        if _member(member) not in self.members:
            self.members.append(_member(member))

    def _leave(self, member: Sequence[int]) -> None:
        gone = _member(member)
        self.members = [item for item in self.members if item != gone]
        self.holders = {shard: holder for shard, holder in self.holders.items() if holder != gone}

    def _take(self, member: Sequence[int], shards: Iterable[int]) -> None:
        for shard in shards:
            self.holders[shard] = _member(member)

    def _release(self, member: Sequence[int], shards: Iterable[int]) -> None:
        for shard in shards:
            if self.holders.get(shard) == _member(member):
                del self.holders[shard]

    def _commit(self, member: Sequence[int], places: Mapping[int, Any], number: int) -> None:
        for shard, place in places.items():
            if number == self.round and self.holders.get(shard) == _member(member):
                self.places[shard] = Place(*place)

    def _reset(self, places: Mapping[int, Any]) -> None:
        self.places = {shard: Place(*place) for shard, place in places.items()}
        self.round += 1

    def share(self, member: Member, shards: Sequence[int]) -> int:
        """How many of the shards a member may hold at most, if all are to have as many."""
        return -(-len(shards) // max(1, len(self.members))) if member in self.members else 0


def event(kind: str, *values: Any) -> bytes:
    """One event as the log holds it."""
    encoded: bytes = msgpack.packb([kind, *values])
    return encoded


def _member(parts: Sequence[int]) -> Member:
    return (parts[0], parts[1])


_HANDLERS: dict[str, Any] = {
    "snapshot": Group._load,
    "attach": Group._attach,
    "join": Group._join,
    "leave": Group._leave,
    "take": Group._take,
    "release": Group._release,
    "commit": Group._commit,
    "reset": Group._reset,
}
