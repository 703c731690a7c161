"""Reader: an iterator over the shards of a stream, from places bound when it was made, waiting for more where asked to.

Batches come out of C as lists; `chain.from_iterable` hands their records on without a Python frame for each, and
the position is worked out from the list iterator's length hint when somebody asks. Knows cursors and their frontier,
not streams by name.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import chain
from operator import attrgetter, length_hint
from types import TracebackType
from typing import Protocol

from streamstore import clock, iterators, limits, native, routing
from streamstore.bounds import Bounds
from streamstore.cursor import Cursor, Options, Skipped
from streamstore.errors import CorruptRangeError, ForkedError, StreamStoreError, TrimmedError
from streamstore.events import StreamInfo
from streamstore.frontier import Frontier
from streamstore.iterators import Place
from streamstore.native import Record
from streamstore.user_records import is_last
from streamstore.values import Position

_index = attrgetter("index")


class ReaderHome(Protocol):
    """What a reader asks of its stream."""

    @property
    def token(self) -> str: ...
    @property
    def attachment(self) -> native.Attachment: ...
    def explain(self, error: StreamStoreError) -> StreamStoreError: ...
    def check(self) -> StreamInfo: ...
    def log(self, index: int) -> native.Log: ...
    def children(self, index: int) -> tuple[int, ...]: ...
    def read_failure(self, log: native.Log, place: Place, status: int, begin: int, end: int) -> StreamStoreError: ...


class Reader:
    """Records of a stream, as an iterator and context manager. One thread iterates; any may call `close`.

    Raises while iterating: TrimmedError, CorruptRangeError (what stands before the damage is delivered first),
    ClosedError when the store is closed, StreamNotFoundError when the stream is deleted, ForkedError in a forked
    child. After `close` iteration ends.
    """

    def __init__(self, home: ReaderHome, bounds: Bounds, options: Options) -> None:
        self._home = home
        self._options = options
        self._frontier = Frontier(home, bounds)
        self._skipped = Skipped()
        self._turn = 0
        self._batch: list[Record] = []
        self._lasts: list[Record] = []  # of the batch that is out: the last one of each shard in it
        self._iterator: Iterator[Record] = iter(())
        self._closed = self._forked = False
        self._endless = options.follow and options.timeout_us < 0 and options.end_us < 0
        self._lock = threading.RLock()  # a signal's handler may close the reader that its thread is in
        width = options.merge_width or (len(bounds.shards) if options.merge else 0)
        share = limits.MERGE_BUFFER_SIZE // width if width else limits.READ_CHUNK_SIZE
        self._chunk_size = max(4 * limits.KIB, min(limits.READ_CHUNK_SIZE, share))
        self._flow = self._batches()
        self._records = chain.from_iterable(self._iterators())
        native.watch_fork(self)

    @property
    def trimmed_count(self) -> int:
        """How often it went on behind what was trimmed before it was read (`on_trimmed="skip"`)."""
        return self._skipped.trimmed

    @property
    def corrupt_count(self) -> int:
        """How many damaged ranges it passed over (`on_corruption="skip"`)."""
        return self._skipped.corrupt

    @property
    def stray_count(self) -> int:
        """How many user records the range rule left out (`deaggregate="strict"` or `"keep-in-range"`)."""
        return self._skipped.strays

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
            # The iterator first: a handler that asks for the position between the two finds nothing handed out, where
            # it would else find all of the batch.
            self._iterator = iter(batch)
            self._batch = batch
            if self._closed:
                batch.clear()
            return self._iterator

    @property
    def position(self) -> Position:
        """Where to go on after the last record handed out: a plain dict, for `read(start=...)` of the same stream."""
        self._check_fork()
        with self._lock:
            reached = self._reached()  # before the places: a handler may close the reader in between
            places = {**self._frontier.places(), **reached}
        return iterators.make_position(self._home.token, places)

    def _reached(self) -> dict[str, Place]:
        # How far the consumer has come within the batch that is out: the newest record handed out of each shard.
        left = length_hint(self._iterator)
        if self._batch and not left:
            return {record.shard_id: self._place_behind(record) for record in self._lasts}
        reached: dict[str, Place] = {}
        for index in range(len(self._batch) - left - 1, -1, -1):
            try:
                record = self._batch[index]
            except IndexError:
                return {}  # a handler closed the reader: it stored what was reached, and let go of the batch
            if record.shard_id not in reached:
                reached[record.shard_id] = self._place_behind(record)
                if len(reached) == len(self._lasts):
                    break
        return reached

    def _place_behind(self, record: Record) -> Place:
        place = Place(record.next_position, record.epoch)
        if not is_last(record):
            place = Place(record.position, record.epoch, record.sub_sequence_number + 1)
        return self._cursor_of(record.shard_id).reached(place)

    def _cursor_of(self, shard_id: str) -> Cursor:
        alone = self._frontier.alone  # most readers have one
        if alone is not None and alone.log.shard_id == shard_id:
            return alone
        return self._frontier.cursors[routing.shard_index(shard_id)]

    def _settle(self) -> None:
        # The batch that was out is done with: its end is where its shards stand now.
        if not self._batch and not self._frontier.is_draining:
            return  # nothing was: every look that found nothing comes by here
        with self._lock:
            self._store_reached()
            self._batch, self._lasts, self._iterator = [], [], iter(())
            self._frontier.forget_drained()

    def _store_reached(self) -> None:
        for shard_id, place in self._reached().items():
            self._cursor_of(shard_id).place = place

    def close(self) -> None:
        """End the iteration, here and in a thread that waits in it, at once. `position` stays valid."""
        with self._lock:
            if self._closed:
                return
            self._store_reached()
            self._closed = True
            self._batch.clear()  # ends the list iterator that a running loop holds
        if self._forked:
            return
        try:
            if (cursor := self._frontier.alone) is not None:
                cursor.log.wake()
            self._home.attachment.wake()
        except StreamStoreError:
            return  # a closed store waits for nobody

    def _after_fork(self) -> None:
        self._lock = threading.RLock()
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
                waited_from = 0 if self._endless else clock.monotonic_us()
                if self._is_at_tip():
                    self._settle()
                    self._wait(seen, waited_from)
            elif not self._wait(seen, waited_from):
                return

    def _is_at_tip(self) -> bool:
        """Was nothing left behind the batch that is out? Then the wait, however long, says more than another look."""
        if not self._endless or self._options.merge or self._closed or self._forked:
            return False
        return (alone := self._frontier.alone) is not None and alone.at_tip

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
        return None if not self._options.follow or self._frontier.is_over else batch

    @property
    def closed(self) -> bool:
        """Was `close` called?"""
        return self._closed

    def _tell_lost(self) -> None:
        """Shards that expired before they were read: an error, or a count, once for each."""
        while self._frontier.lost:
            index = self._frontier.lost.pop()
            shard_id = routing.shard_id(index)
            if not self._options.skip_trimmed:
                error = TrimmedError(f"{shard_id}: it expired before all of its records were read")
                error.shard_id, error.next_position = shard_id, self.position
                raise error
            self._skipped.past_expired(shard_id)

    def _advance(self) -> bool:
        with self._lock:
            started = self._frontier.advance()
        self._tell_lost()
        return started

    def _round_robin(self) -> list[Record]:
        alone = self._frontier.alone
        if alone is not None and not alone.ended and not self._frontier.lost:
            records = self._fetch(alone)
            self._lasts = records[-1:]
            if records or not alone.ended:
                return records
        while True:
            self._advance()
            for _ in range(len(active := self._frontier.active)):
                self._turn %= len(active)
                cursor = active[self._turn]
                self._turn += 1
                if records := self._fetch(cursor):
                    self._lasts = records[-1:]
                    return records
            if not any(cursor.ended for cursor in active):
                return []

    def _merged(self) -> list[Record]:
        """The records of all shards up to the newest arrival that nothing still to be fetched can come before."""
        # A shard that is fetched to its end lets its children in: theirs come no earlier than its own.
        while True:
            for cursor in self._frontier.active:
                if not cursor.pending and not cursor.ended:
                    cursor.pending = self._fetch(cursor)
            if not self._advance():
                break
        waiting = [cursor for cursor in self._frontier.cursors.values() if cursor.pending]
        waiting.sort(key=_index)
        parts = [cursor.pending for cursor in waiting]
        begins = [cursor.taken for cursor in waiting]
        if len(parts) == 1 and not begins[0]:
            batch, ends = parts[0], [len(parts[0])]
        else:
            # What has nothing more to show right now bounds nothing; what has may show arrivals from its last one on.
            grows = [not cursor.ended and cursor.has_more() for cursor in waiting]
            batch, _, ends = native.merge_records(parts, begins, grows)
        self._lasts = [part[end - 1] for part, begin, end in zip(parts, begins, ends, strict=True) if begin < end]
        for cursor, end in zip(waiting, ends, strict=True):
            cursor.take(end)
        return batch

    def _fetch(self, cursor: Cursor) -> list[Record]:
        return cursor.fetch(self._options, self._chunk_size, self._skipped, self._failure)

    def _failure(self, cursor: Cursor, place: Place, status: int, begin: int, end: int) -> StreamStoreError:
        error = self._home.read_failure(cursor.log, place, status, begin, end)
        if isinstance(error, (TrimmedError, CorruptRangeError)) and error.next_position is not None:
            # The place to go on, for the reader as a whole.
            error.next_position["shards"] = {**self.position["shards"], **error.next_position["shards"]}
        return error

    # --- waiting ----------------------------------------------------------------------------------------------------

    def _watch(self) -> int:
        return self._home.attachment.watch() if self._options.follow and self._frontier.alone is None else 0

    def time_left_us(self, waited_from: int) -> int:
        """How long a wait that began at `waited_from` (monotonic) may go on: -1 without limit, 0 when it is over."""
        if self._endless:
            return -1
        left = []
        if self._options.timeout_us >= 0:
            left.append(waited_from + self._options.timeout_us - clock.monotonic_us())
        if self._options.end_us >= 0:
            left.append(self._options.end_us - clock.now_us())
        return max(0, min(left)) if left else -1

    def wanted(self) -> list[tuple[native.Log, int]]:
        """What a wait is for: something visible beyond the position in one of these logs."""
        return [(cursor.log, cursor.place.position) for cursor in self._frontier.active]

    @property
    def is_stuck(self) -> bool:
        """Has a shard ended whose children are not known yet, so that no log will tell when to look again?"""
        return self._frontier.is_stuck

    def _wait(self, seen: int, waited_from: int) -> bool:
        """Wait for something to look at; False when the time is over."""
        left = self.time_left_us(waited_from)
        if left == 0:
            return False
        slice_us = limits.WAIT_SLICE_US if left < 0 else min(limits.WAIT_SLICE_US, left)
        try:
            if (alone := self._frontier.alone) is not None:
                changed = alone.log.wait(alone.place.position, slice_us)
            else:
                changed = self._home.attachment.wait(seen, slice_us)
                for cursor in self._frontier.active if not changed else ():
                    cursor.log.sync_orphan()
        except StreamStoreError as error:
            self._check_fork()
            if self._closed:
                return True
            raise self._home.explain(error) from None
        if not changed:
            self._home.check()
        return True
