"""Dropping the oldest records of a stream's shards: which segments go, the event that says so, the files.

Knows logs and the catalog; why something is to go is for others to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice, pairwise
from typing import NamedTuple

from streamstore import limits, native
from streamstore.catalog import Catalog
from streamstore.events import StreamInfo


class Part(NamedTuple):
    """Records that can go together: all of a sealed segment that are still there."""

    arrival_us: int  # none of them arrived after this
    shard: int
    end: int  # the position behind them
    size: int


def parts(log: native.Log) -> list[Part]:
    """What can be dropped of a log, oldest first: all but the segment that is written to."""
    start, found = log.held().start, []
    for segment, following in pairwise(log.live_segments()):
        if following.base > start:
            size = following.base - max(segment.base, start)
            found.append(Part(following.floor_arrival_us, log.shard_index, following.base, size))
    return found


def drop(catalog: Catalog, info: StreamInfo, log_of: Callable[[int], native.Log], going: Iterable[Part]) -> int:
    """Drop these parts and all before them in their shards; returns the bytes freed on disk.

    Raises StreamNotFoundError, StoreFullError.
    """
    starts: dict[int, int] = {}
    for part in going:
        starts[part.shard] = max(part.end, starts.get(part.shard, 0))
    return move_starts(catalog, info, log_of, starts)


def move_starts(
    catalog: Catalog, info: StreamInfo, log_of: Callable[[int], native.Log], starts: Mapping[int, int]
) -> int:
    """Let each of these logs begin at its position; returns the bytes freed on disk."""
    freed, items = 0, iter(starts.items())
    while some := dict(islice(items, limits.TRIM_EVENT_SHARDS)):
        # Published before a file goes: whoever opens the store next must not take what is gone for damage.
        catalog.publish("trim", info, starts=some)
        freed += sum(log_of(index).trim(position) for index, position in some.items())
    return freed
