"""Reader: an iterator over the shards of a stream, from places bound when it was made, waiting for more where asked to.

Batches come out of C as lists; `chain.from_iterable` hands their records on without a Python frame for each, and
the position is worked out from the list iterator's length hint when somebody asks. Knows logs and places, not
streams by name.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import chain
from operator import attrgetter, length_hint
from types import TracebackType
from typing import NamedTuple, Protocol

from streamstore import clock, iterators, limits, native
from streamstore.errors import CorruptRangeError, ForkedError, StreamStoreError, TrimmedError
from streamstore.iterators import Place
from streamstore.native import Record
from streamstore.values import Position

_arrival = attrgetter("arrival_us")


class ReaderHome(Protocol):
    """What a reader asks of its stream."""

    @property
    def token(self) -> str: ...
    @property
    def attachment(self) -> native.Attachment: ...
    def explain(self, error: StreamStoreError) -> StreamStoreError: ...
    def check(self) -> None: ...
    def read_failure(self, log: native.Log, place: Place, status: int, begin: int, end: int) -> StreamStoreError: ...


class Options(NamedTuple):
    """How to read; times in microseconds, -1 for none."""

    follow: bool = False
    timeout_us: int = -1
    merge: bool = False
    skip_trimmed: bool = False
    end_us: int = -1


class _Cursor:
    """How far one shard has been fetched, and what is fetched but not handed out (merge only)."""

    __slots__ = ("end", "ended", "epoch", "log", "order", "pending", "place")

    def __init__(self, order: int, log: native.Log, place: Place, end: int) -> None:
        self.order = order
        self.log = log
        self.place = place  # of the next record to hand out, while no batch is out
        self.epoch = place.epoch
        self.end = end  # 0: none, follow
        self.ended = False
        self.pending: list[Record] = []


class Reader:
    """Records of a stream, as an iterator and context manager. One thread iterates; any may call `close`.

    Raises while iterating: TrimmedError, CorruptRangeError (what stands before the damage is delivered first),
    ClosedError when the store is closed, StreamNotFoundError when the stream is deleted, ForkedError in a forked
    child. After `close` iteration ends.
    """

    def __init__(self, home: ReaderHome, logs: Sequence[tuple[native.Log, Place, int]], options: Options) -> None:
        self._home = home
        self._options = options
        self._cursors = [_Cursor(order, log, place, end) for order, (log, place, end) in enumerate(logs)]
        self._by_id = {cursor.log.shard_id: cursor for cursor in self._cursors}
        self._active = [cursor for cursor in self._cursors if not cursor.end or cursor.place.position < cursor.end]
        self._turn = 0
        self._batch: list[Record] = []
        self._iterator: Iterator[Record] = iter(())
        self._closed = self._forked = False
        self._lock = threading.Lock()
        self._watched = 0
        share = limits.MERGE_BUFFER_SIZE // max(1, len(self._cursors)) if options.merge else limits.READ_CHUNK_SIZE
        self._chunk_size = max(4 * limits.KIB, min(limits.READ_CHUNK_SIZE, share))
        self._flow = self._batches()
        self._records = chain.from_iterable(self._iterators())
        native.watch_fork(self)

    # --- the iterator -----------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Record]:
        return self._records

    def __next__(self) -> Record:
        return next(self._records)

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def batches(self) -> Iterator[list[Record]]:
        """The same records as lists, each at least one long. A batch counts as read once it was handed out."""
        if rest := list(self._iterator):  # of a batch that somebody began to iterate over
            yield rest
        for iterator in self._iterators():
            if records := list(iterator):
                yield records

    def _iterators(self) -> Iterator[Iterator[Record]]:
        for batch in self._flow:
            yield self.hand_out(batch)
        self._settle()

    def hand_out(self, batch: list[Record]) -> Iterator[Record]:
        """Iterate over a polled batch such that `position` follows."""
        with self._lock:
            self._batch = batch
            self._iterator = iter(batch)
            if self._closed:
                batch.clear()
            return self._iterator

    @property
    def position(self) -> Position:
        """Where to go on after the last record handed out: a plain dict, for `read(start=...)` of the same stream."""
        self._check_fork()
        with self._lock:
            places = {cursor.log.shard_id: cursor.place for cursor in self._cursors}
            places.update(self._reached())
        return iterators.make_position(self._home.token, places)

    def _reached(self) -> dict[str, Place]:
        # How far the consumer has come within the batch that is out: the newest record handed out of each shard.
        reached: dict[str, Place] = {}
        for index in range(len(self._batch) - length_hint(self._iterator) - 1, -1, -1):
            record = self._batch[index]
            if record.shard_id not in reached:
                reached[record.shard_id] = Place(record.next_position, record.epoch)
                if not self._options.merge:
                    break
        return reached

    def _settle(self) -> None:
        # The batch that was out is done with: its end is where its shards stand now.
        with self._lock:
            for shard_id, place in self._reached().items():
                self._by_id[shard_id].place = place
            self._batch, self._iterator = [], iter(())

    def close(self) -> None:
        """End the iteration, here and in a thread that waits in it, at once. `position` stays valid."""
        with self._lock:
            if self._closed:
                return
            for shard_id, place in self._reached().items():
                self._by_id[shard_id].place = place
            self._closed = True
            self._batch.clear()  # ends the list iterator that a running loop holds
        if self._forked:
            return
        try:
            if len(self._cursors) == 1:
                self._cursors[0].log.wake()
            else:
                self._home.attachment.wake()
        except StreamStoreError:
            return  # a closed store waits for nobody

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
        self._forked = True
        self._batch.clear()

    def _check_fork(self) -> None:
        if self._forked:
            raise ForkedError("this reader belongs to the parent process: make one here, for example from its position")

    # --- where batches come from ------------------------------------------------------------------------------------

    def _batches(self) -> Iterator[list[Record]]:
        waited_from = clock.monotonic_us()
        while True:
            seen = self._watch()
            batch = self.poll()
            if batch is None:
                return
            if batch:
                yield batch
                waited_from = clock.monotonic_us()
            elif not self._wait(seen, waited_from):
                return

    def poll(self) -> list[Record] | None:
        """What can be handed out now: a batch, [] where there is nothing yet, None at the end. Never waits.

        The batch before it counts as read.
        """
        self._settle()
        self._check_fork()
        if self._closed:
            return None
        try:
            batch = self._merged() if self._options.merge else self._round_robin()
        except (TrimmedError, CorruptRangeError, ForkedError):
            raise
        except StreamStoreError as error:
            if self.closed:  # in the meantime, by another thread
                return None
            raise self._home.explain(error) from None
        if batch:
            return batch
        if not self._active or not self._options.follow:
            return None
        return batch

    @property
    def closed(self) -> bool:
        """Was `close` called?"""
        return self._closed

    def _round_robin(self) -> list[Record]:
        for _ in range(len(self._active)):
            self._turn %= len(self._active)
            cursor = self._active[self._turn]
            records = self._fetch(cursor)
            if cursor.ended:
                del self._active[self._turn]
            else:
                self._turn += 1
            if records:
                return records
        return []

    def _merged(self) -> list[Record]:
        """The records of all shards up to the newest arrival that nothing still to be fetched can come before."""
        bound: tuple[int, int] | None = None
        waiting = [cursor for cursor in self._cursors if cursor.pending or not cursor.ended]
        for cursor in waiting:
            if not cursor.pending and not cursor.ended:
                cursor.pending = self._fetch(cursor)
            # What has nothing more to show right now bounds nothing; what has may show arrivals from its last one on.
            if cursor.pending and not cursor.ended and self._has_more(cursor):
                last = (cursor.pending[-1].arrival_us, cursor.order)
                bound = last if bound is None else min(bound, last)
        parts: list[Record] = []
        for cursor in waiting:
            pending = cursor.pending
            count = len(pending)
            if bound is not None:
                cut = bisect_right if cursor.order <= bound[1] else bisect_left
                count = cut(pending, bound[0], key=_arrival)
            parts += pending[:count]
            cursor.pending = pending[count:]
        self._active = [cursor for cursor in self._cursors if cursor.pending or not cursor.ended]
        parts.sort(key=_arrival)  # stable: ties stay in shard order
        return parts

    def _has_more(self, cursor: _Cursor) -> bool:
        fetched = cursor.pending[-1].next_position
        return bool(fetched < (cursor.end or cursor.log.visible()))

    def _fetch(self, cursor: _Cursor) -> list[Record]:
        """The next records of one shard; marks the cursor ended at its end."""
        while True:
            place = (
                Place(cursor.pending[-1].next_position, cursor.pending[-1].epoch) if cursor.pending else cursor.place
            )
            end = cursor.end or cursor.log.visible()
            if place.position >= end:
                cursor.ended = bool(cursor.end)
                return []
            size = max(min(self._chunk_size, end - place.position), 4 * limits.KIB)
            records, following, _, end_of_log, status, begin, stop = cursor.log.read(
                place.position, cursor.end, limits.READ_CHUNK_RECORDS, size
            )
            if status and not records:
                # Without an epoch no record was returned yet: it began at the horizon, and the horizon moved on.
                if status & 0xFF == native.TRIMMED and (self._options.skip_trimmed or not place.epoch):
                    cursor.place = Place(cursor.log.state().start, place.epoch)
                    continue
                raise self._failure(cursor, place, status, begin, stop)
            # Damage behind these records is met by the next read, also where it reaches up to the end.
            cursor.ended = not status and (end_of_log or bool(cursor.end and following >= cursor.end))
            if not records:
                cursor.place = Place(max(following, place.position), place.epoch)
                if not cursor.ended and following > place.position:
                    continue
            return self._cut(cursor, records)

    def _cut(self, cursor: _Cursor, records: list[Record]) -> list[Record]:
        end_us = self._options.end_us
        if end_us >= 0 and records and records[-1].arrival_us >= end_us:
            cursor.ended = True
            return records[: bisect_left(records, end_us, key=_arrival)]
        return records

    def _failure(self, cursor: _Cursor, place: Place, status: int, begin: int, end: int) -> StreamStoreError:
        error = self._home.read_failure(cursor.log, place, status, begin, end)
        if isinstance(error, (TrimmedError, CorruptRangeError)) and error.next_position is not None:
            # The place to go on, for the reader as a whole.
            error.next_position["shards"] = {**self.position["shards"], **error.next_position["shards"]}
        return error

    # --- waiting ----------------------------------------------------------------------------------------------------

    def _watch(self) -> int:
        follows_many = self._options.follow and len(self._cursors) > 1
        return self._home.attachment.watch() if follows_many else 0

    def time_left_us(self, waited_from: int) -> int:
        """How long a wait that began at `waited_from` (monotonic) may go on: -1 without limit, 0 when it is over."""
        left = []
        if self._options.timeout_us >= 0:
            left.append(waited_from + self._options.timeout_us - clock.monotonic_us())
        if self._options.end_us >= 0:
            left.append(self._options.end_us - clock.now_us())
        return max(0, min(left)) if left else -1

    def wanted(self) -> list[tuple[native.Log, int]]:
        """What a wait is for: something visible beyond the position in one of these logs."""
        return [(cursor.log, cursor.place.position) for cursor in self._active]

    def _wait(self, seen: int, waited_from: int) -> bool:
        """Wait for something to look at; False when the time is over."""
        left = self.time_left_us(waited_from)
        if left == 0:
            return False
        slice_us = limits.WAIT_SLICE_US if left < 0 else min(limits.WAIT_SLICE_US, left)
        try:
            if len(self._cursors) == 1:
                changed = self._cursors[0].log.wait(self._cursors[0].place.position, slice_us)
            else:
                changed = self._home.attachment.wait(seen, slice_us)
                for cursor in self._active if not changed else ():
                    cursor.log.sync_orphan()
        except StreamStoreError as error:
            self._check_fork()
            if self._closed:
                return True
            raise self._home.explain(error) from None
        if not changed:
            self._home.check()
        return True
