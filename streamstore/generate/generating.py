"""Sending made-up records to a target when an arrival process says so, and what came of it."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import NamedTuple, Protocol

from streamstore import clock
from streamstore.errors import InvalidArgumentError
from streamstore.generate.arrivals import Arrivals, FlatOut
from streamstore.histogram import Histogram
from streamstore.targets import Target
from streamstore.values import PutEntry

BATCH_MAX = 500
BATCH_SIZE_MAX = 4 << 20
_WAIT_MAX_S = 0.5


class Source(Protocol):
    """What makes records: a Template, a Filler, a scenario, or your own."""

    def make(self, moment_us: int) -> PutEntry:
        """The next record, of that moment (microseconds since 1970)."""


class Generated(NamedTuple):
    """What a run did: `late_us` has, for each record that had its moment, how much later it was taken."""

    records: int
    bytes: int
    seconds: float
    late_us: Histogram
    stopped: bool


Progress = Callable[[int, int], None]


class Generator:
    """Makes records by `source` and sends them to `target`; `run` does it, `stop` (any thread) ends it early.

    `arrivals` says when (default: all at once), up to `count` records and `duration` seconds of their time; one of the
    two must be given. With `start` time is simulated: records carry their moment as event time from `start` on and
    are sent as fast as the target takes them; without, they go at their moment and carry no event time, but for
    `stamped`. The same `seed` gives the same arrival times. Raises InvalidArgumentError.
    """

    def __init__(
        self,
        source: Source,
        target: Target,
        *,
        arrivals: Arrivals | None = None,
        count: int | None = None,
        duration: float | None = None,
        start: datetime | None = None,
        stamped: bool = False,
        seed: int | None = None,
    ) -> None:
        if count is None and duration is None:
            raise InvalidArgumentError("count or duration says when it is enough; give one")
        if (count is not None and count < 0) or (duration is not None and not 0 <= duration < float("inf")):
            raise InvalidArgumentError("count and duration are at least 0")
        if start is not None and start.tzinfo is None:
            raise InvalidArgumentError("start wants a time zone: an aware datetime")
        self._arrivals = FlatOut() if arrivals is None else arrivals
        self._flat_out = isinstance(self._arrivals, FlatOut)
        if self._flat_out and duration is not None and start is not None:
            raise InvalidArgumentError("flat out no time passes by itself: a simulated run wants arrivals")
        self._source, self._target = source, target
        self._count, self._duration = count, duration
        self._start, self._stamped = start, stamped or start is not None
        self._chance = random.Random(seed)
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End the run behind the batch that is being sent."""
        self._stopped.set()

    def run(self, progress: Progress | None = None) -> Generated:
        """Send it all; `progress` hears (records, bytes) so far after each batch.

        Raises what the target raises. KeyboardInterrupt goes through; what was sent is with the target.
        """
        late, sent, size = Histogram(), 0, 0
        began = time.monotonic()
        for batch, due in self._batches(began):
            self._target.send(batch)
            done = time.monotonic() - began
            if self._start is None and not self._flat_out:
                late.add_all(int((done - offset) * 1e6) for offset in due)
            sent += len(batch)
            size += sum(len(entry.data) for entry in batch)
            if progress is not None:
                progress(sent, size)
        return Generated(sent, size, time.monotonic() - began, late, self._stopped.is_set())

    def _batches(self, began: float) -> Iterator[tuple[list[PutEntry], list[float]]]:
        """Records that are due, and their offsets; a batch ends where one would have to be waited for."""
        simulated = self._start is not None
        origin = self._start or clock.to_datetime(clock.now_us()).astimezone()
        origin_us = clock.to_us(origin)
        batch: list[PutEntry] = []
        due: list[float] = []
        size = 0
        for offset in self._offsets(origin, began):
            early = not simulated and offset > time.monotonic() - began
            if batch and (early or len(batch) == BATCH_MAX or size >= BATCH_SIZE_MAX):
                yield batch, due
                batch, due, size = [], [], 0
            if (not simulated and not self._wait(began + offset)) or self._stopped.is_set():
                break
            entry = self._make(origin_us, offset)
            batch.append(entry)
            due.append(offset)
            size += len(entry.data)
        if batch:
            yield batch, due

    def _make(self, origin_us: int, offset: float) -> PutEntry:
        moment_us = clock.now_us() if self._flat_out and self._start is None else origin_us + int(offset * 1e6)
        entry = self._source.make(moment_us)
        if self._stamped and entry.event_time is None:
            return entry._replace(event_time=clock.to_datetime(moment_us))
        return entry

    def _offsets(self, origin: datetime, began: float) -> Iterator[float]:
        for number, offset in enumerate(self._arrivals.offsets(self._chance, origin)):
            if self._count is not None and number >= self._count:
                return
            passed = time.monotonic() - began if self._flat_out else offset
            if self._duration is not None and passed >= self._duration:
                return
            yield offset

    def _wait(self, until: float) -> bool:
        """Sleep until a moment of the monotonic clock; False where the run was stopped meanwhile."""
        while (left := until - time.monotonic()) > 0:
            if self._stopped.wait(min(left, _WAIT_MAX_S)):
                return False
        return True


def preview(source: Source, count: int = 5, *, start: datetime | None = None) -> list[PutEntry]:
    """The first records of a source, a second apart from `start` (default: now); nothing is sent."""
    first_us = clock.now_us() if start is None else clock.to_us(start)
    return [source.make(first_us + number * 1_000_000) for number in range(count)]
