"""What of a source is in a stream already. Reads shards backwards; writes nothing and knows nothing of files.

Why it is exact. One run at a time takes a source in, line by line in order, and a batch goes into each shard whole. So
when a shard holds
a line of the source at position p, every earlier line whose hash key lies in that shard's range is in that shard or in
one of its
ancestors. A line with hash key h at position p is therefore in the stream if and only if some shard whose range holds
h, open or closed,
holds a line of the source at p or beyond.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from streamstore.limits import HASH_KEY_END, READ_CHUNK_SIZE
from streamstore.native import Record, error_for
from streamstore.shard import Shard
from streamstore.stream import Stream

# A search backwards begins with so many records and doubles: the last run usually wrote the newest ones.
SEARCH_RECORDS_FIRST = 256
SEARCH_RECORDS_MAX = 16_384
NOTHING = -1


class Place(NamedTuple):
    """Where in its source a record stood: byte position, line number, and the id that the source had then."""

    position: int
    number: int
    source_id: str


Locate = Callable[[Record], "Place | None"]
"""From a record to its place in the source; None where it came from elsewhere."""


class Last(NamedTuple):
    """A shard's last record of the source."""

    shard_id: str
    position: int
    number: int
    source_id: str
    record: Record


class Taken:
    """How far each part of the hash-key space has taken the source in."""

    def __init__(self, lasts: Sequence[Last], starts: Sequence[int], positions: Sequence[int]) -> None:
        self.lasts = lasts
        self._starts = starts  # where each part begins; the first is 0
        self._positions = positions  # the highest position there, NOTHING where there is none
        self.beyond = max(positions, default=NOTHING)

    @property
    def begin(self) -> tuple[int, int]:
        """Byte position and line number from where to read the source: the lowest of the parts' last ones, or its
        beginning.
        """
        lowest = min(self._positions, default=NOTHING)
        for last in self.lasts:
            if last.position == lowest:
                return last.position, last.number
        return 0, 1

    def holds(self, hash_key: int, position: int) -> bool:
        """Whether the line at `position`, whose hash key is `hash_key`, is in the stream."""
        return position <= self._positions[bisect_right(self._starts, hash_key) - 1]


def find_taken(stream: Stream, locate: Locate) -> Taken:
    """Look up the last record of a source in every shard that can hold one; `locate` says where in it a record stood.

    What a killed process published and did not sync is shown to nobody: flush the store first.
    """
    shards = list(stream.shards())
    lasts: dict[str, Last] = {}
    settled: set[str] = set()  # shards whose range needs no look at their parents: what parents hold lies before
    for shard in sorted(shards, key=lambda each: each.id, reverse=True):  # children have higher ids
        children = [each.id for each in shards if shard.id in each.parents]
        if children and settled.issuperset(children):
            settled.add(shard.id)
            continue
        last = last_of_source(stream, shard, locate)
        if last is not None:
            lasts[shard.id] = last
            settled.add(shard.id)
    edges = {0} | {shard.hash_range.start for shard in shards} | {shard.hash_range.end + 1 for shard in shards}
    starts = sorted(edge for edge in edges if edge < HASH_KEY_END)
    held = [(shard.hash_range, lasts[shard.id].position) for shard in shards if shard.id in lasts]
    positions = [
        max((position for range_, position in held if range_.start <= start <= range_.end), default=NOTHING)
        for start in starts
    ]
    return Taken(list(lasts.values()), starts, positions)


def last_of_source(stream: Stream, shard: Shard, locate: Locate) -> Last | None:
    """The shard's newest record of the source; None where there is none."""
    for records in _backwards(stream, shard):
        for record in reversed(records):
            place = locate(record)
            if place is not None:
                return Last(shard.id, *place, record)
    return None


def _backwards(stream: Stream, shard: Shard) -> Iterator[list[Record]]:
    """All records of a shard in pieces, the newest piece first; each piece is in order."""
    log = stream.log(shard.index)
    state = log.state()
    count = SEARCH_RECORDS_FIRST
    newest, end = state.record_count, state.visible
    while newest > state.start_record_count and end > state.start:
        oldest = max(newest - count, state.start_record_count)
        begin = position = log.seek_ordinal(oldest + 1)
        piece: list[Record] = []
        while position < end:
            records, position, _, _, status, _, _ = log.read(position, end, count, READ_CHUNK_SIZE)
            if not records:
                if status:
                    raise error_for(status, shard.id)
                break
            piece += records
        yield piece
        newest, end = oldest, begin
        count = min(count * 2, SEARCH_RECORDS_MAX)
