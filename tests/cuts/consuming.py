"""A named consumer of a stream: what was committed never comes again, and all else comes once."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import Any

from cuts.story import Known, Wrong
from cuts.workload import Actor

CONSUMER = "c"


def _consumer(actor: Actor, name: str) -> Any:
    if f"consumer {name}" not in actor.parts:
        actor.note("consume began", name=name)
        actor.parts[f"consumer {name}"] = actor.store.stream(name).consumer(CONSUMER)
        actor.parts[f"consumed {name}"] = []
    return actor.parts[f"consumer {name}"]


def consume(actor: Actor, name: str, count: int) -> None:
    """Take up to so many records."""
    consumer = _consumer(actor, name)
    for _ in range(count):
        record = consumer.next(timeout=0)
        if record is None:
            return
        actor.parts[f"consumed {name}"].append(record.data)


def commit(actor: Actor, name: str) -> None:
    """All that was taken is done, durably, whatever the stream is."""
    consumer = _consumer(actor, name)
    began = actor.note("commit began", name=name, of=list(actor.parts[f"consumed {name}"]))
    consumer.commit()
    actor.note("committed", name=name, of=began["of"])


def reset(actor: Actor, name: str) -> None:
    """From the beginning again."""
    consumer = _consumer(actor, name)
    actor.note("reset began", name=name)
    consumer.reset()
    actor.parts[f"consumed {name}"].clear()
    actor.note("reset", name=name)


def judge(actor: Actor, stream: Known, name: str) -> None:
    """Take all that comes and raise Wrong where a committed record does, or one that was not does not."""
    there = [(record.data, record.shard_id) for record in actor.store.stream(name).read(on_trimmed="skip")]
    consumer = _consumer(actor, name)
    came: list[tuple[bytes, str, int]] = []
    while True:
        before = len(came)
        while (record := consumer.next(timeout=0)) is not None:
            came.append((record.data, record.shard_id, int(record.sequence_number)))
        began = actor.note("commit began", name=name, of=[data for data, _, _ in came])
        consumer.commit()  # which lets the children of a shard that is done come
        actor.note("committed", name=name, of=began["of"])
        if len(came) == before:
            break
    found = {data for data, _, _ in came}
    if again := found & stream.committed:
        raise Wrong(f"{name}: committed, and came again: {sorted(again)[0][:40]!r}")
    if len(found) < len(came):
        raise Wrong(f"{name}: a consumer was given a record twice")
    if strange := found - {data for data, _ in there}:
        raise Wrong(f"{name}: a consumer was given what is not there: {sorted(strange)[0][:40]!r}")
    for data, shard in there:
        if data not in found and data not in stream.committing:
            raise Wrong(f"{name}: never committed, and a consumer is not given it: {data[:40]!r} of {shard}")
    numbers: dict[str, list[int]] = defaultdict(list)
    for _, shard, number in came:
        numbers[shard].append(number)
    if any(one >= other for shard in numbers.values() for one, other in pairwise(shard)):
        raise Wrong(f"{name}: the order in which a consumer was given records: {dict(numbers)}")
