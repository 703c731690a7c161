"""Cursor: how far a reader has come in one shard, and what it fetches next. Knows one log, not who comes after it."""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Callable
from operator import attrgetter
from typing import NamedTuple

from streamstore import limits, native
from streamstore.errors import StreamStoreError
from streamstore.iterators import Place
from streamstore.native import Record
from streamstore.user_records import TakingApart, not_before

_logger = logging.getLogger("streamstore")
arrival = attrgetter("arrival_us")
_TIP_SIZE = 4 * limits.KIB

Failure = Callable[["Cursor", Place, int, int, int], StreamStoreError]
"""The error for a read of a shard at a place that ended in this status, with this damage."""


class Options(NamedTuple):
    """How to read; times in microseconds, -1 for none.

    `merge_width` is among how many shards the memory of a merge is shared; 0: among those of this read, if it merges.
    """

    follow: bool = False
    timeout_us: int = -1
    merge: bool = False
    skip_trimmed: bool = False
    end_us: int = -1
    skip_corrupt: bool = False
    taking_apart: TakingApart | None = None
    merge_width: int = 0


class Skipped:
    """How often a reader went on behind what was trimmed or damaged; each is logged as a warning."""

    __slots__ = ("corrupt", "strays", "trimmed")

    def __init__(self) -> None:
        self.trimmed = self.corrupt = self.strays = 0

    def past_trimmed(self, shard_id: str, position: int, start: int) -> None:
        """Records from `position` to before `start` were trimmed before they were read."""
        self.trimmed += 1
        _logger.warning("%s: positions %d to %d were trimmed before they were read", shard_id, position, start)

    def past_expired(self, shard_id: str) -> None:
        """A closed shard expired before all of its records were read."""
        self.trimmed += 1
        _logger.warning("%s: it expired before all of its records were read", shard_id)

    def past_damage(self, shard_id: str, begin: int, end: int) -> None:
        """What stood there is damaged."""
        self.corrupt += 1
        _logger.warning("%s: bytes %d to %d are damaged and were passed over", shard_id, begin, end)


class Cursor:
    """How far one shard has been fetched, and what is fetched but not all handed out (merge only)."""

    __slots__ = (
        *("_ends", "_goes_on", "at_tip", "end", "ended", "index"),
        *("log", "pending", "place", "records_end", "taken"),
    )

    def __init__(self, index: int, log: native.Log, place: Place, end: int) -> None:
        self.index = index
        self.log = log
        self.place = place  # of the next record to hand out, while no batch is out
        self.end = end  # 0: none, follow
        self.ended = False  # nothing is left to fetch
        self.pending: list[Record] = []
        self.taken = 0  # of `pending`, from its beginning: handed out
        self.records_end = 0  # with a close frame fetched: where the last record before it ends
        self._ends = 0
        self._goes_on = False  # for a shard of which records were returned
        self.at_tip = False  # nothing was there behind what is fetched, at the last look

    @property
    def is_closed(self) -> bool:
        """Was the shard's close frame fetched?"""
        return bool(self._ends)

    def reached(self, place: Place) -> Place:
        """The same place, or the shard's end where only its close frame is left."""
        return Place(self._ends, place.epoch) if self._ends and place.position >= self.records_end else place

    def take(self, end: int) -> None:
        """What is pending was handed out up to there."""
        self.taken = end
        if end == len(self.pending):
            self.pending, self.taken = [], 0

    def has_more(self) -> bool:
        """Is there something visible behind what is pending?"""
        return bool(self.pending[-1].next_position < (self.end or self.log.visible()))

    def fetch(self, options: Options, chunk_size: int, skipped: Skipped, failure: Failure) -> list[Record]:
        """The next records; [] where there are none yet, or none at all: then `ended`."""
        while True:
            last = self.pending[-1] if self.pending else None
            place = self.place if last is None else Place(last.next_position, last.epoch)
            size = self._size_to_read(place.position, chunk_size)
            if not size:
                return []
            records, following, visible, end_of_log, status, begin, stop = self.log.read(
                place.position, self.end, limits.READ_CHUNK_RECORDS, size
            )
            if status and not records:
                behind = self._behind(place, options, skipped, status, begin, stop)
                if behind is None:
                    raise failure(self, place, status, begin, stop)
                self.place = behind
                continue
            # Damage behind these records is met by the next read, also where it reaches up to the end.
            self.ended = not status and (end_of_log or bool(self.end and following >= self.end))
            if end_of_log and not status:
                self._close(records[-1].next_position if records else place.position, following)
            self.at_tip = bool(records) and following == visible and not status and not self.ended
            if not records:
                self.place = Place(max(following, place.position), place.epoch)
                if not self.ended and following > place.position:
                    continue
            if options.end_us >= 0:
                records = self._cut(records, options.end_us)
            if options.taking_apart is None or not records:
                return records
            users = self._users(records, place, options.taking_apart, skipped)
            if users or self.ended:
                return users

    def _size_to_read(self, position: int, chunk_size: int) -> int:
        """How many bytes to read there; 0 where there is nothing: whether for ever is in `ended` then."""
        if self.at_tip:  # who was woken there reads what came without asking how much that is
            self.at_tip = False
            return _TIP_SIZE
        visible, closed = self.log.reach()
        end = self.end or visible
        if position < end:
            return max(min(chunk_size, end - position), _TIP_SIZE)
        if closed and position >= visible:
            self._close(position, visible)
        self.ended = bool(self.end or closed)
        self.at_tip = position == visible and not self.ended
        return 0

    def _users(self, records: list[Record], place: Place, how: TakingApart, skipped: Skipped) -> list[Record]:
        """The user records in these, which were read from `place`; where none is left, the place is behind them."""
        users, strays = how.apply(self.index, records)
        skipped.strays += strays
        if place.part:
            users = not_before(users, place.position, place.epoch, place.part)
        if not users:
            self.place = self.reached(Place(records[-1].next_position, records[-1].epoch))
        return users

    def _behind(
        self, place: Place, options: Options, skipped: Skipped, status: int, begin: int, stop: int
    ) -> Place | None:
        """Where to go on after a failed read; None where it is to be told."""
        # Without an epoch no record was returned yet: it began at the horizon, and the horizon moved on.
        loses = place.epoch or self._goes_on
        if status & 0xFF == native.TRIMMED and (options.skip_trimmed or not loses):
            start = max(self.log.state().start, place.position)
            if loses and start > place.position:
                skipped.past_trimmed(self.log.shard_id, place.position, start)
            return Place(start, place.epoch)
        if status & 0xFF == native.CORRUPT and options.skip_corrupt and stop > place.position:
            skipped.past_damage(self.log.shard_id, begin, stop)
            return Place(stop, place.epoch)
        return None

    def follow_on(self, parent: Cursor, epoch_floor: int) -> None:
        """It goes on for `parent`: where that one returned records, what is trimmed of this one is a loss."""
        if parent.place.epoch or parent.pending or parent._goes_on:
            self._goes_on = True
            if self.place[:2] == (native.FIRST_POSITION, 0):  # a position is to say so too
                self.place = Place(native.FIRST_POSITION, epoch_floor)

    def _close(self, records_end: int, end: int) -> None:
        self.records_end, self._ends = records_end, end

    def _cut(self, records: list[Record], end_us: int) -> list[Record]:
        if records and records[-1].arrival_us >= end_us:
            self.ended = True
            self._ends = 0  # what comes after the shard comes after the end
            return records[: bisect_left(records, end_us, key=arrival)]
        return records
