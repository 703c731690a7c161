"""One log's files against their checks: damaged ranges of frames, hidden and foreign segments, broken indexes.

Knows one log and its directory; reads only.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from itertools import zip_longest
from typing import Any, NamedTuple

from streamstore import native
from streamstore.backup import layout
from streamstore.limits import READ_CHUNK_SIZE
from streamstore.values import LogState, Segment

Damage = dict[str, Any]
"""One finding as a plain dict: `kind`, `stream`, `shard_id`, `path`, and for ranges of positions what is hit."""

_INDEX_MAGIC = b"SSIDX\x1a\x0d\x0a"
_INDEX_FIRST, _INDEX_ENTRY_SIZE = 40, 24
_INDEX_SIZE_MAX = 48 + 24 * ((3 << 30) // 65536 + 2)
_RANGE = ("begin", "end", "first_sequence_number", "last_sequence_number", "records_before", "records_lost")


class Part(NamedTuple):
    """What one segment holds of a log, the epoch there, and how many records come before its end; None if unknown."""

    begin: int
    end: int
    epoch: int
    ordinal: int
    records_until: int | None


class LogFiles(NamedTuple):
    """A log, what its stream is called, and where its files lie."""

    name: str
    log: native.Log
    directory: str

    def path(self, ordinal: int) -> str:
        return os.path.join(self.directory, f"{ordinal:012d}.seg")


def finding(kind: str, name: str, shard_id: str | None, path: str | None, **facts: Any) -> Damage:
    """A finding with every key there is, so that all look alike."""
    known = {"segment": 0, "file_offset": 0, "bytes": 0, "message": "", **dict.fromkeys(_RANGE)}
    return {"kind": kind, "stream": name, "shard_id": shard_id, "path": path, **known, **facts}


def parts(state: LogState, live: list[Segment]) -> list[Part]:
    """The stretches of a log by segment."""
    # Behind the last segment nothing says how many records there should be.
    until: list[int | None] = [*[segment.base_ordinal for segment in live[1:]], None][: len(live)]
    found = [
        Part(max(segment.base, state.start), min(segment.end, state.visible), segment.epoch, segment.ordinal, records)
        for segment, records in zip(live, until, strict=True)
    ]
    return [part for part in found if part.begin < part.end]


def missing(files: LogFiles, state: LogState, live: list[Segment]) -> Iterator[Damage]:
    """The range between the trim horizon and the first segment, which no part covers."""
    first = min(live[0].base if live else state.visible, state.visible)
    if state.start >= first:
        return
    index = files.log.shard_index
    before, after = files.log.epochs_around(state.start, first)
    yield finding(
        "missing",
        files.name,
        files.log.shard_id,
        files.directory,
        begin=state.start,
        end=first,
        bytes=first - state.start,
        first_sequence_number=native.sequence_number(before, state.start, index),
        last_sequence_number=native.sequence_number(after, first - 8, index),
        message="no segment holds this range",
    )


def check_part(files: LogFiles, part: Part) -> tuple[list[Damage], dict[str, int]]:
    """Check every frame of one part: (damaged ranges, totals)."""
    with suppress(OSError):
        _read_ahead(files.path(part.ordinal))
    found, counted = files.log.verify(part.begin, part.end)
    return [_describe(files, part, each) for each in found], counted


def _read_ahead(path: str) -> None:
    """Have the kernel read the whole file at once: the checks then wait for no single read."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_WILLNEED)
    finally:
        os.close(handle)


def _describe(files: LogFiles, part: Part, damage: dict[str, int]) -> Damage:
    """One damaged range: bytes, file, and the lowest and highest sequence number that may be lost in it."""
    after = damage["next_ordinal"] - 1 if damage["next_ordinal"] else part.records_until
    before_epoch, after_epoch = files.log.epochs_around(damage["begin"], damage["end"])
    index, ordinal = files.log.shard_index, damage["segment_ordinal"]
    return finding(
        "frames" if ordinal else "missing",
        files.name,
        files.log.shard_id,
        files.path(ordinal) if ordinal else files.directory,
        begin=damage["begin"],
        end=damage["end"],
        bytes=damage["end"] - damage["begin"],
        segment=ordinal,
        file_offset=damage["file_offset"],
        first_sequence_number=native.sequence_number(before_epoch, damage["begin"], index),
        last_sequence_number=native.sequence_number(after_epoch, max(damage["begin"], damage["end"] - 8), index),
        records_before=damage["first_ordinal"],
        records_lost=None if after is None else max(after - damage["first_ordinal"], 0),
    )


