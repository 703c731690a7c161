"""Replay: the records of a stream, each when it is due. Knows feeds and the clock; what becomes of records does not
matter to it.
"""

from __future__ import annotations

import math
import threading
import time
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from itertools import chain
from types import TracebackType
from typing import Any, NamedTuple

from streamstore import native, routing
from streamstore.errors import ClosedError, InvalidArgumentError, InvalidTypeError
from streamstore.histogram import Histogram
from streamstore.iterators import Place
from streamstore.native import Record
from streamstore.replay.changing import KeyOf, change
from streamstore.replay.feed import BY, Feed, Timed, event_time, make_feed, source_time
from streamstore.replay.offloading import offloaded
from streamstore.replay.pacing import Pace
from streamstore.replay.planning import Plan, plan
from streamstore.replay.selection import selection
from streamstore.stream import Stream
from streamstore.targets import Item, as_target
from streamstore.values import Position

_HAS_TIME: dict[str, Callable[[Record], bool]] = {
    "arrival": lambda record: True,
    "event": lambda record: event_time(record) is not None,
    "source": lambda record: source_time(record) is not None,
}


class Replayed(NamedTuple):
    """What a run did: records and bytes of data sent, and seconds from the first to the end."""

    records: int
    bytes: int
    seconds: float


class Replay:
    """The records of a stream again, each when it is due: an iterator, an async iterator, or a run into a target.

    A context manager. One thread (or task) iterates; `pause`, `resume`, `set_speed`, `seek` and `close` may be called
    by any. Times: `by` "arrival", "event" or "source" (when it arrived where it was captured); by event and source
    the records of all shards come in the order of that time, and times in `start` and `end` are such times. A record
    whose time lies before that of one before it in its shard is due with that one. `speed` is a factor, math.inf flat
    out; `rate` (records per second) takes the place of times. `loops` times, 0 without end. Filters and changes: see
    docs/replay.md. What is late is sent at once: nothing is left out. Raises what `stream.read` raises, and
    InvalidArgumentError where the first records do not have the time that is asked for.
    """

    def __init__(
        self,
        stream: Stream,
        start: Any = "TRIM_HORIZON",
        *,
        end: Any = None,
        speed: float = 1.0,
        rate: float | None = None,
        by: str = "arrival",
        follow: bool = False,
        timeout: float | None = None,
        loops: int = 1,
        key: KeyOf | None = None,
        times: str = "keep",
        **filters: Any,
    ) -> None:
        self._pace = Pace(speed)
        _check(by, rate, loops, follow)
        self._stream = stream
        self._by, self._rate, self._loops = by, rate, loops
        self._range: dict[str, Any] = {"end": end, "by": by, "follow": follow, "timeout": timeout}
        self._start = start
        self._select = selection(**filters)
        self._change = change(stream, key, times)
        self._lock = threading.Lock()
        self._feed = make_feed(stream, start, **self._range)
        self._rest: Sequence[Record] = ()
        self._closed = False
        self._flow = self._batches()
        self.timing = Histogram()
        self.records = self.bytes = self.rounds = 0

    # --- what is due ------------------------------------------------------------------------------------------------

    def batches(self) -> Iterator[Sequence[Item]]:
        """What is due, as lists, each as soon as its first record is; each waits until something is due."""
        return self._flow

    def __iter__(self) -> Iterator[Item]:
        return chain.from_iterable(self._flow)

    def __aiter__(self) -> AsyncIterator[Item]:
        return offloaded(self._flow, self.close)

    def run(self, target: Any) -> Replayed:
        """Send everything to a target: a Target, a Stream, a Queue, or a function that is called with each record.

        Returns at the end, or when another thread calls `close`. Raises what the target raises; the batch that failed
        lies before `position`.
        """
        sink = as_target(target, origin=self._stream)
        began = time.monotonic()
        for batch in self._flow:
            sink.send(batch)
        return Replayed(self.records, self.bytes, time.monotonic() - began)

    def plan(self) -> Plan:
        """What one round would send and how long it would take: reads all of it, sends nothing.

        Raises InvalidArgumentError for a replay that follows, which has no end.
        """
        if self._range["follow"]:
            raise InvalidArgumentError("a replay that follows has no end to plan for")
        feed = make_feed(self._stream, self._start, **self._range)
        return plan(feed, self._select, _HAS_TIME[self._by], self._pace.speed, self._rate)

    def _batches(self) -> Iterator[Sequence[Item]]:
        while not self._closed:
            feed = self._feed
            for timed in feed.batches():
                if self._feed is not feed:
                    break
                if self._rate is None and self._pace.is_over_all:
                    yield from self._flat_out(timed)
                else:
                    yield from self._due(feed, *self._prepared(timed.records, timed.times))
            if self._feed is feed and not self._next_round(feed):
                return

    def _next_round(self, feed: Feed) -> bool:
        """Begin anew where another round is wanted."""
        self.rounds += 1
        if self._closed or self.rounds == self._loops:
            return False
        with self._lock:
            if self._feed is feed:
                self._feed = make_feed(self._stream, self._start, **self._range)
                self._pace.reset()
        return True

    def _prepared(self, records: list[Record], times: Sequence[int]) -> tuple[list[Record], Sequence[int]]:
        """Those that are selected, with the times at which they are due."""
        if not self._pace.is_started and self._rate is None and not times[-1]:
            raise InvalidArgumentError(f"the first records have no {self._by} time: replay by another, or at a rate")
        if self._select is not None:
            moments = dict(zip(map(id, records), times, strict=True))
            records = self._select(records)
            times = [moments[id(record)] for record in records]
        if self._rate is not None:
            first, step = self.records, 1e6 / self._rate
            times = [1 + int(index * step) for index in range(first, first + len(records))]
        return records, times

    def _flat_out(self, timed: Timed) -> Iterator[Sequence[Item]]:
        """All of it at once: nobody asks for times."""
        records = timed.records if self._select is None else self._select(timed.records)
        if not self._pace.is_started:
            self._pace.start(timed.last)
        self._pace.passed(timed.last)
        if records:
            self._count(records)
            self._rest = ()
            yield records if self._change is None else self._change(records)

    def _count(self, records: list[Record]) -> None:
        self.records += len(records)
        self.bytes += native.data_size(records)

    def _due(self, feed: Feed, records: list[Record], times: Sequence[int]) -> Iterator[Sequence[Item]]:
        if times and times[-1] and not self._pace.is_started:
            self._pace.start(next(moment for moment in times if moment))
        index = 0
        while index < len(times) and not self._closed and self._feed is feed:
            now = self._pace.now_us()
            cut = len(times) if math.isinf(now) else bisect_right(times, now, index)
            if cut == index:
                self._rest = records[index:]
                self._pace.wait_until(times[index])
                continue
            batch = records if index == 0 and cut == len(times) else records[index:cut]
            self._note(batch, times, index, cut, now)
            self._rest, index = records[cut:], cut
            yield batch if self._change is None else self._change(batch)

    def _note(self, batch: list[Record], times: Sequence[int], begin: int, end: int, now: float) -> None:
        self._count(batch)
        if math.isinf(now):
            self._pace.passed(times[end - 1])
        else:
            speed = self._pace.speed
            self.timing.add_all([int((now - moment) / speed) for moment in times[begin:end] if moment])

    # --- where it stands --------------------------------------------------------------------------------------------

    @property
    def position(self) -> Position:
        """Behind the last batch that was handed out: a plain dict, for `start` of another replay or of a read."""
        with self._lock:
            position = self._feed.position()
            places: dict[int, Place] = {}
            for record in self._rest:
                places.setdefault(routing.shard_index(record.shard_id), Place(record.position, record.epoch))
        waiting = {routing.shard_id(index): list(place) for index, place in places.items()}
        return {**position, "shards": {**position["shards"], **waiting}}

    @property
    def now_us(self) -> float:
        """The moment of recorded time that it has come to, in microseconds; at a fixed rate since the beginning."""
        return self._pace.now_us()

    @property
    def speed(self) -> float:
        """How many recorded seconds pass in a second."""
        return self._pace.speed

    @property
    def is_paused(self) -> bool:
        """Does it stand still until `resume`?"""
        return self._pace.is_paused

    # --- changed while it runs --------------------------------------------------------------------------------------

    def set_speed(self, speed: float) -> None:
        """Go on at another speed from here."""
        self._pace.set_speed(speed)

    def pause(self) -> None:
        """Hand out nothing until `resume`."""
        self._pace.pause()

    def resume(self) -> None:
        """Go on after a pause, with the same gaps."""
        self._pace.resume()

    def seek(self, start: Any) -> None:
        """Go on from another place: whatever `start` may be. What is due first there is due now.

        Raises what the constructor raises, and ClosedError.
        """
        if self._closed:
            raise ClosedError("this replay is closed")
        feed = make_feed(self._stream, start, **self._range)
        with self._lock:
            former, self._feed, self._rest = self._feed, feed, ()
            self._pace.reset()
        former.close()

    def close(self) -> None:
        """End the iteration, here and in a thread that waits in it, at once. `position` stays valid."""
        self._closed = True
        self._pace.stop()
        self._feed.close()

    def __enter__(self) -> Replay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _check(by: str, rate: float | None, loops: int, follow: bool) -> None:
    if by not in BY:
        raise InvalidArgumentError(f"by is one of {', '.join(BY)}, not {by!r}")
    if type(loops) is not int or loops < 0:
        raise InvalidArgumentError(f"loops is a number of rounds, 0 for no end, not {loops!r}")
    if loops != 1 and follow:
        raise InvalidArgumentError("a replay that follows has no second round")
    if rate is None:
        return
    if isinstance(rate, bool) or not isinstance(rate, (int, float)):
        raise InvalidTypeError(f"rate is a number of records per second, not {type(rate).__name__}")
    if not 0 < rate < math.inf:
        raise InvalidArgumentError(f"rate {rate!r}: it is above 0")
