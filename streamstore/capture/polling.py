"""Shards read by GetRecords: a few threads take turns at many shards, each shard at its own interval."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Sequence
from typing import Any

from streamstore.capture.kinesis import KinesisSource
from streamstore.capture.shards import Shard

THREADS = 8
LIMIT = 10_000
# Between two reads of a shard that has nothing more, in seconds; the service allows five a second.
INTERVAL = 1.0
INTERVAL_BEHIND = 0.2
CLOCKS_APART_MAX = 300.0
PAUSE_FIRST = 0.2
PAUSE_MAX = 10.0
LASTING = {"ResourceNotFoundException", "AccessDeniedException", "InvalidArgumentException", "ValidationException"}


class Polling:
    """Reads shards in turn. `interval` is what passes between two reads of one; a shard that is behind is read at once,
    or as soon as the service lets it.
    """

    def __init__(self, source: KinesisSource, *, interval: float = INTERVAL, behind: float = INTERVAL_BEHIND) -> None:
        self._source = source
        self._interval, self._interval_behind = interval, behind
        self._due: list[tuple[float, int, Shard, str | None, float]] = []
        self._count = itertools.count()
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._follow = True

    def start(self, shards: Sequence[Shard], *, follow: bool) -> None:
        self._follow = follow
        for shard in shards:
            self._again(0.0, shard, None, PAUSE_FIRST)
            if len(self._threads) < THREADS:
                thread = threading.Thread(target=self._work, name="streamstore-capture", daemon=True)
                self._threads.append(thread)
                thread.start()

    def _again(self, delay: float, shard: Shard, iterator: str | None, pause: float) -> None:
        with self._changed:
            heapq.heappush(self._due, (time.monotonic() + delay, next(self._count), shard, iterator, pause))
            self._changed.notify()

    def _work(self) -> None:
        while not self._source.stopped.is_set():
            with self._changed:
                now = time.monotonic()
                if not self._due or self._due[0][0] > now:
                    self._changed.wait(min(0.3, self._due[0][0] - now) if self._due else 0.3)
                    continue
                _, _, shard, iterator, pause = heapq.heappop(self._due)
            try:
                self._read(shard, iterator, pause)
            except Exception as failure:
                self._source.fail(shard, failure)

    def _read(self, shard: Shard, iterator: str | None, pause: float) -> None:
        source = self._source
        was_closed = shard.is_closed
        try:
            if iterator is None:
                found = source.client.get_shard_iterator(**source.named, ShardId=shard.id, **shard.iterator())
                iterator = found["ShardIterator"]
            answer = source.client.get_records(ShardIterator=iterator, Limit=LIMIT)
        except Exception as error:
            self._retry(error, shard, iterator, pause)
            return
        records, following = answer["Records"], answer.get("NextShardIterator")
        shard.behind_ms = behind = answer.get("MillisBehindLatest") or 0
        at_tip = not records and not behind
        # Not every emulator ends the iterators of a closed shard: it has ended where it was closed before this read.
        ended = following is None or (at_tip and was_closed)
        source.give(shard, records, ended=ended)
        if at_tip and not ended and not self._follow and not shard.is_closed:
            shard.is_at_tip = True
        elif not ended:
            self._again(self._interval_behind if records or behind else self._interval, shard, following, PAUSE_FIRST)

    def _retry(self, error: Exception, shard: Shard, iterator: str | None, pause: float) -> None:
        """What passes is tried again; an iterator that expired is asked for anew; what lasts is raised."""
        code = error_code(error)
        if code == "ExpiredIteratorException" and iterator is not None:
            self._again(0.0, shard, None, pause)
        elif code is None or (code in LASTING and not _is_early(code, shard, iterator)):
            raise error
        else:
            self._source.retries += 1
            self._again(pause, shard, iterator, min(pause * 2, PAUSE_MAX))

    def close(self) -> None:
        with self._changed:
            self._changed.notify_all()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()
        self._threads.clear()


def _is_early(code: str, shard: Shard, iterator: str | None) -> bool:
    """Was a time asked for that has not come yet by the clock of the service, which may be behind ours?"""
    if code != "InvalidArgumentException" or iterator is not None:
        return False
    return abs(float(shard.iterator().get("Timestamp", 0)) - time.time()) < CLOCKS_APART_MAX


def error_code(error: Exception) -> str | None:
    """The service's name of an error, "connection" where it was not reached; None for what is no error of either."""
    response: Any = getattr(error, "response", None)
    if response is not None:
        return str(response["Error"]["Code"])
    from botocore import exceptions

    passing = (exceptions.ConnectionError, exceptions.HTTPClientError)
    return "connection" if isinstance(error, passing) else None
