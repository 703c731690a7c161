"""Carrying out splits and merges of one stream, by anybody and any number of times: intent, close, commit.

    1  the step is published in the catalog (`reshard`): from now on it will happen, whoever carries it out
    2  each parent's log is closed, in the order of indexes, by a synced frame that holds the whole step
    3  the step is published as done (`resharded`) with the ends of its parents: the children are open from now on

Whoever meets a step between 1 and 3 carries it out, and never asks whether the one who decided it lives: closing a
closed log and committing what is committed change nothing. Where the catalog has no intent (it was copied, or made
anew from segments) the close frame of one parent says all that is needed. Knows logs and the catalog, no routing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import msgpack

from streamstore import lineage, native
from streamstore.catalog import Catalog
from streamstore.errors import FormatVersionError, ShardClosedError
from streamstore.events import StreamInfo
from streamstore.lineage import Closed, Lineage, Step

VERSION = 1


class Resharded(Protocol):
    """What resharding asks of the stream."""

    @property
    def catalog(self) -> Catalog: ...
    def check(self) -> StreamInfo: ...
    def log(self, index: int) -> native.Log: ...


def encode(step: Step) -> bytes:
    """The data of the close frame of each of the step's parents."""
    data: bytes = msgpack.packb({"v": VERSION, **step.to_map()})
    return data


def decode(data: bytes) -> Step:
    """The step in a close frame. FormatVersionError for one of a later version."""
    try:
        whole = msgpack.unpackb(data, strict_map_key=False)
        if whole["v"] == VERSION:
            return Step.from_map(whole)
        cause: Any = f"version {whole['v']}"
    except Exception as error:
        cause = error
    raise FormatVersionError(f"a close frame holds a step that this version cannot read ({cause})")


def decide(stream: Resharded, choose: Callable[[Lineage], Step]) -> Step:
    """Choose a step, publish it and carry it out; durable at return.

    One step of a stream stands at a time: what another began is finished first, and `choose` is asked anew. Raises
    what it raises.
    """
    while True:
        info = finish(stream)
        step = choose(info.lineage)
        info.lineage.check_step(step)
        if finish_closed(stream, step.parents):
            continue
        if stream.catalog.intend(info, step):
            carry_out(stream, step)
            return step


def finish(stream: Resharded) -> StreamInfo:
    """Carry out the step that stands, if one does; returns what the catalog then says of the stream."""
    while (info := stream.check()).pending is not None:
        carry_out(stream, info.pending)
    return info


def finish_closed(stream: Resharded, indexes: Iterable[int]) -> bool:
    """Carry out the step in the close frame of the first of these shards whose log has ended while the catalog holds
    it for open; False where there is none.
    """
    shards = stream.check().lineage
    for index in indexes:
        data = stream.log(index).close_data() if shards.is_open(index) else None
        if data is not None:
            carry_out(stream, decode(data))
            return True
    return False


def carry_out(stream: Resharded, step: Step) -> None:
    """Close the parents and commit: steps 2 and 3; durable at return. What was done already is not done again."""
    info = stream.check()
    if not all(info.lineage.is_open(index) for index in step.parents):
        return
    data = encode(step)
    # In this order everywhere, so that of two who merge neighbouring pairs one is first in all.
    for index in sorted(step.parents):
        try:
            stream.log(index).close(data)
        except ShardClosedError:
            # Done before, by us or another. The frame rules where the catalog came from a copy and decided anew.
            found = stream.log(index).close_data()
            if found is not None and found != data:
                carry_out(stream, decode(found))
                return
    stream.catalog.commit(info, step, {index: _end(stream.log(index)) for index in step.parents})


def _end(log: native.Log) -> Closed:
    state = log.held()
    # The close frame stands alone in its segment.
    return Closed(state.tail, state.epoch, state.record_count, state.last_arrival_us, state.segment_base)


def to_count(stream: Resharded, count: int, progress: Callable[[int, int], None] | None = None) -> None:
    """Make `count` equal shards of the open ones in the fewest steps; `progress(done, all)` is called after each.

    What another process reshards meanwhile stays: a boundary that is there already, or gone already, is passed over.
    """
    stream.catalog.settle()  # a step that somebody died over would come to light behind the plan, and stay
    steps = lineage.plan(finish(stream).lineage.open_ranges, count)
    for done, (key, wanted) in enumerate(steps, 1):
        while True:
            info = finish(stream)
            step = info.lineage.boundary_step(key, wanted)
            if step is None or (not finish_closed(stream, step.parents) and stream.catalog.intend(info, step)):
                break
        if step is not None:
            carry_out(stream, step)
        if progress is not None:
            progress(done, len(steps))
