"""Files whose records are past retention go, a segment at a time; slow shards get new segments in time for that.

Knows one stream at a time. What it saw of a log it remembers, so that a log at which nothing is due is not touched.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import NamedTuple

from streamstore import limits, native, trim
from streamstore.catalog import Catalog
from streamstore.errors import ShardClosedError, StoreFullError
from streamstore.events import StreamInfo
from streamstore.lineage import Node
from streamstore.retention import HOUR_US
from streamstore.stream import Stream
from streamstore.values import LogState

ROLL_AFTER_MAX_US = 24 * HOUR_US
ROLL_SHARE = 8
"""A segment is ended once its first record has lived for this part of its time."""
_LOOK_SIZE = 4096
_NEVER = 1 << 63


class Trimmed(NamedTuple):
    """What one look at a stream freed."""

    bytes: int = 0
    rolled: int = 0
    expired: int = 0


class _Seen(NamedTuple):
    """The log needs no look before the horizon passes `next_us`, or the time to roll `oldest_us` (0: any time)."""

    next_us: int
    oldest_us: int


class Trimmer:
    """Trims the streams of one store. One thread at a time; `stop` is asked between logs."""

    def __init__(self, catalog: Catalog, stop: Callable[[], bool]) -> None:
        self._catalog = catalog
        self._stop = stop
        self._seen: dict[tuple[int, int], _Seen] = {}
        self.looks = math.inf
        """How many logs that were never looked at may be looked at yet: a first look may recover one."""

    def trim(self, stream: Stream, info: StreamInfo, now_us: int, kept_us: int) -> Trimmed:
        """Drop what is past, by a time that is believed. Raises StreamNotFoundError, StoreFullError, StorageError."""
        if kept_us < 0:
            return Trimmed()
        horizon = max(0, now_us - kept_us)
        roll_before = now_us - min(kept_us // ROLL_SHARE, ROLL_AFTER_MAX_US)
        expired = self._expire(stream, info, horizon)
        due = []
        for index in stream.written():
            if self._stop():
                break
            if self._is_due(info, index, horizon, roll_before) and self._may_look(info.id, index):
                due.append(stream.log(index))
        freed = self._drop_past(stream, info, due, now_us, horizon)
        # Only then: a new segment takes a page, which on a full disk is there now.
        old = [log for log in due if self._roll_if_old(log, roll_before)]
        freed += self._drop_past(stream, info, old, now_us, horizon)
        return Trimmed(freed, len(old), expired)

    def _drop_past(
        self, stream: Stream, info: StreamInfo, logs: Iterable[native.Log], now_us: int, horizon: int
    ) -> int:
        """Drop what is past in these logs; returns the bytes freed."""
        starts, freed = {}, 0
        for log in logs:
            position, leftover = self._look(info.id, log, now_us, horizon)
            freed += leftover
            if position:
                starts[log.shard_index] = position
        return freed + trim.move_starts(self._catalog, info, stream.log, starts)

    def _is_due(self, info: StreamInfo, index: int, horizon: int, roll_before: int) -> bool:
        lineage = info.lineage
        if index not in lineage or lineage[index].expired:
            return False
        seen = self._seen.get((info.id, index))
        return seen is None or seen.next_us < horizon or seen.oldest_us < roll_before

    def _may_look(self, stream_id: int, index: int) -> bool:
        if (stream_id, index) in self._seen:
            return True
        self.looks -= 1
        return self.looks >= 0

    def _roll_if_old(self, log: native.Log, roll_before: int) -> bool:
        held = log.held()
        oldest = self._oldest(log, held)
        if not oldest or oldest >= roll_before or held.closed or self._stop():
            return False
        with suppress(StoreFullError, ShardClosedError):  # the next round tries again
            log.roll()
            return True
        return False

    @staticmethod
    def _oldest(log: native.Log, held: LogState) -> int:
        """When the first record of the active segment arrived; 0 where it has none."""
        if held.segment_base >= held.visible:
            return 0
        records = native.Log.fetch(log, held.segment_base, 0, 1, _LOOK_SIZE)[0]  # also where retention hides it
        return records[0].arrival_us if records else 0

    def _look(self, stream_id: int, log: native.Log, now_us: int, horizon: int) -> tuple[int, int]:
        """(where to trim, or 0; bytes freed of what an earlier trim left) of one log, which is seen from now on."""
        key, freed = (stream_id, log.shard_index), 0
        held, segments = log.held(), log.live_segments()
        if key not in self._seen and held.start > native.FIRST_POSITION:
            freed = log.trim(held.start)
        past = [segment.base for segment in segments[1:] if segment.floor_arrival_us < horizon]
        ahead = [segment.floor_arrival_us for segment in segments[1:] if segment.floor_arrival_us >= horizon]
        # What an empty active segment will hold comes later than now.
        oldest = _NEVER if held.closed else self._oldest(log, held) or now_us
        self._seen[key] = _Seen(min(ahead, default=_NEVER), oldest)
        return (past[-1] if past and past[-1] > held.start else 0), freed

    def _expire(self, stream: Stream, info: StreamInfo, horizon: int) -> int:
        """Closed shards of which nothing is kept leave the listings, then their files go."""
        lineage = info.lineage
        gone = [index for index, node in lineage.changed.items() if _is_past(node, horizon)]
        for at in range(0, len(gone), limits.TRIM_EVENT_SHARDS):
            self._catalog.publish("expire", info, shards=gone[at : at + limits.TRIM_EVENT_SHARDS])
        expired = {*gone, *(index for index, node in lineage.changed.items() if node.expired)}
        for index in expired.intersection(stream.written()) if expired else ():
            self._drop(stream, info.id, index)
        return len(gone)

    def _drop(self, stream: Stream, stream_id: int, index: int) -> None:
        """Remove the files of a shard whose records are gone by the catalog."""
        shutil.rmtree(os.path.join(stream.attachment.stream_directory(stream_id), str(index)), ignore_errors=True)
        self._seen.pop((stream_id, index), None)

    def forget(self, stream_id: int) -> None:
        """A stream is gone, or is to be looked at again as if for the first time."""
        for key in [key for key in self._seen if key[0] == stream_id]:
            del self._seen[key]


def _is_past(node: Node, horizon: int) -> bool:
    return node.closed is not None and not node.expired and node.closed.arrival_us < horizon
