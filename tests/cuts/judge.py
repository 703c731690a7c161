"""Opens what a power cut left, and holds it against what was known: the invariants I1 to I16 of a store."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import Any

import streamstore
from cuts import consuming, keeping, queueing, sealing, seam
from cuts.story import Known, Wrong, known
from cuts.workload import Actor

HASH_KEYS = 1 << 128

Found = list[tuple[bytes, str, str, int]]
"""Records as they were read: data, key, shard, number."""


def judge(actor: Actor, before: list[Any], *, verify: bool = False, again: bool = False) -> int:
    """Open the image that the actor stands before and raise Wrong where a promise is broken; returns records read.

    `before` are the events before the cut. With `verify` nothing in the store may count as damage, as the cut left it
    and as it is after its recovery; with `again` it is opened once more, and must be the same.
    """
    streams, queues = known(before), queueing.known(before)
    for clock in (values["us"] for _, what, values in before if what == "clock"):
        seam.freeze(clock)  # the last one stays
    sealing.hold(actor.path, streams.values())
    if verify and any(stream.created for stream in streams.values()):  # so that there is a store
        _verify(actor)
    try:
        actor.open()
    except streamstore.StreamStoreError as error:
        raise Wrong(f"the store does not open: {error!r}") from error
    try:
        found = _all(actor, streams, queues)
        for name, records in found.items():
            _hold(streams[name], records, name)
            actor.note("settled", name=name, found=[(data, shard, number) for data, _, shard, number in records])
        for name in found:
            _go_on(actor, streams[name], name, found[name])
        _readers(actor, streams, queues, found)
    finally:
        actor.close()
    if verify:
        _verify(actor)
    if again:
        events = [*before, *actor.events]
        streams, queues = known(events), queueing.known(events)
        actor.open()
        later = _all(actor, streams, queues)
        for name, records in later.items():
            _hold(streams[name], records, name)
        _readers(actor, streams, queues, later)
        actor.close()
    sealing.hold(actor.path, known([*before, *actor.events]).values())
    return sum(map(len, found.values()))


def _readers(
    actor: Actor, streams: dict[str, Known], queues: dict[str, queueing.KnownQueue], found: dict[str, Found]
) -> None:
    """Those who remember what they had: named consumers and queues."""
    for name in found:
        if streams[name].consumed:
            try:
                consuming.judge(actor, streams[name], name)
            except streamstore.StreamStoreError as error:
                raise Wrong(f"a consumer of {name} does not go on: {error!r}") from error
    for name, queue in queues.items():
        try:
            queueing.judge(actor, queue, name)
        except streamstore.StreamStoreError as error:
            raise Wrong(f"queue {name} does not go on: {error!r}") from error


def _verify(actor: Actor) -> None:
    damage = streamstore.verify(actor.path).damage
    if damage:
        raise Wrong(f"verify calls it damage: {damage[0]}")


def _all(actor: Actor, streams: dict[str, Known], queues: dict[str, queueing.KnownQueue]) -> dict[str, Found]:
    listed = set(actor.store.list_streams()) - queues.keys()
    must = {name for name, stream in streams.items() if stream.created and not stream.may_be_gone}
    may = {name for name, stream in streams.items() if not stream.gone}
    if not must <= listed <= may:
        raise Wrong(f"streams {sorted(listed)}, of which must be {sorted(must)} and may be {sorted(may)}")
    found = {}
    for name in sorted(listed):
        stream = actor.store.stream(name)
        _tiles(stream, name)
        keeping.undo(actor, name)
        try:
            found[name] = [
                (record.data, record.partition_key or "", record.shard_id, int(record.sequence_number))
                for record in stream.read(on_trimmed="skip")
            ]
        except streamstore.StreamStoreError as error:
            raise Wrong(f"{name} does not read: {error!r}") from error
    return found


def _tiles(stream: Any, name: str) -> None:
    ranges = sorted(tuple(shard.hash_range) for shard in stream.shards() if not shard.is_closed)
    edges = [(0, -1), *ranges, (HASH_KEYS, HASH_KEYS)]
    if any(one[1] + 1 != other[0] for one, other in pairwise(edges)):
        raise Wrong(f"{name}: the open shards are {ranges}")


def _hold(stream: Known, records: Found, name: str) -> None:
    """The records of one stream against what is known of it."""
    by_shard: dict[str, list[int]] = defaultdict(list)
    seen: set[bytes] = set()
    for data, key, shard, number in records:
        one = stream.records.get(data)
        if one is None:
            raise Wrong(f"{name}: a record that nobody put: {data[:40]!r}, {len(data)} bytes, number {number}")
        if data in seen:
            raise Wrong(f"{name}: twice: {data[:40]!r}")
        if one.key != key or (one.number and (one.number, one.shard) != (number, shard)):
            raise Wrong(f"{name}: {data[:40]!r} came back as {key}, {shard}, {number}; it was {one}")
        if one.gone:
            raise Wrong(f"{name}: came back from the dead: {data[:40]!r}, {one}")
        seen.add(data)
        by_shard[shard].append(number)
    for shard, numbers in by_shard.items():
        if any(one >= other for one, other in pairwise(numbers)):
            raise Wrong(f"{name}: the order of {shard}: {numbers}")
    for data, one in stream.records.items():
        if data in seen or one.gone or not one.number:
            continue
        # What goes on purpose goes from the oldest on: what is missing behind what is there did not.
        if one.may_go and (not by_shard.get(one.shard) or one.number < by_shard[one.shard][0]):
            continue
        if one.required:
            raise Wrong(f"{name}: lost: {data[:40]!r}, {one}")
        if by_shard.get(one.shard) and one.number < by_shard[one.shard][-1]:
            raise Wrong(f"{name}: a hole: {data[:40]!r}, {one}, and {by_shard[one.shard][-1]} is there")
    for batch in stream.batches:
        there = sum(data in seen for data in batch)
        if 0 < there < len(batch) and not any(stream.records[data].may_go for data in batch):
            raise Wrong(f"{name}: {there} of a batch of {len(batch)}")


def _go_on(actor: Actor, stream: Known, name: str, records: Found) -> None:
    """Life after: a record to every open shard, under a number above all that anybody was ever told."""
    shards = actor.store.stream(name).shards()
    parents = {shard.id: shard.parents for shard in shards}
    there = {shard for _, _, shard, _ in records}
    for data, one in stream.records.items():  # a parent's records never go while its children's stay
        children = [shard for shard in there if one.shard in parents[shard]]
        if one.number and children and not (one.may_go or one.gone) and data not in {each[0] for each in records}:
            raise Wrong(f"{name}: {children[0]} has records, and of its parent is lost {data[:40]!r}, {one}")
    for shard in shards:
        if shard.is_closed:
            continue
        actor.made += 1
        if stream.drops:
            actor.limited.add(name)
        data = b"%d/after, and as long as it takes to know it in a file" % actor.made
        (_, at, number) = actor.put(name, [(data, "after", shard.hash_range[0])])[0]
        if at != shard.id:
            raise Wrong(f"{name}: a record for {shard.id} went to {at}")
        if number <= max(stream.highest.get(one, 0) for one in (shard.id, *parents[shard.id])):
            raise Wrong(f"{name}: {number} in {shard.id}, after {stream.highest}")
        kept = actor.store.stream(name).kept_bytes()
        if 0 < stream.max_bytes < kept:
            raise Wrong(f"{name}: keeps {kept:,} bytes, and may keep {stream.max_bytes:,}")
