"""Compaction: sealed segments become blocks of LZ4, small ones are joined; positions and numbers stay what they were.

Which segments are due is a pure function of what a log lists. One log at a time, under a lock of the whole store that
its caller holds; slow on purpose, so that writers do not feel it. Knows logs, not streams.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

import lz4.block

from streamstore import limits, native
from streamstore.errors import (
    CorruptRangeError,
    FormatVersionError,
    InvalidArgumentError,
    KeyUnavailableError,
    RecordTooLargeError,
)
from streamstore.native import Block, Packing, Seal, SegmentsGoneError
from streamstore.values import Segment

_log = logging.getLogger("streamstore")
_PACK_BLOCKS = 8  # in one call of C, so that the interpreter's lock changes hands that seldom
_VERIFY_BLOCKS = 32
_VERIFY_CHEAPER = 4  # than compressing
_SLEEP_MAX = 0.05
# Why a segment stays as it is: it is damaged, too large in one record, encrypted under a key that is not here.
_LEAVE_ALONE = (CorruptRangeError, RecordTooLargeError, KeyUnavailableError, FormatVersionError)


class Sealer(Protocol):
    """Who knows a stream's keys."""

    def open_frames(self, raw: memoryview) -> None:
        """Decrypt in place each encrypted frame of a block. Raises KeyUnavailableError."""

    @property
    def key_id(self) -> int:
        """The key that blocks are encrypted with."""

    def seal(self, key_id: int, plain: bytes, associated: bytes) -> tuple[bytes, bytes, bytes]:
        """(nonce, tag, what `plain` is encrypted to, of the same size)."""


@dataclass
class Compacted:
    """What a compaction did; sizes in bytes, `left_alone` in words."""

    segments: int = 0
    files: int = 0
    log_bytes: int = 0
    file_bytes: int = 0
    left_alone: list[str] = field(default_factory=list)
    unfinished: bool = False  # it was told to end before all that was due was done

    def add(self, other: Compacted) -> None:
        """Take in what another run did."""
        self.segments += other.segments
        self.files += other.files
        self.log_bytes += other.log_bytes
        self.file_bytes += other.file_bytes
        self.left_alone += other.left_alone
        self.unfinished |= other.unfinished

    @property
    def ratio(self) -> float:
        """How many bytes of the log a byte on disk holds now."""
        return self.log_bytes / self.file_bytes if self.file_bytes else 1.0


def due(
    segments: Sequence[Segment],
    *,
    durable: int,
    start: int,
    now_us: int,
    after_us: int,
    size_max: int,
    left_alone: frozenset[int] | set[int] = frozenset(),
) -> list[list[Segment]]:
    """The runs of segments that shall become one file each, in order.

    A segment is due `after_us` after it was sealed, which is when the next one was made; never where that is below 0.
    Neighbours are joined up to `size_max`. One that is compacted already joins only what is as large as itself, so
    that a byte is rewritten a few times at most however small the segments come. `left_alone` holds salts.
    """
    if after_us < 0:
        return []
    live = [segment for segment in segments if segment.live]
    runs: list[list[Segment]] = []
    run: list[Segment] = []
    for segment, following in pairwise(live):
        usable = (
            segment.end <= durable
            and segment.end > start
            and now_us - following.created_us >= after_us
            and segment.salt not in left_alone
        )
        if run and (not usable or _size([*run, segment]) > size_max or _records(run[0], following) > _RECORDS_MAX):
            runs.append(run)
            run = []
        if usable:
            run.append(segment)
    runs.append(run)
    return [worth for run in runs if (worth := _worth(run))]


_RECORDS_MAX = limits.COMPACTED_RECORDS_MAX


def _size(run: Sequence[Segment]) -> int:
    return run[-1].end - run[0].base if run else 0


def _records(first: Segment, following: Segment) -> int:
    return following.base_ordinal - first.base_ordinal


def _worth(run: list[Segment]) -> list[Segment]:
    """The part of a run that is worth its rewriting: without compacted segments larger than all behind them."""
    begin = 0
    for index, segment in enumerate(run):
        if segment.packed and _size([segment]) > _size(run[index + 1 :]):
            begin = index + 1
    return run[begin:]


class Pace:
    """Sleeps so that no more than `rate` bytes a second go by (0: as fast as it goes); ends early when stopped."""

    def __init__(self, rate: int, stopped: Callable[[], bool]) -> None:
        self._rate = rate
        self._began = time.monotonic()
        self._bytes = 0
        self.stopped = stopped

    def went(self, size: int) -> bool:
        """Account for `size` bytes; False where it is to end."""
        self._bytes += size
        while not self.stopped():
            ahead = self._bytes / self._rate - (time.monotonic() - self._began) if self._rate else 0.0
            if ahead <= 0:
                return True
            time.sleep(min(ahead, _SLEEP_MAX))
        return False


