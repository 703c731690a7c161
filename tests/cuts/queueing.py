"""A queue: what was put comes until it is acknowledged, and never again; what was made a dead letter stays one."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty
from typing import Any

from cuts.story import Event, Wrong
from cuts.workload import Actor

LOST, WAITING, DEAD, DONE = "lost", "waiting", "dead", "done"
_GOES = {"ack": DONE, "kill": DEAD, "restore": WAITING, "bury": DONE}
"""What becomes of a message by what is done to it."""
VISIBILITY = 12 * 3600  # nothing comes again for the reason that the machine is slow


@dataclass
class Message:
    """One message: where it was last said to be, and everywhere that it may be after a cut."""

    key: str
    number: int = 0
    told: str = LOST
    may: set[str] = field(default_factory=lambda: {LOST, WAITING})
    begun: set[str] = field(default_factory=set)  # by what was never answered


@dataclass
class KnownQueue:
    """What must be true of one queue."""

    durability: str
    messages: dict[bytes, Message] = field(default_factory=dict)


def known(events: Iterable[Event]) -> dict[str, KnownQueue]:
    """What must be true of the queues after these events and a power cut."""
    queues: dict[str, KnownQueue] = {}
    for _, what, values in events:
        if what == "queue made":
            queues[values["name"]] = KnownQueue(values["durability"])
        elif what == "flushed":
            for queue in queues.values():
                for message in queue.messages.values():
                    message.may = {message.told} | message.begun if message.told != LOST else message.may
        elif what.startswith("queue "):
            _change(queues[values["name"]], what.removeprefix("queue "), values)
    return queues


def _change(queue: KnownQueue, what: str, values: dict[str, Any]) -> None:
    kind, _, done = what.partition(" ")
    if kind == "put" and not done:
        for data, key in values["entries"]:
            queue.messages[data] = Message(key)
    elif kind == "settled":  # what a recovery that went through did not find is nowhere else later
        for data, message in queue.messages.items():
            place = values["found"].get(data)
            message.may = {place} if place else {DONE, LOST}
            message.told, message.begun = place or DONE, set()
    else:
        for data in values["of"]:
            message = queue.messages[data]
            place = WAITING if kind == "put" else _GOES[kind]
            message.may.add(place)
            message.begun.add(place)
            if done:
                message.told = place
                message.begun.discard(place)
                message.number = values["of"][data] if kind == "put" else message.number
                if queue.durability == "sync":
                    message.may = {place} | message.begun


# --- what is done -----------------------------------------------------------------------------------------------------


def create(actor: Actor, name: str, durability: str) -> None:
    """A queue with a stream of its own. It is there or not after a cut; who opens it makes it."""
    actor.note("queue made", name=name, durability=durability)
    _queue(actor, name, durability)


def _queue(actor: Actor, name: str, durability: str | None = None) -> Any:
    if f"queue {name}" not in actor.parts:
        options: dict[str, Any] = {} if durability is None else {"durability": durability}
        options |= {"codec": "bytes", "max_receive_count": 0, "visibility": VISIBILITY}
        actor.parts[f"queue {name}"] = actor.store.queue(name, **options)
        actor.parts[f"held {name}"] = []
    return actor.parts[f"queue {name}"]


def put(actor: Actor, name: str, count: int = 1, *, large: bool = False) -> None:
    """Put so many, each or all at once."""
    entries = [(data, key) for data, key, _ in actor.entries(count, False, large)]
    actor.note("queue put", name=name, entries=entries)
    queue = _queue(actor, name)
    if count == 1:
        results = [queue.put(entries[0][0], key=entries[0][1])]
    else:
        results = queue.put_many([data for data, _ in entries], keys=[key for _, key in entries])
    numbers = {data: int(result.sequence_number) for (data, _), result in zip(entries, results, strict=True)}
    actor.note("queue put done", name=name, of=numbers)


def receive(actor: Actor, name: str, count: int) -> None:
    """Take up to so many, and hold them."""
    queue, held = _queue(actor, name), actor.parts[f"held {name}"]
    wanted = len(held) + count
    with suppress(Empty):
        while len(held) < wanted:
            held += queue.get_many(wanted - len(held), block=False)


def settle(actor: Actor, name: str, what: str, count: int) -> None:
    """Acknowledge, kill or give back so many of those that were received, oldest first; all of them by one call where
    it can be said in one.
    """
    queue, held = _queue(actor, name), actor.parts[f"held {name}"]
    chosen, held[:] = held[:count], held[count:]
    if what == "nack":
        queue.nack_many(chosen)
        return
    of = [message.data for message in chosen]
    if not of:
        return
    actor.note(f"queue {what}", name=name, of=of)
    if what == "ack":
        queue.ack_many(chosen)
    else:
        for message in chosen:
            message.dead("killed")
    actor.note(f"queue {what} done", name=name, of=of)


def letters(actor: Actor, name: str, what: str) -> None:
    """Restore or bury all dead letters."""
    queue = _queue(actor, name)
    of = [letter.data for letter in queue.dead_letters]
    actor.note(f"queue {what}", name=name, of=of)
    queue.dead_letters.restore() if what == "restore" else queue.dead_letters.purge()
    actor.note(f"queue {what} done", name=name, of=of)


def tidy(actor: Actor) -> None:
    """A round of maintenance: what is acknowledged leaves the disk, old messages are copied aside, journals rolled."""
    actor.store.maintain()


# --- what must be true ------------------------------------------------------------------------------------------------


def judge(actor: Actor, queue: KnownQueue, name: str) -> None:
    """Take all that comes, and all dead letters, and raise Wrong where that cannot be; then go on with it."""
    opened = _queue(actor, name, queue.durability)
    found = {letter.data: (DEAD, letter.key, int(letter.id)) for letter in opened.dead_letters}
    held = actor.parts[f"held {name}"]
    receive(actor, name, 10_000)
    for message in held:
        if message.data in found:
            raise Wrong(f"queue {name}: {message.data[:40]!r} came twice, or is a dead letter too")
        found[message.data] = (WAITING, message.key, int(message.id))
    _hold(queue, found, name)
    actor.note("queue settled", name=name, found={data: place for data, (place, _, _) in found.items()})
    put(actor, name, 2)
    new = actor.events[-1].values["of"]
    receive(actor, name, 10_000)
    if missing := new.keys() - {message.data for message in held}:
        raise Wrong(f"queue {name}: put after the cut, and did not come: {sorted(missing)[0][:40]!r}")
    settle(actor, name, "ack", len(held) // 2)
    settle(actor, name, "nack", len(held) // 2)


def _hold(queue: KnownQueue, found: dict[bytes, tuple[str, str | None, int]], name: str) -> None:
    for data, (place, key, number) in found.items():
        message = queue.messages.get(data)
        if message is None or (message.key, message.number or number) != (key, number):
            raise Wrong(f"queue {name}: {data[:40]!r} came as {key}, {number}; it was {message}")
        if place not in message.may:
            raise Wrong(f"queue {name}: {data[:40]!r} is {place}, and was {message}")
    newest = max((number for _, _, number in found.values()), default=0)
    for data, message in queue.messages.items():
        if data in found or DONE in message.may:
            continue
        if LOST not in message.may:
            raise Wrong(f"queue {name}: lost: {data[:40]!r}, {message}")
        if 0 < message.number < newest:
            raise Wrong(f"queue {name}: a hole: {data[:40]!r}, {message}, and {newest} is there")
