"""One round of maintenance: the clock, the reserve, what is past retention, what a crash left half deleted.

Under a lock of the whole store, so that one process at a time does it; its death frees the lock, and every step can be
done again.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from streamstore import clock, limits, native, retention
from streamstore.catalog import Catalog
from streamstore.compacting import Turns
from streamstore.errors import ClosedError, StoreFullError, StreamNotFoundError, StreamStoreError
from streamstore.maintenance.trimming import Trimmed, Trimmer
from streamstore.stream import Stream
from streamstore.values import LogOptions

_log = logging.getLogger("streamstore")
_DYING = LogOptions("process", 0, 0, 0, 0, b"")


class Home(Protocol):
    """What maintenance asks of a store."""

    attachment: native.Attachment
    catalog: Catalog
    clock: retention.TrustedClock

    def stream_by_id(self, stream_id: int) -> Stream: ...
    def tidy_queues(self) -> list[str]: ...
    def finish_reshards(self) -> None: ...


@dataclass
class Report:
    """What one round did; bytes and microseconds."""

    busy: bool = False  # another process was at it: nothing was done
    paused: bool = False  # the wall clock jumped: nothing was trimmed
    jump_us: int = 0
    freed_bytes: int = 0
    rolled_segments: int = 0
    expired_shards: int = 0
    purged_streams: int = 0
    compacted_segments: int = 0
    compacted_log_bytes: int = 0
    compacted_file_bytes: int = 0
    shards_left: int = 0  # were not looked at for the first time yet; the next round goes on with them
    unfinished: bool = False  # more segments are due for compaction than there was time for
    took_us: int = 0
    problems: list[str] = field(default_factory=list)

    def to_map(self) -> dict[str, Any]:
        return asdict(self)


class Rounds:
    """The rounds that one process makes through one store. One thread at a time."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._stopped: Callable[[], bool] = bool
        self._trimmer = Trimmer(home.catalog, lambda: self._stopped())
        self._turns = Turns(lambda: self._stopped())
        self._deleting: dict[int, int] = {}  # since when this process sees a stream half deleted

    def run(
        self,
        stopped: Callable[[], bool] = bool,
        *,
        accept_clock: bool = False,
        compaction_s: float = float("inf"),
        looks: float = float("inf"),
    ) -> Report:
        """Make one round; `stopped` ends it early, no segment is begun after `compaction_s` seconds of compacting, and
        no more than `looks` shards are looked at that this process never looked at (`shards_left` then).

        What fails is in the report, and does not keep the rest from being done. Raises ClosedError, ReadOnlyError.
        """
        began = clock.monotonic_us()
        attachment = self._home.attachment
        report = Report()
        if accept_clock:
            attachment.accept_clock()
        hold = attachment.hold(limits.HOLD_MAINTENANCE)
        if hold is None:
            report.busy = True
            return report
        with hold:
            self._stopped = stopped
            self._trimmer.looks = looks
            self._look_at_clock(report)
            with suppress(StoreFullError):
                attachment.make_reserve()
            for step in (self._finish_reshards, self._trim, self._purge, self._tidy):
                self._attempt(report, step)
            report.shards_left = max(0, round(-self._trimmer.looks)) if looks < float("inf") else 0
            attachment.set_maintained(clock.now_us())
        # Not under that lock: it may take long, and what is past retention does not wait for it.
        self._attempt(report, lambda into: self._compact(into, compaction_s))
        report.took_us = clock.monotonic_us() - began
        return report

    @staticmethod
    def _attempt(report: Report, step: Callable[[Report], None]) -> None:
        try:
            step(report)
        except ClosedError:
            raise
        except StreamStoreError as error:
            report.problems.append(str(error))

    def _look_at_clock(self, report: Report) -> None:
        trusted = self._home.clock
        report.paused = trusted.look() != 0
        report.jump_us = trusted.jump()
        if report.paused and clock.is_synchronised():
            self._home.attachment.accept_clock()
            report.paused = trusted.look() != 0

    def _finish_reshards(self, report: Report) -> None:
        self._home.finish_reshards()

    def _trim(self, report: Report) -> None:
        if report.paused:
            return
        now_us = self._home.clock.now_us()
        for info in list(self._home.catalog.refresh().streams.values()):
            if self._stopped():
                return
            kept_us = retention.retention_us(info.retention_hours, info.retention_us)
            done = Trimmed()
            try:
                done = self._trimmer.trim(self._home.stream_by_id(info.id), info, now_us, kept_us)
            except StreamNotFoundError:
                self._trimmer.forget(info.id)
            except ClosedError:
                raise
            except StreamStoreError as error:
                report.problems.append(f"stream {info.name}: {error}")
            report.freed_bytes += done.bytes
            report.rolled_segments += done.rolled
            report.expired_shards += done.expired

    def _streams(self) -> Iterator[Stream]:
        for stream_id in list(self._home.catalog.refresh().keys):
            with suppress(StreamNotFoundError):  # deleted meanwhile
                stream = self._home.stream_by_id(stream_id)
                yield stream

    def _compact(self, report: Report, seconds: float) -> None:
        home = self._home
        done = self._turns.run(home.attachment, self._streams(), seconds)
        report.compacted_segments += done.segments
        report.compacted_log_bytes += done.log_bytes
        report.compacted_file_bytes += done.file_bytes
        report.unfinished |= done.unfinished
        report.problems += done.left_alone

    def _purge(self, report: Report) -> None:
        """Finish deletions whose process died: those that stand for longer than any takes."""
        state = self._home.catalog.refresh()
        now_us = clock.monotonic_us()
        self._deleting = {stream_id: self._deleting.get(stream_id, now_us) for stream_id in state.deleting}
        for stream_id, since_us in self._deleting.items():
            if now_us - since_us >= limits.PURGE_AFTER_US and not self._stopped():
                self.purge(stream_id)
                report.purged_streams += 1

    def _tidy(self, report: Report) -> None:
        """Have queues give back what was acknowledged."""
        if not self._stopped():
            report.problems += self._home.tidy_queues()

    def purge(self, stream_id: int) -> None:
        """Let nobody write to a deleted stream any more, and remove its files."""
        attachment, catalog = self._home.attachment, self._home.catalog
        epoch = max(catalog.refresh().epoch_floor, attachment.epoch_counter())
        for index in attachment.written_shards(stream_id):
            attachment.log(stream_id, index, f"stream {stream_id}", _DYING).retire()
        shutil.rmtree(attachment.stream_directory(stream_id), ignore_errors=True)
        catalog.purged(stream_id, epoch)
        self._trimmer.forget(stream_id)

    def every_us(self) -> int:
        """How often a round is worth while: once a minute, more often where records are kept for minutes or less."""
        kept = [
            retention.retention_us(info.retention_hours, info.retention_us)
            for info in self._home.catalog.refresh().streams.values()
        ]
        shortest = min((item for item in kept if item > 0), default=limits.MAINTENANCE_EVERY_US * 16)
        return max(50_000, min(shortest // 16, limits.MAINTENANCE_EVERY_US))