class Compactor:
    """Compacts logs one after another and remembers what it had to leave alone. One thread at a time."""

    def __init__(self, rate: int = limits.COMPACTION_RATE, stopped: Callable[[], bool] = bool) -> None:
        self.rate = rate
        self.stopped = stopped
        self._left_alone: set[int] = set()

    def compact(
        self,
        log: native.Log,
        *,
        now_us: int,
        after_us: int,
        size_max: int,
        sealer: Sealer | None = None,
        progress: Callable[[int], None] = lambda size: None,
        until: float = float("inf"),
    ) -> Compacted:
        """Compact what is due of one log; `progress` is told of bytes of the log as they are done. Nothing is begun
        after `until`, in monotonic seconds.

        Damaged segments, and encrypted ones without their key, are left as they are and told of once. Raises
        StoreFullError, StorageError, ClosedError; nothing has changed then.
        """
        done = Compacted()
        log.clean_packs()  # each time: another process may have died over it since
        state = log.state()
        runs = due(
            log.segments(),
            durable=state.durable,
            start=state.start,
            now_us=now_us,
            after_us=after_us,
            size_max=size_max,
            left_alone=self._left_alone,
        )
        work = deque(runs)
        while work:
            if self.stopped() or time.monotonic() >= until:
                done.unfinished = True
                break
            run = work.popleft()
            try:
                self._compact_run(log, run, sealer, progress, done)
            except SegmentsGoneError:
                continue  # trimmed, or their shard expired, under our hands: nothing is left to compact
            except _LEAVE_ALONE as error:
                if len(run) > 1:  # which of them it was is seen when each goes by itself
                    work.extendleft([segment] for segment in reversed(run))
                else:
                    self._leave_alone(log, run[0], error, done)
        return done

    def _leave_alone(self, log: native.Log, segment: Segment, error: Exception, done: Compacted) -> None:
        """Not again by this process: the same bytes would be read for the same answer."""
        self._left_alone.add(segment.salt)
        text = f"{log.shard_id}: segment {segment.ordinal} is not compacted: {error}"
        done.left_alone.append(text)
        _log.warning("%s", text)

    def _compact_run(
        self,
        log: native.Log,
        run: Sequence[Segment],
        sealer: Sealer | None,
        progress: Callable[[int], None],
        done: Compacted,
    ) -> None:
        pace = Pace(self.rate, self.stopped)
        try:
            begun = log.pack(run[0].ordinal, run[-1].ordinal)
        except InvalidArgumentError:
            return  # part of it was trimmed since it was listed; what is left is listed anew the next time
        with begun as packing:
            if not self._write(packing, pace, sealer, progress):
                return
            left = packing.finish(0)
            while left:
                before, left = left, packing.finish(_VERIFY_BLOCKS)
                if not pace.went((before - left) * limits.COMPACTION_BLOCK_SIZE // _VERIFY_CHEAPER):
                    return
            log_bytes, file_bytes = packing.progress()
            packing.commit()
            done.segments += len(run)
            done.files += 1
            done.log_bytes += log_bytes
            done.file_bytes += file_bytes

    @staticmethod
    def _write(packing: Packing, pace: Pace, sealer: Sealer | None, progress: Callable[[int], None]) -> bool:
        """All blocks through; False where it was stopped."""
        done, full = 0, True
        while full:
            full = packing.pack(_PACK_BLOCKS) == _PACK_BLOCKS
            before, done = done, packing.progress()[0]
            progress(done - before)
            if not pace.went(done - before):
                return False
        for blocks in packing.blocks():  # what is encrypted, from the first such block on
            for block in blocks:
                store(packing, block, sealer)
                progress(len(block.raw))
                if not pace.went(len(block.raw)):
                    return False
        return True


def store(packing: Packing, block: Block, sealer: Sealer | None) -> None:
    """Compress one block and write it; encrypted, where its frames were. Raises KeyUnavailableError."""
    encrypted = block.sealed or block.opened
    if encrypted and sealer is None:
        raise KeyUnavailableError("its records are encrypted, and their key is not here")
    if block.sealed and sealer is not None:
        sealer.open_frames(block.raw)
    # An encrypted block is shuffled bytes: whether it shrank is said before it is sealed.
    packed = lz4.block.compress(block.raw, store_size=False)
    compressed = len(packed) < len(block.raw)
    stored = packed if compressed else block.raw
    if not encrypted or sealer is None:
        packing.put(block, stored, compressed=compressed)
        return
    key_id = sealer.key_id
    associated = packing.associated(block, stored, compressed=compressed, key_id=key_id)
    nonce, tag, box = sealer.seal(key_id, bytes(stored), associated)
    packing.put(block, box, compressed=compressed, seal=Seal(key_id, nonce, tag))


def frames(raw: memoryview) -> Iterator[memoryview]:
    """The frames of a block, one after another."""
    at = 0
    while at < len(raw):
        size = int.from_bytes(raw[at + 4 : at + 8], "little")
        yield raw[at : at + size]
        at += size
