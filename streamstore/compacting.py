"""Compacting a stream: its setting, one run over its shards now, and the turns that maintenance takes over all streams.

One process does it at a time, under a lock of the whole store that its death frees. Knows streams by what they have:
logs and a setting.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Protocol

from streamstore import clock, limits, native, settings
from streamstore.catalog import Catalog
from streamstore.compaction import Compacted, Compactor, Sealer
from streamstore.errors import ReadOnlyError, StreamNotFoundError
from streamstore.events import StreamInfo

_SECOND_US = 1_000_000


class Streamlike(Protocol):
    """What a stream must have to be compacted."""

    attachment: native.Attachment

    @property
    def info(self) -> StreamInfo: ...
    @property
    def catalog(self) -> Catalog: ...
    def check(self) -> StreamInfo: ...
    def log(self, index: int) -> native.Log: ...
    def written(self) -> list[int]: ...
    def sealer(self, log: native.Log) -> Sealer | None: ...


class Compacting:
    """The part of a Stream that compacts it."""

    def compact(
        self: Streamlike,
        *,
        after: float = 0.0,
        rate: int | None = None,
        progress: Callable[[int], None] = lambda size: None,
    ) -> Compacted:
        """Turn sealed segments into compressed ones now: all that were sealed at least `after` seconds ago.

        Positions, numbers and every read stay the same; what is being written to stays as it is (see `roll`). `rate` is
        in bytes of the log a second (0: as fast as it goes; 32 MiB where None), `progress` is told of bytes as they are
        done. Waits while another process compacts, and syncs what is published. What is damaged, or encrypted without
        its key, is left alone and told of in the result. Each file is durable before what it replaces is removed.
        Raises ReadOnlyError, StoreFullError, StorageError where the sync failed, StreamNotFoundError, ClosedError.
        """
        if self.attachment.read_only:
            raise ReadOnlyError(f"{self.attachment.path} is open read-only")
        compactor = Compactor(limits.COMPACTION_RATE if rate is None else rate, lambda: self.attachment.closed)
        with self.attachment.hold(limits.HOLD_COMPACTION, wait=True) or nullcontext():
            return compact_stream(self, compactor, round(after * _SECOND_US), progress, sync=True)

    def set_compaction(self: Streamlike, after: float | None) -> None:
        """Compact segments from `after` seconds on after they were sealed (the default is an hour), or never (None).

        Durable at return; what is compacted already stays so. Raises InvalidArgumentError, InvalidTypeError,
        ReadOnlyError, StreamNotFoundError.
        """
        if self.attachment.read_only:
            raise ReadOnlyError(f"{self.attachment.path} is open read-only")
        self.catalog.publish("alter", self.info, set={"compact_after_us": settings.compact_after_us(after)})

    @property
    def compact_after(self: Streamlike) -> float | None:
        """Seconds after which a sealed segment is compacted; None for never."""
        after_us = self.check().compact_after_us
        return None if after_us < 0 else after_us / _SECOND_US


def compact_stream(
    stream: Streamlike,
    compactor: Compactor,
    after_us: int,
    progress: Callable[[int], None] = lambda size: None,
    until: float = float("inf"),
    sync: bool = False,
) -> Compacted:
    """Compact what is due of one stream, beginning nothing after `until` (monotonic seconds); the caller holds the
    store's lock for it. Only what is durable is due: `sync` makes it so, where nobody would wait for the flusher.
    """
    info, done = stream.info, Compacted()
    for index in stream.written():
        if compactor.stopped():
            break
        if not worth_a_look(os.path.join(stream.attachment.stream_directory(info.id), str(index))):
            continue
        log = stream.log(index)
        if sync:
            log.sync()
        found = compactor.compact(
            log,
            now_us=clock.now_us(),
            after_us=after_us,
            size_max=info.segment_size or limits.SEGMENT_SIZE_DEFAULT,
            sealer=stream.sealer(log),
            progress=progress,
            until=until,
        )
        done.add(found)
    return done


def worth_a_look(directory: str) -> bool:
    """Whether a shard has more than the one segment that is written to: then its log need not even be recovered."""
    try:
        return len(os.listdir(directory)) > 1
    except FileNotFoundError:
        return False


class Turns:
    """The turns of maintenance: all streams, one after another, as long as it has time. One thread at a time."""

    def __init__(self, stopped: Callable[[], bool]) -> None:
        self._compactor = Compactor(limits.COMPACTION_RATE, stopped)

    def run(self, attachment: native.Attachment, streams: Iterable[Streamlike], seconds: float) -> Compacted:
        """Compact what is due, beginning nothing new after `seconds` (`unfinished` then); nothing where another
        process is at it, or the store was opened read-only.
        """
        done, until = Compacted(), time.monotonic() + seconds
        hold = None if attachment.read_only else attachment.hold(limits.HOLD_COMPACTION)
        if hold is None:
            return done
        with hold:
            for stream in streams:
                if self._compactor.stopped():
                    break
                try:
                    after_us = stream.check().compact_after_us
                    if after_us >= 0:
                        done.add(compact_stream(stream, self._compactor, after_us, until=until))
                except StreamNotFoundError:
                    continue  # deleted meanwhile
        return done
