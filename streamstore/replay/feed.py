"""Records in the order of a replay, each with its time: by arrival as readers give them, or by a time they carry.

A feed gives batches of (records, times): times in microseconds, which never fall. A record whose time lies before that
of one before it in its shard is due when that one is, since the order within a shard never changes.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from operator import attrgetter
from typing import Any, Protocol

from streamstore import iterators
from streamstore.bounds import Bound, Bounds, bind
from streamstore.cursor import Options
from streamstore.iterators import Place
from streamstore.native import Record
from streamstore.reader import Reader
from streamstore.stream import Stream
from streamstore.values import Position

_arrival = attrgetter("arrival_us")
TimeOf = Callable[[Record], "int | None"]


class Timed:
    """Some records, at least one, and their times, which are worked out when somebody asks."""

    __slots__ = ("_make", "_times", "last", "records")

    def __init__(
        self, records: Sequence[Record], last: int, make: Callable[[Sequence[Record]], Sequence[int]] | Sequence[int]
    ) -> None:
        self.records = records
        self.last = last
        self._make = make
        self._times: Sequence[int] | None = None

    @property
    def times(self) -> Sequence[int]:
        """One for each record; the newest is `last`."""
        if self._times is None:
            self._times = self._make(self.records) if callable(self._make) else self._make
        return self._times


def arrivals(records: Sequence[Record]) -> list[int]:
    """When they arrived here."""
    return list(map(_arrival, records))


class Feed(Protocol):
    """Where a replay has its records from. `close` may be called by any thread, and ends the iteration."""

    def batches(self) -> Iterator[Timed]: ...
    def position(self) -> Position: ...
    def close(self) -> None: ...


def event_time(record: Record) -> int | None:
    """When it happened, as whoever put it said."""
    return record.event_us if record.attribute_block else None


def source_time(record: Record) -> int | None:
    """When it arrived where it was captured or imported from."""
    source = record.source if record.attribute_block else None
    found = source.get("arrival_us") if isinstance(source, dict) else None
    return found if isinstance(found, int) else None


class ArrivalFeed:
    """The order of arrival; the times are those of arrival, or what `time_of` says where it is given."""

    def __init__(
        self,
        stream: Stream,
        start: Any,
        end: Any,
        *,
        follow: bool = False,
        timeout: float | None = None,
        time_of: TimeOf | None = None,
    ) -> None:
        self._reader = stream.read(start, end=end, follow=follow, timeout=timeout, merge=True)
        self._time_of = time_of

    def batches(self) -> Iterator[Timed]:
        """What the reader gives."""
        latest = 0
        for batch in self._reader.batches():
            if self._time_of is None:
                yield Timed(batch, batch[-1].arrival_us, arrivals)
                continue
            times = rising(batch, self._time_of, latest)
            latest = times[-1]
            yield Timed(batch, latest, times)

    def position(self) -> Position:
        """Behind the last batch."""
        return self._reader.position

    def close(self) -> None:
        self._reader.close()


def rising(records: Iterable[Record], time_of: TimeOf, latest: int) -> list[int]:
    """The times of records, none below the one before it; a record without one has that of the one before it."""
    return list(accumulate((time_of(record) or 0 for record in records), max, initial=latest))[1:]


class _Run:
    """One shard of a merge: its records from some place on, batch by batch."""

    def __init__(self, stream: Stream, lineage: Any, bound: Bound) -> None:
        self.index = bound.shard_index
        self.floor = 0
        self.ended = False
        self.records: list[Record] = []
        self.times: list[int] = []
        self.reader = Reader(stream, Bounds(lineage, [bound], [], False), Options())
        self._batches = self.reader.batches()

    def fetch(self, time_of: TimeOf) -> None:
        """The next batch, where there is one."""
        batch = next(self._batches, None)
        if batch is None:
            self.ended = True
            return
        self.records = batch
        self.times = rising(batch, time_of, self.floor)
        self.floor = self.times[-1]

    def take(self, bound: tuple[int, int] | None) -> tuple[list[int], list[Record]]:
        """All that is due up to a bound."""
        count = len(self.times)
        if bound is not None:
            count = (bisect_right if self.index <= bound[1] else bisect_left)(self.times, bound[0])
        taken = self.times[:count], self.records[:count]
        self.records, self.times = self.records[count:], self.times[count:]
        return taken

    def place(self) -> Place | None:
        """Where its first record stands that was not handed out; None where all of it was."""
        return Place(self.records[0].position, self.records[0].epoch) if self.records else None


class TimeFeed:
    """The order of a time that records carry, over all shards; a shard that came from others comes behind them.

    It ends at the tails as of when it was made.
    """

    def __init__(self, stream: Stream, start: Any, end: Any, time_of: TimeOf) -> None:
        lineage = stream.check().lineage
        begin = iterators.parse(start, stream.token)
        until = None if end is None else iterators.parse(end, stream.token)
        bounds = bind(lineage, stream.log, begin, until, False)
        self._token = stream.token
        self._time_of = time_of
        self._closed = False
        self._runs = {bound.shard_index: _Run(stream, lineage, bound) for bound in bounds.shards}
        self._waits_for = {index: _above(lineage, index, self._runs.keys()) for index in self._runs}

    def batches(self) -> Iterator[Timed]:
        """The records of all shards up to the newest time that nothing still to be fetched can come before."""
        while not self._closed:
            self._fill()
            active = self._active()
            if not active:
                return
            bound = min((run.times[-1], run.index) for run in active)
            parts = [run.take(bound) for run in sorted(active, key=lambda run: run.index)]
            pairs = [pair for part in parts for pair in zip(*part, strict=True)]
            pairs.sort(key=lambda pair: pair[0])  # stable: ties stay in the order of shards
            yield Timed([record for _, record in pairs], pairs[-1][0], [moment for moment, _ in pairs])

    def _active(self) -> list[_Run]:
        return [run for index, run in self._runs.items() if not run.ended and not self._waits_for[index]]

    def _fill(self) -> None:
        """Every shard whose turn it is has something, or has ended."""
        ended = True
        while ended:
            ended = False
            for run in self._active():
                if not run.records:
                    run.fetch(self._time_of)
                    if run.ended:
                        ended = True
                        self._unblock(run)

    def _unblock(self, ended: _Run) -> None:
        for index, above in self._waits_for.items():
            if ended.index in above:
                above.discard(ended.index)
                self._runs[index].floor = max(self._runs[index].floor, ended.floor)

    def position(self) -> Position:
        """Behind the last batch."""
        places: dict[str, Place] = {}
        for run in self._runs.values():
            read_on = iterators.parse(run.reader.position, self._token).value
            waiting = run.place()
            places.update({shard_id: waiting or place for shard_id, place in read_on.items()})
        return iterators.make_position(self._token, places)

    def close(self) -> None:
        self._closed = True
        for run in self._runs.values():
            run.reader.close()


def _above(lineage: Any, index: int, read: Any) -> set[int]:
    """The nearest ancestors of a shard that are read too."""
    found: set[int] = set()
    for parent in lineage[index].parents:
        found |= {parent} if parent in read else _above(lineage, parent, read) if parent in lineage else set()
    return found


class BetweenFeed:
    """The part of a feed whose times lie from `begin_us` to before `end_us`."""

    def __init__(self, feed: Feed, begin_us: int, end_us: int | None) -> None:
        self._feed = feed
        self._begin_us = begin_us
        self._end_us = end_us

    def batches(self) -> Iterator[Timed]:
        """What lies between; what comes behind the end is not read."""
        for timed in self._feed.batches():
            records, times = timed.records, timed.times
            first = bisect_left(times, self._begin_us)
            last = len(times) if self._end_us is None else bisect_left(times, self._end_us)
            if first < last:
                yield Timed(records[first:last], times[last - 1], times[first:last])
            if last < len(times):
                return

    def position(self) -> Position:
        """Behind the last batch."""
        return self._feed.position()

    def close(self) -> None:
        self._feed.close()


def make_feed(
    stream: Stream, start: Any, end: Any, *, by: str, follow: bool = False, timeout: float | None = None
) -> Feed:
    """The feed of a replay by "arrival", "event" or "source".

    By event and source, times in `start` and `end` are such times. A feed that follows gives what arrives in the order
    of arrival, by whatever time.
    """
    time_of = {"arrival": None, "event": event_time, "source": source_time}[by]
    if time_of is None:
        return ArrivalFeed(stream, start, end, follow=follow, timeout=timeout)
    begin_us, start = (0, start) if _is_word(start) else (iterators.time_us(start, "start"), "TRIM_HORIZON")
    end_us, end = (None, end) if end is None or _is_word(end) else (iterators.time_us(end, "end"), None)
    feed: Feed
    if follow:
        feed = ArrivalFeed(stream, start, end, follow=True, timeout=timeout, time_of=time_of)
    else:
        feed = TimeFeed(stream, start, end, time_of)
    return feed if begin_us == 0 and end_us is None else BetweenFeed(feed, begin_us, end_us)


def _is_word(value: Any) -> bool:
    return isinstance(value, (str, Mapping))
