"""The dry run of a replay: what would be sent, and how long that takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from streamstore.native import Record
from streamstore.replay.feed import Feed
from streamstore.replay.pacing import checked_speed


class Plan(NamedTuple):
    """What a replay would send: records, bytes of data, the times of the first and the last one (None where there is
    none), how many have no time of their own, how long it takes in seconds (0 flat out), and the most records that are
    due within one second of it.
    """

    records: int
    bytes: int
    first_us: int | None
    last_us: int | None
    untimed: int
    duration: float
    peak_rate: int


def plan(
    feed: Feed,
    select: Callable[[Sequence[Record]], list[Record]] | None,
    has_time: Callable[[Record], bool],
    speed: float,
    rate: float | None,
) -> Plan:
    """Read all that a feed gives, send nothing, and add it up."""
    checked_speed(speed)
    count = size = untimed = peak = in_second = 0
    second = -1
    first = last = None
    for timed in feed.batches():
        records, times = timed.records, timed.times
        kept = set(map(id, select(records))) if select is not None else None
        for record, moment in zip(records, times, strict=True):
            if kept is not None and id(record) not in kept:
                continue
            count += 1
            size += record.size
            untimed += not has_time(record)
            if moment:
                first = moment if first is None else first
                last = moment
            now = _second(moment - (first or 0), count, speed, rate)
            in_second = in_second + 1 if now == second else 1
            second, peak = now, max(peak, in_second)
    return Plan(count, size, first, last, untimed, _duration(count, (last or 0) - (first or 0), speed, rate), peak)


def _duration(count: int, span_us: int, speed: float, rate: float | None) -> float:
    if math.isinf(speed):
        return 0.0
    return span_us / speed / 1e6 if rate is None else max(count - 1, 0) / (rate * speed)


def _second(since_us: int, count: int, speed: float, rate: float | None) -> int:
    """The second of the replay in which a record is due."""
    if math.isinf(speed):
        return 0
    return int(since_us / speed // 1_000_000) if rate is None else int((count - 1) / (rate * speed))
