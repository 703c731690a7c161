"""Parcels that wait to be sent, a lane for each shard, and requests made of them."""

from __future__ import annotations

import math
from collections import deque

from streamstore.producer.future import UserRecordFuture
from streamstore.producer.knobs import Knobs
from streamstore.producer.limiter import Limiter
from streamstore.producer.parcel import Parcel

# A shard that has so much waiting waits no longer, as in the KPL.
SHARD_SIZE = 256 * 1024


class Lanes:
    """Parcels by the slot of their shard, first in first out in each. The sender's own: no lock."""

    def __init__(self, knobs: Knobs, rate_limit: int) -> None:
        self._knobs = knobs
        self._rate_limit = rate_limit
        self._lanes: dict[int, deque[Parcel]] = {}
        self._limiters: dict[str, Limiter] = {}
        self._sizes: dict[int, int] = {}
        self._turn = 0
        self.count = self.size = 0
        self.busy: set[int] = set()  # slots with a request under way that none may overtake
        self.is_limited = False  # some parcel waits for its shard's rate alone

    def add(self, parcel: Parcel) -> None:
        """Let it wait behind those of its shard."""
        self._lanes.setdefault(parcel.slot, deque()).append(parcel)
        self._count(parcel, 1)

    def _count(self, parcel: Parcel, sign: int) -> None:
        self.count += sign
        self.size += sign * parcel.size
        self._sizes[parcel.slot] = self._sizes.get(parcel.slot, 0) + sign * parcel.size

    def oldest(self) -> float:
        """When the first parcel is due; never where none waits."""
        return min((lane[0].due for lane in self._lanes.values() if lane), default=math.inf)

    def first_expiry(self) -> float:
        """When the time of the first parcel is over."""
        return min((lane[0].expires for lane in self._lanes.values() if lane), default=math.inf)

    def first_arrival(self) -> float:
        """When the oldest user record that waits here was put."""
        items = (item for lane in self._lanes.values() for parcel in lane for item in parcel.items)
        return min((item._arrived for item in items), default=math.inf)

    def is_held(self) -> bool:
        """Does every parcel wait for a request that is under way?"""
        return bool(self.busy) and all(slot in self.busy for slot, lane in self._lanes.items() if lane)

    def hurry(self) -> None:
        """Everything that waits is due."""
        for lane in self._lanes.values():
            for parcel in lane:
                parcel.due = 0.0

    def is_ready(self, now: float) -> bool:
        """Is it time for a request: a parcel is due, or there is as much as one takes?"""
        if not self.count:
            return False
        if self.count >= self._knobs.collection_max_count or self.size >= self._knobs.collection_max_size:
            return True
        if any(size >= SHARD_SIZE for size in self._sizes.values()):
            return True
        return self.oldest() <= now

    def request(self, now: float) -> list[Parcel]:
        """Take what goes together in one request now: [] where every lane is busy or over its rate."""
        taken: list[Parcel] = []
        size = 0
        slots = [slot for slot, lane in self._lanes.items() if lane]
        self.is_limited = False
        for step in range(len(slots)):
            slot = slots[(self._turn + step) % len(slots)]
            lane = self._lanes[slot]
            while lane and slot not in self.busy and len(taken) < self._knobs.collection_max_count:
                parcel = lane[0]
                if taken and size + parcel.size > self._knobs.collection_max_size:
                    break
                if not self._may_go(parcel, now):
                    self.is_limited = True
                    break
                taken.append(lane.popleft())
                size += parcel.size
                self._count(parcel, -1)
                if self._knobs.preserve_order:
                    self.busy.add(slot)  # one at a time: of two in a request, the first alone may fail
        self._turn += 1
        return taken

    def _may_go(self, parcel: Parcel, now: float) -> bool:
        if not self._rate_limit:
            return True
        limiter = self._limiters.get(parcel.shard_id)
        if limiter is None:
            limiter = self._limiters[parcel.shard_id] = Limiter(self._rate_limit, now)
        return limiter.take(parcel.size, now)

    def expired(self, now: float) -> list[Parcel]:
        """Take out the parcels at the front of a lane whose oldest user record's time has passed."""
        found = []
        for lane in self._lanes.values():
            while lane and lane[0].expires <= now:
                found.append(lane.popleft())
                self._count(found[-1], -1)
        return found

    def empty(self) -> list[UserRecordFuture]:
        """Take everything out again, as user records in the order of each lane."""
        items = [item for lane in self._lanes.values() for parcel in lane for item in parcel.items]
        self._lanes.clear()
        self._sizes.clear()
        self.count = self.size = 0
        return items
