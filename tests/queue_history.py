"""A history of what a queue was told and handed out, and its check: what any run of producers and workers must keep.

As `history`, for queues: a message is a number, a worker is a name, times are of one clock for all processes. Knows
nothing of a store.
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(slots=True)
class Put:
    """One message's put; `answered` is None where nobody was told that it is in."""

    invoked: int
    answered: int | None = None


@dataclass(slots=True)
class Delivery:
    """A message in the hands of a worker, who asked at `invoked` and had it at `answered`.

    `until` is the first moment at which the queue may have taken it back from a live worker.
    `count` is which delivery of this message it is, None where the worker did not look.
    """

    worker: str
    invoked: int
    answered: int
    until: int
    count: int | None = None


@dataclass
class QueueHistory:
    """What was done to a queue, as its producers and workers told it; `visibility` in nanoseconds."""

    visibility: float = float("inf")
    puts: dict[int, Put] = field(default_factory=dict)
    deliveries: dict[int, list[Delivery]] = field(default_factory=lambda: collections.defaultdict(list))
    acked: dict[int, list[int]] = field(default_factory=lambda: collections.defaultdict(list))
    killed: dict[str, int] = field(default_factory=dict)
    """When workers were killed, or a moment before: whether a death gives back what was held, or only time does."""

    def put(self, number: int, invoked: int) -> None:
        """A put begins."""
        self.puts[number] = Put(invoked)

    def put_answered(self, number: int, answered: int) -> None:
        """A producer was told that its message is in."""
        self.puts[number].answered = answered

    def delivered(self, number: int, delivery: Delivery) -> None:
        """A receive had this message in its answer."""
        self.deliveries[number].append(delivery)

    def given_back(self, worker: str, number: int, invoked: int) -> None:
        """Its holder began to give it back."""
        held = next(each for each in reversed(self.deliveries[number]) if each.worker == worker)
        held.until = min(held.until, invoked)

    def acknowledged(self, number: int, answered: int) -> None:
        """A worker was told that a message is done."""
        self.acked[number].append(answered)


def check(history: QueueHistory) -> list[str]:
    """What is wrong of a queue that was worked on to its end, each as a sentence. O(n log n)."""
    wrong = [f"{number} was put, and never delivered" for number in _undelivered(history)]
    for number, deliveries in history.deliveries.items():
        put = history.puts.get(number)
        if put is None or min(each.answered for each in deliveries) < put.invoked:
            wrong.append(f"{number} was delivered before anybody put it")
        wrong += _of_one(history, number, sorted(deliveries, key=lambda each: each.answered))
    wrong += [f"{number} was acknowledged, and never delivered" for number in history.acked.keys() - history.deliveries]
    return wrong + list(_first_in_first_out(history))


def _undelivered(history: QueueHistory) -> list[int]:
    return [n for n, put in history.puts.items() if put.answered is not None and not history.deliveries.get(n)]


def _of_one(history: QueueHistory, number: int, deliveries: list[Delivery]) -> Iterator[str]:
    """A message is held by one worker at a time, each time under the next count, and not again once it is done."""
    done = min(history.acked.get(number, ()), default=None)
    for held in deliveries:
        if done is not None and held.invoked > done:
            yield f"{number} was asked for and delivered after it was acknowledged"
    for before, after in itertools.pairwise(deliveries):
        if after.answered <= min(before.until, history.killed.get(before.worker, before.until)):
            yield f"{number} was delivered to {after.worker} while {before.worker} held it"
    counts = [each.count for each in deliveries if each.count is not None]
    if any(after <= before for before, after in itertools.pairwise(counts)):
        yield f"{number} was delivered under the counts {counts}"


def _first_in_first_out(history: QueueHistory) -> Iterator[str]:
    """A message put after another's put was answered is not in a worker's hands before a worker asks for that one.

    Of first deliveries only: what is given back goes to the end. One whose worker died before it told is passed over.
    """
    first = {
        number: held
        for number, deliveries in history.deliveries.items()
        for held in deliveries
        if held.count == 1 and number in history.puts
    }
    events = []
    for number in first:
        put = history.puts[number]
        events.append((put.invoked, 0, number))
        if put.answered is not None:
            events.append((put.answered, 1, number))
    last, which = -1, -1  # of the messages that are in for certain, the one that was asked for last
    for _, answered, number in sorted(events):
        if answered and first[number].invoked > last:
            last, which = first[number].invoked, number
        elif not answered and first[number].answered < last:
            yield f"{number} was put after {which} and delivered before it"
