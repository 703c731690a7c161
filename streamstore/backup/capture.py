"""One log's files into a store that is being put together: sealed segments linked or copied, the last one copied up to
the durable end. Stops no writer; where a trim, a compaction or a roll changes the files meanwhile, it looks again.

What is taken is a prefix of the log from its trim horizon, and has all that was durable when the call began.
"""

from __future__ import annotations

import os
import time
from itertools import pairwise
from typing import NamedTuple

from streamstore import native
from streamstore.backup import layout
from streamstore.backup.assembly import Assembly
from streamstore.errors import ShardClosedError
from streamstore.limits import DURABILITIES, MIB
from streamstore.values import LogState, Segment

TAIL_COPY_MAX = 1 * MIB
"""A longer tail is sealed first: a link costs nothing, a copy its time and its space."""

_ATTEMPTS = 1000
_PAUSE_SECONDS = 0.002


class CapturedLog(NamedTuple):
    """What was taken of one log: where it begins and ends, the base of its last segment, its highest epoch."""

    stream_id: int
    shard: int
    durability: int
    start: int
    end: int
    last_base: int
    epoch: int
    records: int
    files: int


class Placement(NamedTuple):
    """How files are taken over: under the same store id by links where that works, or under a new one by copies."""

    assembly: Assembly
    store_id: bytes | None

    def whole(self, source: str, name: str) -> None:
        """A sealed segment: nobody writes its frames any more."""
        if self.store_id is None and self.assembly.link(source, name):
            return
        with opened(source) as handle:
            self._copy(handle, name, os.fstat(handle).st_size)

    def tail(self, source: str, name: str, base: int, end: int) -> None:
        """The last segment, up to position `end`. Never a link: the copy may be written to, and so may the source."""
        with opened(source) as handle:
            self._copy(handle, name, layout.HEADER_SIZE + end - base)

    def _copy(self, handle: int, name: str, size: int) -> None:
        header = None
        if self.store_id is not None:
            raw = os.pread(handle, layout.HEADER_SIZE, 0)
            # A damaged header stays as it is: under a check that fits it would hide its damage.
            header = layout.with_store_id(raw, self.store_id) if layout.header_state(raw) == layout.VALID else None
        self.assembly.copy(handle, name, size, header)


class opened:  # noqa: N801
    """A file open for reading."""

    def __init__(self, path: str) -> None:
        self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)

    def __enter__(self) -> int:
        return self._handle

    def __exit__(self, *ignored: object) -> None:
        os.close(self._handle)


def capture_log(log: native.Log, stream_id: int, source: str, placement: Placement) -> CapturedLog:
    """Take over a log from its directory `source`. Raises what the log raises where its stream is deleted meanwhile."""
    name = f"streams/{stream_id}/{log.shard_index}"
    for attempt in range(_ATTEMPTS):
        state = _settle(log, placement)
        live, stable = _chain(log, state)
        last_try = attempt + 1 == _ATTEMPTS
        # A hole that is still there after many looks is damage of the source, and comes along as such.
        if stable or (last_try or attempt > 20):
            placement.assembly.directory(name)
            try:
                _place(log, live, state, source, placement)
            except FileNotFoundError:
                if last_try:
                    raise
            else:
                epoch = max([state.epoch, *(segment.epoch for segment in live)])
                base = live[-1].base if live else state.durable
                records = max(state.record_count - state.start_record_count, 0)
                return CapturedLog(
                    stream_id,
                    log.shard_index,
                    state.durability,
                    state.start,
                    max(state.durable, state.start),
                    base,
                    epoch,
                    records,
                    len(live),
                )
        placement.assembly.discard(name)
        time.sleep(_PAUSE_SECONDS)
    raise AssertionError("the last try returns or raises")


def _settle(log: native.Log, placement: Placement) -> LogState:
    """Make durable what is published; seal a tail that would be long to copy. Returns the state after that."""
    if log.attachment.read_only:
        return log.held()
    log.sync()
    state = log.held()
    links = placement.store_id is None and placement.assembly.can_link
    if links and state.segment_ordinal and not state.closed and state.durable - state.segment_base > TAIL_COPY_MAX:
        try:
            log.roll()
        except ShardClosedError:
            pass  # closed between the two
        log.sync()
        state = log.held()
    return state


def _chain(log: native.Log, state: LogState) -> tuple[list[Segment], bool]:
    """The live segments that hold [start, durable), and whether they do so without a hole."""
    live = [segment for segment in log.segments() if segment.live and segment.base <= state.durable]
    if len(live) > 1:
        keep = max((at for at, segment in enumerate(live) if segment.base <= state.start), default=0)
        live = live[keep:]
    whole = all(before.end == after.base for before, after in pairwise(live))
    if live:
        whole = whole and live[0].base <= state.start and live[-1].end >= state.durable
    else:
        whole = state.start >= state.durable
    return live, whole


def _hidden(log: native.Log, source: str, before: int) -> list[int]:
    """Segments that a damaged header hides: they come along, so that the damage is known there and can be repaired."""
    found = []
    for segment in log.segments():
        if not segment.live and not segment.base and segment.ordinal < before:
            with opened(os.path.join(source, f"{segment.ordinal:012d}.seg")) as handle:
                if layout.header_state(os.pread(handle, layout.HEADER_SIZE, 0)) == layout.DAMAGED:
                    found.append(segment.ordinal)
    return found


def _place(log: native.Log, live: list[Segment], state: LogState, source: str, placement: Placement) -> None:
    name = f"streams/{os.path.basename(os.path.dirname(source))}/{log.shard_index}"
    hidden = _hidden(log, source, live[-1].ordinal) if live else []
    for ordinal in [*hidden, *(segment.ordinal for segment in live[:-1])]:
        file = f"{ordinal:012d}.seg"
        placement.whole(os.path.join(source, file), f"{name}/{file}")
    if live:
        last = live[-1]
        file = f"{last.ordinal:012d}.seg"
        if last.packed:  # nothing valid behind it: blocks are taken whole, as nobody writes them
            placement.whole(os.path.join(source, file), f"{name}/{file}")
        else:
            end = min(max(state.durable, last.base), last.end)
            placement.tail(os.path.join(source, file), f"{name}/{file}", last.base, end)


def durability_name(log: CapturedLog) -> str:
    """The stream's durability as its name."""
    return DURABILITIES[log.durability]