def header_damage(files: LogFiles, store_id: bytes, stream_id: int) -> Iterator[Damage]:
    """Segments whose header is damaged, so that the log reads as if they were not there, or is of another place.

    A header that was being written when the power went is none of them: of it some sectors are still zero, or all that
    would stand behind it is. Where no other header holds only the latter counts: what stands behind one was stored
    when it was durable, or is a copy of what another still has.
    """
    names = sorted(os.listdir(files.directory)) if os.path.isdir(files.directory) else []
    alone = not any(_holds(os.path.join(files.directory, name)) for name in names if segment_ordinal(name))
    for name in names:
        ordinal = segment_ordinal(name)
        path = os.path.join(files.directory, name)
        if not ordinal or os.path.islink(path):
            continue
        with open(path, "rb") as file:
            raw = file.read(layout.HEADER_SIZE)
            state = layout.header_state(raw)
            if state == layout.ABSENT and alone and len(raw) == layout.HEADER_SIZE:
                state = layout.DAMAGED
            if state == layout.DAMAGED and not any(map(any, iter(lambda: file.read(READ_CHUNK_SIZE), b""))):
                continue  # zeros alone follow: torn within a sector, or damaged with nothing to hide
        if state == layout.VALID:
            header = layout.parse_header(raw)
            place = (store_id, stream_id, files.log.shard_index, ordinal)
            if (header.store_id, header.stream_id, header.shard, header.ordinal) == place:
                continue
            state = "foreign"
        if state in (layout.DAMAGED, "foreign"):
            kind, text = (
                ("foreign", "the file belongs elsewhere, and the log cannot be read while it is here")
                if state == "foreign"
                else ("header", "the header is damaged and hides the segment")
            )
            size = os.stat(path).st_size
            yield finding(kind, files.name, files.log.shard_id, path, segment=ordinal, bytes=size, message=text)


def _holds(path: str) -> bool:
    with open(path, "rb") as file:
        return layout.header_state(file.read(layout.HEADER_SIZE)) == layout.VALID


def segment_ordinal(name: str) -> int:
    """The ordinal in a segment's file name; 0 where it is none."""
    stem, _, suffix = name.partition(".")
    return int(stem) if suffix == "seg" and stem.isdecimal() and 12 <= len(stem) <= 18 else 0


def _index_torn(raw: bytes, records_before: int, records: int) -> bool:
    """Whether a word of an index is zero that never is."""
    entries = int.from_bytes(raw[12:16], "little")
    size = min(_INDEX_FIRST + entries * _INDEX_ENTRY_SIZE + 8, len(raw) // 8 * 8)
    may_be_zero = {4} if not records else set()
    may_be_zero |= {7} if not records_before else set()  # of the first entry: records of the log before it
    words = struct.unpack(f"<{size // 8}Q", raw[:size])
    return any(not word and place not in may_be_zero for place, word in enumerate(words))


def index_damage(files: LogFiles, live: list[Segment]) -> Iterator[Damage]:
    """Sealed segments with an index that does not hold: no record is hit, and the segment is walked instead.

    One that was being written when the power went is none of them: it is a hint, never synced, and made again.
    """
    for segment, following in zip_longest(live, live[1:]):
        if not segment.sealed or segment.index_present:
            continue
        offset = layout.HEADER_SIZE + segment.end - segment.base
        if segment.packed:
            text = "the index is damaged, and made from the blocks at each use"
            path = files.path(segment.ordinal)
            yield finding("index", files.name, files.log.shard_id, path, segment=segment.ordinal, message=text)
            continue
        with suppress(FileNotFoundError), open(files.path(segment.ordinal), "rb") as file:
            file.seek(offset)
            head = file.read(32)
            records = following.base_ordinal - segment.base_ordinal if following else 0
            if _index_torn(head + file.read(_INDEX_SIZE_MAX), segment.base_ordinal, records):
                continue
            facts = int.from_bytes(head[16:24], "little"), int.from_bytes(head[24:32], "little")
            if head[:8] == _INDEX_MAGIC or facts == (segment.ordinal, segment.end):
                yield finding(
                    "index",
                    files.name,
                    files.log.shard_id,
                    files.path(segment.ordinal),
                    segment=segment.ordinal,
                    file_offset=offset,
                    message="the index is damaged; no record is hit",
                )
