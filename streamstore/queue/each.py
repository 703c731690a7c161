"""Settling several deliveries in one call, each with a result of its own: a receipt that is no good stops no other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from streamstore import clock
from streamstore.queue import events
from streamstore.queue.engine import Engine, Receipt
from streamstore.queue.events import FoldedDeliveries
from streamstore.queue.state import position_of, shard_of


class Refusal(NamedTuple):
    """Why a receipt was not taken: the message is `gone`, or the receipt is not of its latest delivery."""

    gone: bool
    text: str


_OVERTAKEN = Refusal(False, "The record was received again since, or became a dead-letter record.")
_RESTORED = Refusal(False, "The dead-letter record was received again since, or was restored.")
_LOST = Refusal(False, "The delivery was lost in a power cut: the record will be received again.")
_GONE = Refusal(True, "The record was acknowledged, or is past retention.")
NOBODY = 0
"""As the owner of a delivery: no process's death gives it back."""
_Judge = Callable[[FoldedDeliveries, Receipt], "Refusal | None"]
_Write = Callable[[Sequence[int]], bytes]


def acknowledge(engine: Engine, receipts: Sequence[Receipt]) -> list[Refusal | None]:
    """Done, and never delivered again; durable at return as the stream. What was acknowledged before is no refusal."""
    outcomes: list[Refusal | None] = [None] * len(receipts)
    for shard in sorted({shard_of(name) for name, _ in receipts}):
        places = [place for place, (name, _) in enumerate(receipts) if shard_of(name) == shard]
        part = [receipts[place] for place in places]

        def write(names: Sequence[int], shard: int = shard) -> bytes:
            return events.acknowledge(shard, [position_of(name) for name in names])

        for place, outcome in zip(places, _settle(engine, part, _judge_ack, write), strict=True):
            outcomes[place] = outcome
    # Also where all were acknowledged before: it may be another process that did, and not durable yet.
    engine.change(lambda state: None)
    engine.trimmer.settled(len(receipts))
    return outcomes


def extend(engine: Engine, receipts: Sequence[Receipt], visibility_us: Sequence[int]) -> list[Refusal | None]:
    """In flight for so long from now, each. Never synced."""
    outcomes: list[Refusal | None] = []
    for receipt, us in zip(receipts, visibility_us, strict=True):

        def write(names: Sequence[int], us: int = us) -> bytes:
            return engine.extension(engine.journal.state, names, clock.boot_us() + us, NOBODY)

        outcomes += _settle(engine, (receipt,), _judge_live, write)
    if not all(visibility_us):
        engine.wake()
    return outcomes


def restore(engine: Engine, receipts: Sequence[Receipt]) -> list[Refusal | None]:
    """Dead letters go back into the queue with no receives counted; durable as an acknowledgement."""

    def write(names: Sequence[int]) -> bytes:
        return events.other("restore", events.pairs(names), clock.boot_us())

    outcomes = _settle(engine, receipts, _judge_dead, write)
    engine.change(lambda state: None)
    engine.wake()
    return outcomes


def bury(engine: Engine, receipts: Sequence[Receipt]) -> list[Refusal | None]:
    """Dead letters are removed; durable as an acknowledgement. What was removed before is no refusal."""
    outcomes = _settle(engine, receipts, _judge_burial, lambda names: events.other("bury", events.pairs(names)))
    engine.change(lambda state: None)
    engine.trimmer.settled(len(receipts))
    return outcomes


def extend_dead(engine: Engine, receipts: Sequence[Receipt], visibility_us: Sequence[int]) -> list[Refusal | None]:
    """Dead letters are kept from other receivers for so long from now, each. Never synced."""
    outcomes: list[Refusal | None] = []
    for receipt, us in zip(receipts, visibility_us, strict=True):
        outcomes += _settle(engine, (receipt,), _judge_dead, _until("extend_dead", us))
    return outcomes


def advance(engine: Engine, us: int) -> None:
    """What is in flight, delayed, or a dead letter that somebody has, is due that much sooner: a test's time passes."""
    with engine.journal.lock:
        engine.state()
        engine.journal.refresh()
        state = engine.journal.state
        held = [(name, delivery.number, delivery.deadline_us) for name, delivery in state.live.items()]
        letters = [(name, letter.number, letter.deadline_us) for name, letter in state.dead.items()]
    for name, number, deadline_us in held:
        _settle(engine, ((name, number),), _judge_live, _at("extend", deadline_us - us))
    for name, number, deadline_us in letters:
        _settle(engine, ((name, number),), _judge_dead, _at("extend_dead", deadline_us - us))
    engine.wake()


def _at(event: str, deadline_us: int) -> _Write:
    return lambda names: events.other(event, events.pairs(names), deadline_us)


def _until(event: str, visibility_us: int) -> _Write:
    return lambda names: events.other(event, events.pairs(names), clock.boot_us() + visibility_us)


def _settle(engine: Engine, receipts: Sequence[Receipt], judge: _Judge, write: _Write) -> list[Refusal | None]:
    """One event for those that pass and are there; judged again where another process was faster."""
    outcomes: list[Refusal | None] = []

    def decide(state: FoldedDeliveries) -> bytes | None:
        outcomes[:] = [judge(state, receipt) for receipt in receipts]
        names = [
            name
            for (name, _), outcome in zip(receipts, outcomes, strict=True)
            if outcome is None and (name in state.live or name in state.dead)
        ]
        return write(list(dict.fromkeys(names))) if names else None

    engine.change(decide, durable=False)
    return outcomes


def _judge_live(state: FoldedDeliveries, receipt: Receipt) -> Refusal | None:
    name, number = receipt
    delivery = state.live.get(name)
    if delivery is not None:
        return None if delivery.number == number else _OVERTAKEN
    if name in state.dead:
        return _OVERTAKEN
    return _LOST if state.is_fresh(name) else _GONE


def _judge_ack(state: FoldedDeliveries, receipt: Receipt) -> Refusal | None:
    refusal = _judge_live(state, receipt)
    return None if refusal is _GONE else refusal


def _judge_dead(state: FoldedDeliveries, receipt: Receipt) -> Refusal | None:
    name, number = receipt
    letter = state.dead.get(name)
    if letter is not None:
        return None if letter.number == number else _RESTORED
    return _RESTORED if name in state.live else _GONE


def _judge_burial(state: FoldedDeliveries, receipt: Receipt) -> Refusal | None:
    refusal = _judge_dead(state, receipt)
    return None if refusal is _GONE else refusal
