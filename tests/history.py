"""A history of what producers and consumers did and saw, and its check: what any run of a store must have kept true.

Every operation is noted when it is invoked and when it is answered: ok, failed (for certain not done), or not at all,
as when its process was killed (it may stand or not). Times are of one clock for all processes, taken by whoever
invokes before the call and after its return. Knows nothing of a store: the check gets what each shard holds at the end.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence

Name = tuple[int, int]  # producer, and which of its records


@dataclasses.dataclass(slots=True)
class Put:
    """One record's put. `answered` and `number` are None while it is not acknowledged."""

    invoked: int
    answered: int | None = None
    number: int | None = None
    shard: str = ""
    failed: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """A record where somebody found it."""

    number: int
    name: Name


class History:
    """What was done and seen; grows in any order, as the news come in."""

    def __init__(self) -> None:
        self.puts: dict[Name, Put] = {}
        self.polls: dict[tuple[object, str], list[Found]] = {}  # (consumer, shard) -> what it got, one after another

    def invoke(self, producer: int, first: int, end: int, at: int) -> None:
        """Records `first` to `end` (not included) are about to be put, in one call."""
        for n in range(first, end):
            self.puts[producer, n] = Put(at)

    def ok(self, producer: int, n: int, shard: str, number: int, at: int) -> None:
        """The call came back with this number."""
        put = self.puts[producer, n]
        put.answered, put.number, put.shard = at, number, shard

    def fail(self, producer: int, n: int) -> None:
        """The call said that nothing was done."""
        self.puts[producer, n].failed = True

    def saw(self, consumer: object, shard: str, producer: int, n: int, number: int) -> None:
        """A consumer that reads a shard without a gap got this record next."""
        self.polls.setdefault((consumer, shard), []).append(Found(number, (producer, n)))


def check(
    history: History, shards: Mapping[str, Sequence[Found]], *, kept_whole: bool = True, by_key: bool = False
) -> list[str]:
    """What is wrong, each as a sentence; `shards` is what each holds at the end, in its order.

    Without `kept_whole` old records may have been trimmed: what is below a shard's first one is not missed. `by_key`:
    each producer puts under one key, one record after another, so that its numbers rise through all splits and merges.
    O(n log n) in operations and sightings.
    """
    wrong: list[str] = []
    for shard, held in shards.items():
        wrong += _shard(history, shard, held)
    wrong += _uniqueness(history, shards)
    wrong += _acknowledged(history, shards, kept_whole)
    wrong += _real_time(history)
    wrong += _key_order(shards) if by_key else ()
    for (consumer, shard), seen in history.polls.items():
        wrong += _poll(consumer, shard, seen, shards.get(shard, ()), kept_whole)
    return wrong


def _shard(history: History, shard: str, held: Sequence[Found]) -> Iterable[str]:
    """Numbers rise, and every record was put by somebody to whom nobody said that it was not."""
    for before, after in itertools.pairwise(held):
        if after.number <= before.number:
            yield f"{shard}: {after.name} at {after.number} stands behind {before.number}"
    for found in held:
        put = history.puts.get(found.name)
        if put is None:
            yield f"{shard}: {found.name} at {found.number} was never put"
        elif put.failed:
            yield f"{shard}: {found.name} at {found.number} stands, though its put failed"


def _uniqueness(history: History, shards: Mapping[str, Sequence[Found]]) -> Iterable[str]:
    """A record stands once; a number never names two, whoever saw it and when."""
    places: dict[Name, tuple[str, int]] = {}
    for shard, held in shards.items():
        for found in held:
            other = places.setdefault(found.name, (shard, found.number))
            if other != (shard, found.number):
                yield f"{found.name} stands at {other} and at {(shard, found.number)}"
    names: dict[tuple[str, int], Name] = {}
    told = [(put.shard, Found(put.number, name)) for name, put in history.puts.items() if put.number is not None]
    told += [(shard, found) for (_, shard), seen in history.polls.items() for found in seen]
    told += [(shard, found) for shard, held in shards.items() for found in held]
    for shard, found in told:
        other_name = names.setdefault((shard, found.number), found.name)
        if other_name != found.name:
            yield f"{shard}: number {found.number} names {other_name} and {found.name}"


def _acknowledged(history: History, shards: Mapping[str, Sequence[Found]], kept_whole: bool) -> Iterable[str]:
    """What was acknowledged stands under its number."""
    standing = {(shard, found.number): found.name for shard, held in shards.items() for found in held}
    for name, put in history.puts.items():
        if put.number is None or standing.get((put.shard, put.number)) == name:
            continue
        held = shards.get(put.shard, ())
        if kept_whole or (held and put.number >= held[0].number):
            yield f"{put.shard}: {name}, acknowledged at {put.number}, is lost"


def _real_time(history: History) -> Iterable[str]:
    """A put that was invoked after another in its shard was acknowledged stands behind it."""
    events: list[tuple[int, int, Name, Put]] = []
    for name, put in history.puts.items():
        if put.number is not None and put.answered is not None:
            # Where times are equal the invocation comes first: nothing then says that one was before the other.
            events += [(put.invoked, 0, name, put), (put.answered, 1, name, put)]
    events.sort(key=lambda event: event[:2])
    newest: dict[str, int] = {}  # of what was acknowledged so far
    for _, answered, name, put in events:
        if answered:
            newest[put.shard] = max(put.number or 0, newest.get(put.shard, 0))
        elif (put.number or 0) <= newest.get(put.shard, -1):
            yield f"{put.shard}: {name} at {put.number} was put after {newest[put.shard]} was acknowledged"


def _key_order(shards: Mapping[str, Sequence[Found]]) -> Iterable[str]:
    """Of two records of a producer the later one has the greater number, whichever shards they stand in."""
    standing = sorted((found.name, found.number, shard) for shard, held in shards.items() for found in held)
    for (name, number, shard), (after, number_after, shard_after) in itertools.pairwise(standing):
        if name[0] == after[0] and number_after <= number:
            yield f"{after} at {number_after} in {shard_after} was put after {name} at {number} in {shard}"


def _poll(consumer: object, shard: str, seen: Sequence[Found], held: Sequence[Found], whole: bool) -> Iterable[str]:
    """What a consumer got one after another stands so, with nothing between; nothing that was seen is gone."""
    places = {found.number: i for i, found in enumerate(held)}
    last: int | None = None
    for found in seen:
        place = places.get(found.number)
        if place is None:
            if whole or (held and found.number >= held[0].number):
                yield f"{shard}: {found.name} at {found.number}, seen by {consumer}, is gone"
            continue
        if last is not None and place <= last:
            yield f"{shard}: {consumer} saw {found.name} at {found.number} twice, or too late"
        elif last is not None and place > last + 1:
            yield f"{shard}: {consumer} missed {place - last - 1} records before {found.name} at {found.number}"
        last = place
