"""Records of several shards as one list in order of arrival; ties stay in the order of shards."""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from operator import attrgetter

from streamstore.native import Record

_arrival = attrgetter("arrival_us")
# Records that were put in batches stand in stretches of their shard; where those are shorter, a sort is faster.
_STRETCH_MIN = 24


def merged(parts: list[list[Record]]) -> list[Record]:
    """The records of `parts`, which are in the order of their shards, and in order of arrival each, not empty."""
    if len(parts) == 1:
        return parts[0]
    found: list[Record] = []
    heads = [(part[0].arrival_us, index, 0) for index, part in enumerate(parts)]
    heapq.heapify(heads)
    left = 4 + sum(map(len, parts)) // _STRETCH_MIN
    while len(heads) > 1 and left:
        left -= 1
        _, index, at = heapq.heappop(heads)
        arrival, other, _ = heads[0]
        part = parts[index]
        cut = (bisect_right if index < other else bisect_left)(part, arrival, at, key=_arrival)
        found += part[at:cut]
        if cut < len(part):
            heapq.heappush(heads, (part[cut].arrival_us, index, cut))
    rest: list[Record] = []
    for _, index, at in sorted(heads, key=lambda head: head[1]):
        rest += parts[index][at:]
    if len(heads) > 1:
        rest.sort(key=_arrival)  # stable: ties stay in shard order
    found += rest
    return found
