"""What is done to a store before its power is cut: a few short stories to the end of which everything is tried, and
random ones."""

from __future__ import annotations

import functools
import importlib.util
import threading
from collections.abc import Callable
from typing import Any

from cuts import consuming, keeping, queueing, sealing
from cuts.workload import Actor

SEALED = (
    "put encrypt put",
    "encrypt batch rotate batch",
    "encrypt batch seal plain put compact put",
    "put encrypt batch split put",
    "encrypt batch consume commit rotate put",
)
"""Of encryption, where the package for it is there."""


def _steps(durability: str) -> dict[str, Callable[[Actor], Any]]:
    """What short stories are made of, by name; "s" is a stream, "q" a queue."""

    def one(actor: Actor) -> None:
        actor.some("s")

    def batch(actor: Actor) -> None:
        actor.some("s", 7)

    def large(actor: Actor) -> None:
        actor.some("s", 2, large=True)

    return {
        "put": one,
        "batch": batch,
        "roll": large,
        "seal": lambda actor: actor.seal("s"),
        "flush": Actor.flush,
        "reopen": Actor.reopen,
        "split": lambda actor: actor.split("s"),
        "clear": lambda actor: actor.clear("s", list(actor.events)),
        "compact": lambda actor: actor.compact("s"),
        "expire": keeping.expire,
        "limit": lambda actor: keeping.limit(actor, "s"),
        "consume": lambda actor: consuming.consume(actor, "s", 3),
        "commit": lambda actor: consuming.commit(actor, "s"),
        "reset": lambda actor: consuming.reset(actor, "s"),
        "encrypt": lambda actor: sealing.start(actor, "s"),
        "rotate": lambda actor: sealing.rotate(actor, "s"),
        "plain": lambda actor: sealing.stop(actor, "s"),
        "queue": lambda actor: queueing.create(actor, "q", durability),
        "work": lambda actor: queueing.put(actor, "q", 4),
        "much": lambda actor: queueing.put(actor, "q", 2, large=True),
        "receive": lambda actor: queueing.receive(actor, "q", 2),
        "ack": lambda actor: queueing.settle(actor, "q", "ack", 1),
        "nack": lambda actor: queueing.settle(actor, "q", "nack", 1),
        "kill": lambda actor: queueing.settle(actor, "q", "kill", 1),
        "restore": lambda actor: queueing.letters(actor, "q", "restore"),
        "bury": lambda actor: queueing.letters(actor, "q", "bury"),
        "tidy": queueing.tidy,
    }


def short(durability: str) -> dict[str, Callable[[Actor], None]]:
    """The short stories, by name; a stream of that durability is there in each."""

    def several(actor: Actor, steps: list[Callable[[Actor], Any]]) -> None:
        actor.create("s", durability, 1)
        for step in steps:
            step(actor)

    steps = _steps(durability)
    stories: dict[str, Callable[[Actor], None]] = {}
    for names in (
        "put put put",
        "put batch flush put",
        "batch reopen put",
        "put roll roll put",
        "put seal put compact",
        "batch seal batch seal compact put",
        "put split put",
        "roll split batch compact",
        "put clear put",
        "batch seal put clear batch",
        "batch seal put expire put",
        "roll batch expire batch",
        "limit roll roll put",
        "roll roll limit batch",
        "batch consume commit consume put",
        "batch seal put consume commit clear batch consume commit",
        "batch consume commit split put consume commit",
        "batch consume commit reset put",
        "queue work receive ack put",
        "queue work receive nack receive ack ack",
        "queue work receive kill kill restore receive ack",
        "queue work receive kill bury work",
        "queue much receive ack ack work receive tidy receive ack",
        "queue work flush receive ack reopen receive ack",
        *(SEALED if importlib.util.find_spec("cryptography") else ()),
    ):
        stories[names] = functools.partial(several, steps=[steps[name] for name in names.split()])
    return stories


def long(actor: Actor, count: int) -> None:
    """So many random things, over streams that come and go."""
    chance, alive, made = actor.chance, [], 0
    for _ in range(count):
        if not alive or (len(alive) < 3 and chance.random() < 0.04):
            made += 1
            alive.append(f"s{made}")
            actor.create(alive[-1], chance.choice(("sync", "interval", "process")), chance.choice((1, 1, 2, 3)))
            continue
        name, what = chance.choice(alive), chance.random()
        if what < 0.6:
            actor.some(name, chance.choice((1, 1, 1, 3, 12)), one_key=chance.random() < 0.5,
                       large=chance.random() < 0.1, sync=chance.random() < 0.1)  # fmt: skip
        elif what < 0.66:
            actor.flush()
        elif what < 0.72:
            actor.seal(name)
        elif what < 0.78:
            actor.compact(name)
        elif what < 0.84:
            actor.split(name) if len(actor.open_shards(name)) < 4 else actor.merge(name)
        elif what < 0.88:
            actor.merge(name)
        elif what < 0.90:
            actor.clear(name, list(actor.events))
        elif what < 0.93:
            actor.reopen()
        elif what < 0.94 and len(alive) > 1:
            alive.remove(name)
            actor.delete(name)
        else:
            chance.choice(_others(name))(actor)


def _others(name: str) -> list[Callable[[Actor], None]]:
    """What else may happen to a stream, and to the one queue there is."""
    others: list[Callable[[Actor], None]] = [
        keeping.expire,
        lambda actor: keeping.limit(actor, name, 800_000),  # more than the largest put there is
        lambda actor: consuming.consume(actor, name, 5),
        lambda actor: consuming.commit(actor, name),
        lambda actor: consuming.reset(actor, name),
        queueing.tidy,
    ]
    if importlib.util.find_spec("cryptography"):
        others += [functools.partial(each, name=name) for each in (sealing.start, sealing.rotate, sealing.stop)]
    return others


def work(actor: Actor, count: int) -> None:
    """So many random things to a queue."""
    chance = actor.chance
    queueing.create(actor, "q", chance.choice(("sync", "interval", "process")))
    for _ in range(count):
        what = chance.random()
        if what < 0.35:
            queueing.put(actor, "q", chance.choice((1, 1, 4, 12)), large=chance.random() < 0.05)
        elif what < 0.55:
            queueing.receive(actor, "q", chance.choice((1, 1, 3, 10)))
        elif what < 0.85:
            queueing.settle(actor, "q", chance.choice(("ack", "ack", "ack", "nack", "kill")), chance.choice((1, 3)))
        elif what < 0.90:
            queueing.letters(actor, "q", chance.choice(("restore", "bury")))
        elif what < 0.93:
            queueing.tidy(actor)
        else:
            actor.flush() if chance.random() < 0.5 else actor.reopen()


def together(actor: Actor, threads: int, count: int) -> None:
    """Several threads put to one stream at once: group commits, of which a cut may hit any part."""
    actor.create("s", "sync", 1)
    failed: list[BaseException] = []

    def write() -> None:
        try:
            for _ in range(count):
                actor.some("s", 1)
        except BaseException as error:
            failed.append(error)

    writers = [threading.Thread(target=write) for _ in range(threads)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    if failed:
        raise failed[0]
