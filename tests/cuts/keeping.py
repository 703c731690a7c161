"""Records that go on purpose: past retention, or the oldest of a stream that keeps no more than so many bytes."""

from __future__ import annotations

from cuts import seam
from cuts.workload import Actor
from streamstore import limits

BEYOND_US = 26 * 3_600_000_000
"""Longer than the shortest retention there is, by more than what the clocks may differ."""


def expire(actor: Actor) -> None:
    """All that is there falls out of retention, and a round of maintenance drops it."""
    for name in actor.streams:
        actor.note("clear began", name=name)
    if seam.frozen_us():
        pass_time(actor)
        report = actor.store.maintain(accept_clock=True)
    else:
        _retain(actor, 1)
        report = actor.store.maintain()
        _retain(actor, 0)
    if not report.problems:  # else what was begun may come to its end yet
        for name in actor.streams:
            actor.left(name)


def pass_time(actor: Actor) -> None:
    """The clock goes on by more than a day at once."""
    actor.note("clock", us=seam.frozen_us() + BEYOND_US)
    seam.freeze(seam.frozen_us() + BEYOND_US)


def _retain(actor: Actor, us: int) -> None:
    """Keep records for so many microseconds only; 0: as long as is set."""
    for name in actor.streams:
        stream = actor.store.stream(name)
        actor.store.catalog.publish("alter", stream.info, set={"retention_us": us})
        stream.horizon.forget()


def undo(actor: Actor, name: str) -> None:
    """A cut in the middle of `expire` leaves a stream that shows nothing: let it show what it has."""
    stream = actor.store.stream(name)
    if stream.info.retention_us:
        actor.store.catalog.publish("alter", stream.info, set={"retention_us": 0})
        stream.horizon.forget()


def limit(actor: Actor, name: str, max_bytes: int = 150_000) -> None:
    """From now on the oldest goes where a record finds no place."""
    limits.STREAM_SIZE_MIN = max_bytes  # so that a few records fill it
    actor.note("limit began", name=name)
    actor.limited.add(name)
    actor.store.stream(name).set_limit(max_bytes, "drop_oldest")
    actor.note("limited", name=name, max_bytes=max_bytes)
    actor.left(name)
