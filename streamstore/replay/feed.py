"""Records in the order of a replay, each with its time: by arrival as readers give them, or by a time they carry.

A feed gives batches of (records, times): times in microseconds, which never fall. A record whose time lies before that
of one before it in its shard is due when that one is, since the order within a shard never changes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, Protocol

from streamstore import iterators, native
from streamstore.bounds import Bound, Bounds, bind
from streamstore.cursor import Options
from streamstore.iterators import Place
from streamstore.native import Record
from streamstore.reader import Reader
from streamstore.stream import Stream
from streamstore.values import Position

BY = ("arrival", "event", "source")  # as _hot.record_times numbers them
TIME_SIZE = 8
_index = attrgetter("index")


class Timed:
    """Some records, at least one, and their times, as `rising` gives them; without these they are those of arrival."""

    __slots__ = ("_packed", "records")

    def __init__(self, records: list[Record], packed: bytes | None = None) -> None:
        self.records = records
        self._packed = packed

    @property
    def last(self) -> int:
        """The time of the last record, which no other one is above."""
        return self.records[-1].arrival_us if self._packed is None else _numbers(self._packed)[-1]

    @property
    def times(self) -> Sequence[int]:
        """One for each record."""
        return _numbers(rising(self.records, "arrival", 0) if self._packed is None else self._packed)

    def between(self, begin_us: int, end_us: int | None) -> Timed | None:
        """Those from a time to before another one; None where there is none."""
        times = self.times
        first = bisect_left(times, begin_us)
        last = len(times) if end_us is None else bisect_left(times, end_us)
        if first >= last:
            return None
        packed = None if self._packed is None else self._packed[first * TIME_SIZE : last * TIME_SIZE]
        return Timed(self.records[first:last], packed)


def rising(records: list[Record], by: str, latest: int) -> bytes:
    """The times of records, none below the one before it; a record without one has that of the one before it.

    As C has them, 8 bytes each: flat out nobody makes numbers of them.
    """
    return native.record_times(records, BY.index(by), latest)


def _numbers(packed: bytes) -> Sequence[int]:
    return memoryview(packed).cast("Q")


class Feed(Protocol):
    """Where a replay has its records from. `close` may be called by any thread, and ends the iteration."""

    def batches(self) -> Iterator[Timed]: ...
    def position(self) -> Position: ...
    def close(self) -> None: ...


def event_time(record: Record) -> int | None:
    """When it happened, as whoever put it said."""
    found = record.event_us if record.attribute_block else None
    return found if isinstance(found, int) else None


def source_time(record: Record) -> int | None:
    """When it arrived where it was captured or imported from."""
    source = record.source if record.attribute_block else None
    found = source.get("arrival_us") if isinstance(source, dict) else None
    return found if isinstance(found, int) else None


class ArrivalFeed:
    """The order of arrival; the times are those of arrival too, or others that the records carry."""

    def __init__(
        self,
        stream: Stream,
        start: Any,
        end: Any,
        *,
        follow: bool = False,
        timeout: float | None = None,
        by: str = "arrival",
    ) -> None:
        self._reader = stream.read(start, end=end, follow=follow, timeout=timeout, merge=True)
        self._by = by

    def batches(self) -> Iterator[Timed]:
        """What the reader gives."""
        latest = 0
        for batch in self._reader.batches():
            timed = Timed(batch, None if self._by == "arrival" else rising(batch, self._by, latest))
            latest = timed.last
            yield timed

    def position(self) -> Position:
        """Behind the last batch."""
        return self._reader.position

    def close(self) -> None:
        self._reader.close()


class _Run:
    """One shard of a merge: its records from some place on, batch by batch."""

    def __init__(self, stream: Stream, lineage: Any, bound: Bound, width: int) -> None:
        self.index = bound.shard_index
        self.floor = 0
        self.ended = False
        self.records: list[Record] = []
        self.times = b""
        self.taken = 0  # of the records, from their beginning: handed out
        self.reader = Reader(stream, Bounds(lineage, [bound], [], False), Options(merge_width=width))
        self._batches = self.reader.batches()

    def fetch(self, by: str) -> None:
        """The next batch, where there is one."""
        batch = next(self._batches, None)
        if batch is None:
            self.ended = True
            return
        self.records, self.times, self.taken = batch, rising(batch, by, self.floor), 0
        self.floor = _numbers(self.times)[-1]

    def take(self, end: int) -> None:
        """All before this one was handed out."""
        self.taken = end
        if end == len(self.records):
            self.records, self.times, self.taken = [], b"", 0

    def place(self) -> Place | None:
        """Where its first record stands that was not handed out; None where all of it was."""
        if not self.records:
            return None
        first = self.records[self.taken]
        return Place(first.position, first.epoch)


class TimeFeed:
    """The order of a time that records carry, over all shards; a shard that came from others comes behind them.

    It ends at the tails as of when it was made.
    """

    def __init__(self, stream: Stream, start: Any, end: Any, by: str) -> None:
        lineage = stream.check().lineage
        begin = iterators.parse(start, stream.token)
        until = None if end is None else iterators.parse(end, stream.token)
        bounds = bind(lineage, stream.log, begin, until, False)
        self._token = stream.token
        self._by = by
        self._closed = False
        width = len(bounds.shards)
        self._runs = {bound.shard_index: _Run(stream, lineage, bound, width) for bound in bounds.shards}
        self._waits_for = {index: _above(lineage, index, self._runs.keys()) for index in self._runs}

    def batches(self) -> Iterator[Timed]:
        """The records of all shards up to the newest time that nothing still to be fetched can come before."""
        while not self._closed:
            self._fill()
            active = self._active()
            if not active:
                return
            yield self._merged(sorted(active, key=_index))

    def _merged(self, runs: list[_Run]) -> Timed:
        if len(runs) == 1 and not runs[0].taken:
            timed = Timed(runs[0].records, runs[0].times)
            runs[0].take(len(timed.records))
            return timed
        records, times, ends = native.merge_records(
            [run.records for run in runs],
            [run.taken for run in runs],
            [True] * len(runs),
            [run.times for run in runs],
        )
        for run, end in zip(runs, ends, strict=True):
            run.take(end)
        return Timed(records, times)

    def _active(self) -> list[_Run]:
        return [run for index, run in self._runs.items() if not run.ended and not self._waits_for[index]]

    def _fill(self) -> None:
        """Every shard whose turn it is has something, or has ended."""
        ended = True
        while ended:
            ended = False
            for run in self._active():
                if not run.records:
                    run.fetch(self._by)
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
            if (between := timed.between(self._begin_us, self._end_us)) is not None:
                yield between
            if self._end_us is not None and timed.last >= self._end_us:
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
    if by == "arrival":
        return ArrivalFeed(stream, start, end, follow=follow, timeout=timeout)
    begin_us, start = (0, start) if _is_word(start) else (iterators.time_us(start, "start"), "TRIM_HORIZON")
    end_us, end = (None, end) if end is None or _is_word(end) else (iterators.time_us(end, "end"), None)
    feed: Feed
    if follow:
        feed = ArrivalFeed(stream, start, end, follow=True, timeout=timeout, by=by)
    else:
        feed = TimeFeed(stream, start, end, by)
    return feed if begin_us == 0 and end_us is None else BetweenFeed(feed, begin_us, end_us)


def _is_word(value: Any) -> bool:
    return isinstance(value, (str, Mapping))
