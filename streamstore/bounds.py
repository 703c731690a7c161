"""Where a read of a stream begins and ends in each of its shards, bound when it is called.

A start by word or time is looked for in every shard there is. A position names some shards; the descendants of those
are read from their beginning, and what expired since is told as lost unless it had been read to its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from streamstore import iterators, native, routing
from streamstore.errors import InvalidArgumentError
from streamstore.iterators import Place, Start
from streamstore.lineage import Lineage


class Bound(NamedTuple):
    """One shard of a read: from `place` to before `end` (0: without end)."""

    shard_index: int
    log: native.Log
    place: Place
    end: int


class Bounds(NamedTuple):
    """A read of a stream: its shards by index, parents before children.

    `lost` are shards that expired with records that this read had still to see; `grows` says that shards made by later
    splits and merges belong to it; `lineage` is what it was bound under.
    """

    lineage: Lineage
    shards: list[Bound]
    lost: list[int]
    grows: bool


def bind(
    shards: Lineage, log_of: Callable[[int], native.Log], begin: Start, until: Start | None, follow: bool
) -> Bounds:
    """Find the places. Raises InvalidArgumentError for a position that names shards which are none of the stream's."""
    starts, lost = _starts(shards, begin)
    found = []
    for index, start in starts:
        end_at = None if until is None else _end_in(shards, until, index)
        if until is not None and end_at is None:
            continue  # all of it lies behind the end
        log = log_of(index)
        # The end first: what arrives between the two questions must not be in neither.
        end = 0 if end_at is None or end_at.kind == "WHOLE" else iterators.resolve(end_at, log).position
        if not follow or (end_at is not None and end_at.kind == "WHOLE"):
            visible = log.visible()
            end = min(end, visible) if end else visible
        found.append(Bound(index, log, iterators.resolve(start, log) if isinstance(start, Start) else start, end))
    return Bounds(shards, found, lost, follow and until is None)


def _starts(shards: Lineage, begin: Start) -> tuple[list[tuple[int, Start | Place]], list[int]]:
    if begin.kind == "LATEST":
        return [(index, begin) for index in sorted(shards.open)], []
    if begin.kind != "POSITION":
        return [(index, begin) for index in shards.indexes()], []
    named = {routing.shard_index(shard_id): place for shard_id, place in begin.value.items()}
    if not named or not all(index in shards for index in named):
        raise InvalidArgumentError("this position names a shard that the stream does not have")
    starts: list[tuple[int, Start | Place]] = []
    lost = []
    for index in sorted({*named, *_descendants(shards, named)}):
        node = shards[index]
        if not node.expired:
            # Under the epoch before its first: what was trimmed of it since is a loss to whoever had this position.
            begins = Place(native.FIRST_POSITION, node.epoch_floor)
            starts.append((index, Start("POSITION", named[index]) if index in named else begins))
        elif node.closed is not None and not node.closed.is_read(named[index].position if index in named else 0):
            lost.append(index)
    return starts, lost


def _descendants(shards: Lineage, indexes: Iterable[int]) -> set[int]:
    found: set[int] = set()
    waiting = [child for index in indexes for child in shards[index].children]
    while waiting:
        index = waiting.pop()
        if index not in found:
            found.add(index)
            waiting += shards[index].children
    return found


def _end_in(shards: Lineage, until: Start, index: int) -> Start | None:
    """The end in one shard: a Start, ("WHOLE",) for a shard that ends before the end, None for one that begins behind
    it.
    """
    if until.kind != "POSITION":
        return until
    if routing.shard_id(index) in until.value:
        return iterators.place_in(until, routing.shard_id(index))
    named = {routing.shard_index(shard_id) for shard_id in until.value}
    if named & _descendants(shards, [index]):
        return Start("WHOLE")
    if index in _descendants(shards, [item for item in named if item in shards]):
        return None
    return iterators.place_in(until, routing.shard_id(index))  # raises: it says nothing of this shard
