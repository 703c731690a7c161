"""A receive under way: asks a queue for records or dead-letter records until there are some, or its time is over.

Knows no socket and no event loop.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from streamstore import Record, StreamStoreError, clock, limits, native
from streamstore.kinesis import errors, handles
from streamstore.kinesis.handles import Handle
from streamstore.kinesis.json_codec import JsonCodec
from streamstore.kinesis.operations import OPERATIONS
from streamstore.kinesis.values import Moment
from streamstore.kinesis.waiting import Waiting
from streamstore.queue import dead, each
from streamstore.queue.engine import Receipt
from streamstore.queue.state import position_of, shard_of
from streamstore.queue.turns import Turns

if TYPE_CHECKING:
    from streamstore.kinesis.call import Call
    from streamstore.kinesis.queue_lookup import Found

NOBODY = 0
"""The owner of what is received through the API: whoever holds it may outlive this process, so that only time takes
it away."""
_DEAD_LOOK_S = 0.2


class Receiving(Waiting):
    """One receive; a door drives it, in one thread or task at a time. `kind` is that of the handles it gives."""

    def __init__(self, call: Call, found: Found, kind: int, limit: int, wait_s: int, visibility_us: int | None) -> None:
        self._call = call
        self._found = found
        self._engine = found.engine(call)
        self._kind = kind
        self._limit = limit
        self._visibility_us = visibility_us
        self._until_us = clock.monotonic_us() + wait_s * limits.MICROSECONDS
        self._taken: list[Receipt] = []
        self.codec = JsonCodec()
        self.wanted = []
        self.pause_s = 0.0

    @property
    def key(self) -> tuple[int, int]:
        return self._found.info.id, self._kind

    def seconds_left(self) -> float:
        return max(0.0, (self._until_us - clock.monotonic_us()) / limits.MICROSECONDS)

    def poll(self) -> dict[str, Any] | None:
        call = self._call
        try:
            self._found.inner.check()
            records = self._look()
            if not records and self.seconds_left():
                # Before the second look, so that what comes behind it is news.
                self.wanted, self.pause_s = self._awaited()
                records = self._look()
                if not records:
                    return None
        except StreamStoreError as error:
            raise errors.from_store(error, OPERATIONS[call.operation].errors) from error
        if call.service.faults is not None:
            call.service.faults.after(call)
        return {"QueueRecords": records}

    def end(self) -> None:
        self._until_us = 0

    def give_back(self) -> None:
        extend = each.extend if self._kind == handles.LIVE else each.extend_dead
        with suppress(StreamStoreError):  # closed, deleted: the visibility ends by itself
            extend(self._engine, self._taken, [0] * len(self._taken))

    def _awaited(self) -> tuple[list[tuple[native.Log, int]], float]:
        return self._engine.awaited() if self._kind == handles.LIVE else ([], _DEAD_LOOK_S)

    def _look(self) -> list[dict[str, Any]]:
        engine = self._engine
        # The queue's own as it is now: it may have been changed since the wait began.
        us = engine.settings.visibility_us if self._visibility_us is None else self._visibility_us
        if self._kind == handles.LIVE:
            taken = engine.receive(self._limit, us, NOBODY)
        else:
            letters = dead.receive(engine, self._limit, us)
            taken = [
                (record, name, letter.number, letter.receives, letter.first_us) for name, letter, record in letters
            ]
        self._taken = [(name, number) for _, name, number, _, _ in taken]
        return [self._shown(*item) for item in taken]

    def _shown(self, record: Record, name: int, number: int, receives: int, first_us: int) -> dict[str, Any]:
        boot = 0 if self._engine.syncs else handles.boot_tag(self._engine.journal.state.boot)
        handle = Handle(self._kind, self._found.info.id, shard_of(name), position_of(name), number, boot)
        shown = {
            "ReceiptHandle": handles.encode(self._call.service.key, handle),
            "RecordId": record.sequence_number,
            "Data": record.data,
            "ApproximateArrivalTimestamp": Moment(record.arrival_us // 1000),
            "FirstReceiveTimestamp": Moment(first_us // 1000),
            "ReceiveCount": receives,
        }
        return shown if record.partition_key is None else {**shown, "PartitionKey": record.partition_key}

    # --- waiting in a thread ----------------------------------------------------------------------------------------

    @contextmanager
    def turn(self) -> Iterator[None]:
        live = self._kind == handles.LIVE
        turns = self._engine.part("turns" if live else "dead turns", Turns)
        held = turns.acquire(self.seconds_left())
        try:
            yield
        finally:
            if held:
                turns.release()

    def watch(self) -> int:
        return self._engine.watch()

    def block(self, seen: int) -> None:
        left_s = self.seconds_left()
        if self._kind == handles.LIVE:
            self._engine.wait(seen, round(left_s * limits.MICROSECONDS))
        else:
            time.sleep(min(left_s, _DEAD_LOOK_S))
