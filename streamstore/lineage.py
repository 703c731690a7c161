"""The shards of one stream, whom each came from and who went on with its keys, as one immutable value.

A stream that was never resharded is its number of equal shards and nothing else, however many they are; only shards
that a split or merge made or ended are kept one by one. Pure: knows no catalog and no log.

Invariants, held by `check_step` before a step is published: the ranges of the open shards tile [0, 2**128); a closed
shard has children, whose ranges together cover its own; indexes are given once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

from streamstore import routing
from streamstore.errors import InvalidArgumentError
from streamstore.limits import HASH_KEY_END
from streamstore.values import HashRange


class Closed(NamedTuple):
    """What is for ever true of a closed shard's log: its end behind the close frame, the last epoch, how many
    records it ever held, when the newest arrived, where the close frame stands (0: not known).
    """

    end: int
    epoch: int
    records: int
    arrival_us: int
    frame: int = 0

    def is_read(self, position: int) -> bool:
        """Has who reached this position seen every record?"""
        return not self.records or position >= (self.frame or self.end)


@dataclass(frozen=True, order=True)
class Child:
    """A shard that a step makes."""

    index: int
    start: int
    end: int  # included


class Step(NamedTuple):
    """One split or merge: open shards that end, and the shards that go on with their keys."""

    parents: tuple[int, ...]
    children: tuple[Child, ...]

    def to_map(self) -> dict[str, Any]:
        """As events and close frames say it; hash keys are 16 bytes, big-endian."""
        children = [
            {"index": child.index, "start": key_bytes(child.start), "end": key_bytes(child.end)}
            for child in self.children
        ]
        return {"parents": list(self.parents), "children": children}

    @classmethod
    def from_map(cls, source: Mapping[str, Any]) -> Step:
        children = (Child(item["index"], key_of(item["start"]), key_of(item["end"])) for item in source["children"])
        return cls(tuple(source["parents"]), tuple(children))


@dataclass(frozen=True)
class Node:
    """One shard: the hash keys it owns, its family by index, the floors of its log, how it ended.

    An expired one is a tombstone: gone from listings, kept so that a position that names it finds its descendants.
    """

    index: int
    hash_range: HashRange
    parents: tuple[int, ...] = ()
    children: tuple[int, ...] = ()
    epoch_floor: int = 0
    arrival_floor_us: int = 0
    closed: Closed | None = None
    expired: bool = False

    def to_map(self) -> dict[str, Any]:
        """The map that `from_map` takes back."""
        return {
            "index": self.index,
            "start": key_bytes(self.hash_range.start),
            "end": key_bytes(self.hash_range.end),
            "parents": list(self.parents),
            "children": list(self.children),
            "epoch_floor": self.epoch_floor,
            "arrival_floor_us": self.arrival_floor_us,
            "closed": None if self.closed is None else self.closed._asdict(),
            "expired": self.expired,
        }

    @classmethod
    def from_map(cls, source: Mapping[str, Any]) -> Node:
        closed = source["closed"]
        return cls(
            source["index"],
            HashRange(key_of(source["start"]), key_of(source["end"])),
            tuple(source["parents"]),
            tuple(source["children"]),
            source["epoch_floor"],
            source["arrival_floor_us"],
            None if closed is None else closed_from(closed),
            source["expired"],
        )


def key_bytes(key: int) -> bytes:
    """A hash key as the catalog and segment headers hold it."""
    return key.to_bytes(16, "big")


def key_of(data: bytes) -> int:
    return int.from_bytes(data, "big")


def closed_from(source: Mapping[str, int]) -> Closed:
    return Closed(source["end"], source["epoch"], source["records"], source["arrival_us"], source.get("frame", 0))


@dataclass(frozen=True)
class Lineage:
    """All shards that a stream ever had. `changed` holds those that are not one of the first, open and equal ones."""

    uniform: int
    changed: Mapping[int, Node]

    @cached_property
    def next_index(self) -> int:
        """The index of the next shard made: one more than the highest ever given."""
        return max((self.uniform - 1, *self.changed)) + 1

    def __contains__(self, index: int) -> bool:
        return 0 <= index < self.uniform or index in self.changed

    def __getitem__(self, index: int) -> Node:
        """The shard of that index, expired ones included. KeyError where there never was one."""
        found = self.changed.get(index)
        if found is not None:
            return found
        if not 0 <= index < self.uniform:
            raise KeyError(index)
        return Node(index, routing.uniform_range(self.uniform, index))

    def indexes(self) -> Sequence[int]:
        """The shards that are there, open or closed: all but the expired ones."""
        if not self.changed:
            return range(self.uniform)
        return [index for index in self._given if not self._expired(index)]

    @property
    def _given(self) -> list[int]:
        # In a store made from a copy, indexes of steps that the copy holds no trace of are left out.
        return sorted({*range(self.uniform), *self.changed})

    def _expired(self, index: int) -> bool:
        node = self.changed.get(index)
        return node is not None and node.expired

    @cached_property
    def open(self) -> Sequence[int]:
        """The open shards in the order of their hash keys."""
        if not self.changed:
            return range(self.uniform)
        indexes = [index for index in self._given if self.is_open(index)]
        return sorted(indexes, key=lambda index: self[index].hash_range.start)

    def is_open(self, index: int) -> bool:
        node = self.changed.get(index)
        return index in self if node is None else node.closed is None

    @cached_property
    def open_ranges(self) -> Sequence[HashRange]:
        """The ranges of `open`, in the same order: they tile [0, 2**128)."""
        if not self.changed:
            return routing.uniform_ranges(self.uniform)
        return [self[index].hash_range for index in self.open]

    def route(self, key: int) -> int:
        """The open shard that owns the hash key."""
        return self.open[routing.route(self.open_ranges, key)]

    def roots(self) -> Sequence[int]:
        """The oldest shards still there: those without a parent that is."""
        if not self.changed:
            return range(self.uniform)
        return [index for index in self.indexes() if not self.living_parents(index)]

    def living_parents(self, index: int) -> list[int]:
        """The parents that have not expired."""
        return [parent for parent in self[index].parents if not self._expired(parent)]

    def descendants(self, index: int) -> Iterator[int]:
        """All that came from a shard, each once, parents before children; not the shard itself."""
        # A child has a greater index than its parents, so the order of indexes is one of descent.
        seen: set[int] = set(self[index].children)
        waiting = sorted(seen)
        while waiting:
            yield (first := waiting.pop(0))
            waiting = sorted({*waiting, *(child for child in self[first].children if child not in seen)})
            seen.update(waiting)

    def nearest_living(self, index: int) -> list[int]:
        """The shard itself unless it expired, else its nearest descendants that have not."""
        found, waiting = set(), {index}
        while waiting:
            at = waiting.pop()
            if self._expired(at):
                waiting.update(self[at].children)
            else:
                found.add(at)
        return sorted(found)

    def close(self, step: Step, closed: Mapping[int, Closed]) -> Lineage:
        """The lineage after a step; the same one where its children are there already."""
        if all(child.index in self for child in step.children):
            return self
        changed = dict(self.changed)
        parents = [self[index] for index in step.parents]
        for parent in parents:
            heirs = tuple(child.index for child in step.children)
            changed[parent.index] = replace(parent, closed=closed[parent.index], children=heirs)
        # Numbers and times of the children go on above those of every parent.
        epoch = max(max(closed[parent.index].epoch, parent.epoch_floor) for parent in parents)
        arrival_us = max(max(closed[parent.index].arrival_us, parent.arrival_floor_us) for parent in parents)
        for child in step.children:
            hash_range = HashRange(child.start, child.end)
            changed[child.index] = Node(child.index, hash_range, step.parents, (), epoch, arrival_us)
        return Lineage(self.uniform, changed)

    def expire(self, indexes: Iterable[int]) -> Lineage:
        """The lineage without these closed shards, of which tombstones stay."""
        gone = {index: replace(self[index], expired=True) for index in indexes if not self.is_open(index)}
        return Lineage(self.uniform, {**self.changed, **gone})

    # --- steps ------------------------------------------------------------------------------------------------------

    def split(self, index: int, key: int | None) -> Step:
        """The step that splits an open shard such that `key` begins the second child (None: into halves).

        Raises InvalidArgumentError.
        """
        self._check_open(index)
        start, end = self[index].hash_range
        if key is None:
            key = start + (end - start + 1) // 2
        if not start < key <= end:
            raise InvalidArgumentError(
                f"{routing.shard_id(index)} owns the hash keys {start} to {end}: the second child begins at one of "
                f"{start + 1} to {end}, not at {key}"
                if start < end
                else f"{routing.shard_id(index)} owns one hash key, {start}, and cannot be split"
            )
        first = self.next_index
        return Step((index,), (Child(first, start, key - 1), Child(first + 1, key, end)))

    def merge(self, index: int, other: int) -> Step:
        """The step that merges two open shards of adjacent ranges. Raises InvalidArgumentError."""
        self._check_open(index)
        self._check_open(other)
        low, high = sorted((self[index].hash_range, self[other].hash_range))
        if index == other or low.end + 1 != high.start:
            raise InvalidArgumentError(
                f"{routing.shard_id(index)} and {routing.shard_id(other)} are not adjacent: merge two shards of which "
                "one's last hash key is just below the other's first"
            )
        return Step((index, other), (Child(self.next_index, low.start, high.end),))

    def _check_open(self, index: int) -> None:
        if not self.is_open(index):
            raise InvalidArgumentError(
                f"{routing.shard_id(index)} is closed: split or merge the shards that came from it"
                if index in self
                else f"the stream has no shard {routing.shard_id(index)}"
            )

    def check_step(self, step: Step) -> None:
        """Raise InvalidArgumentError unless the open ranges still tile the hash-key space after the step."""
        if not step.parents or len(set(step.parents)) != len(step.parents):
            raise InvalidArgumentError(f"a step ends each of its shards once, not {list(step.parents)}")
        for index in step.parents:
            self._check_open(index)
        if any(child.index in self for child in step.children):
            raise InvalidArgumentError("a step gives its children indexes that no shard ever had")
        kept = [self[index].hash_range for index in self.open if index not in step.parents]
        check_tiles([*kept, *(HashRange(child.start, child.end) for child in step.children)])

    def boundary_step(self, key: int, wanted: bool) -> Step | None:
        """The step that makes `key` the first of a shard, or no longer the first of one; None where it is so
        already.
        """
        place = routing.route(self.open_ranges, key)
        if (self.open_ranges[place].start == key) == wanted:
            return None
        return self.split(self.open[place], key) if wanted else self.merge(self.open[place - 1], self.open[place])


def check_tiles(ranges: Iterable[HashRange]) -> None:
    """Raise InvalidArgumentError unless the ranges tile [0, 2**128): nothing missing, nothing twice."""
    expected = 0
    for start, end in sorted(ranges):
        if start != expected or end < start:
            raise InvalidArgumentError(
                f"hash keys {min(start, expected)} to {max(start, expected) - 1} belong to "
                f"{'no shard' if start > expected else 'more than one shard'}"
            )
        expected = end + 1
    if expected != HASH_KEY_END:
        raise InvalidArgumentError(f"hash keys from {expected} on belong to no shard")


def plan(ranges: Sequence[HashRange], count: int) -> list[tuple[int, bool]]:
    """What makes `count` equal ranges out of open ones in the fewest steps: (hash key, whether a shard begins there
    afterwards), one a step.

    A split adds one boundary and a merge removes one, so no way is shorter than the boundaries that differ. In the
    order of keys the number of shards stays between the two counts, give or take one, all the way.
    """
    now = {item.start for item in ranges} - {0}
    then = {item.start for item in routing.uniform_ranges(count)} - {0}
    return [(key, key in then) for key in sorted(now ^ then)]
