"""The sender: one thread that makes parcels of user records, sends them when they are due, and settles what came of it.

Everything but the inbox and the list of answers is its own, so it needs no lock for it.
"""

from __future__ import annotations

import atexit
import logging
import math
import threading
from collections import deque
from collections.abc import Collection, Sequence
from time import monotonic
from typing import NamedTuple

from streamstore import native, routing
from streamstore.producer.couriers import Couriers
from streamstore.producer.future import Try, UserRecordFuture
from streamstore.producer.inbox import Inbox
from streamstore.producer.knobs import Knobs
from streamstore.producer.lanes import Lanes
from streamstore.producer.parcel import Answer, Kind, Parcel, ShardMap, Target
from streamstore.producer.settling import Settling
from streamstore.values import HashRange

LIMITER_TICK_S = 0.025
BACKOFF_MIN_S, BACKOFF_MAX_S = 0.05, 1.0
LOOK_MIN_S, LOOK_MAX_S, LOOK_FACTOR = 0.1, 30.0, 1.5
WRONG_SHARD = "Wrong Shard"


class _Answered(NamedTuple):
    parcels: Sequence[Parcel]
    answers: Sequence[Answer]
    tried: Try


class Sender:
    """Sends what is in the inbox until that is closed and nothing is outstanding."""

    def __init__(self, target: Target, shards: ShardMap, knobs: Knobs, inbox: Inbox, settling: Settling) -> None:
        self._target, self._knobs, self._inbox, self._settling = target, knobs, inbox, settling
        rate_limit = knobs.rate_limit if knobs.rate_limit is not None else 0 if target.is_local else 150
        self._lanes = Lanes(knobs, rate_limit)
        self._couriers = Couriers(1 if target.is_local else knobs.max_connections, f"streamstore-put-{target.name}")
        self._answered: deque[_Answered | ShardMap | Exception] = deque()  # by couriers, under the inbox's lock
        self._in_flight: dict[int, Sequence[Parcel]] = {}
        self._left: list[UserRecordFuture] = []  # user records that wait for others to fill an aggregate
        self._left_due = math.inf
        self._taken: list[UserRecordFuture] = []  # by the round that is under way
        self._retries: list[tuple[float, list[UserRecordFuture]]] = []
        self._strayed: list[tuple[Parcel, Answer, Try]] = []
        self._hold_until = self._tick_at = 0.0
        self._failures = 0
        self._is_stale = self._is_looking = False
        self._asked: set[str] = set()
        self._look_at = 0.0
        self._look_wait = LOOK_MIN_S
        self._take_map(shards)
        inbox.intake.take(self._wake_at)  # nobody has it yet
        self._thread = threading.Thread(target=self._run, name=f"streamstore-producer-{target.name}", daemon=True)
        self._thread.start()
        atexit.register(self._at_exit)  # nothing that was put is lost because a program ends

    def join(self) -> None:
        """Wait until it has ended, which it does once the inbox is closed and nothing is outstanding."""
        self._thread.join()

    def _at_exit(self) -> None:
        self._inbox.close()
        self.join()

    # --- waiting ----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while self._step():
                continue
            self._couriers.stop()
            self._target.close()
        except Exception as error:  # a mistake of ours: whatever it is, nobody is to wait for ever
            self._inbox.log.exception("the producer of %s ends", self._target.name)
            self._collapse(error)
        finally:
            atexit.unregister(self._at_exit)

    def _step(self) -> bool:
        """One round, once there is something to do; False at the end. Nothing of it is held in the sleep after it."""
        found = self._sleep()
        if found is None:
            return False
        self._taken, answered, flush = found
        self._round(self._taken, answered, flush)
        self._taken = []
        if self._inbox.flushers:
            self._tell_flushers()
        return True

    def _collapse(self, error: Exception) -> None:
        """Take nothing any more, and give up all that is outstanding."""
        inbox = self._inbox
        with inbox.lock:
            inbox.intake.closed = True
            items = self._taken + inbox.intake.take(0) + self._left + self._lanes.empty()
        items += [item for _, retried in self._retries for item in retried]
        items += [item for parcels in self._in_flight.values() for item in _items(parcels)]
        items += [item for parcel, *_ in self._strayed for item in parcel.items]
        open_ = {id(item): item for item in items if not item.done()}
        now = monotonic()
        self._settling.fail(list(open_.values()), Try(now, now, "InternalError", repr(error)), error)

    def _sleep(self) -> tuple[list[UserRecordFuture], list[_Answered | ShardMap | Exception], bool] | None:
        """Wait for something to do. The entries that are to be looked at now, what came back, whether all is to go."""
        inbox = self._inbox
        with inbox.lock:
            while True:
                now = monotonic()
                intake = inbox.intake
                if intake.closed and not intake.records_out:
                    return None
                due = intake.entries[0]._arrived + self._knobs.buffered_s if intake.entries else math.inf
                take = due <= now or inbox.flush or intake.wake_at < 0
                wake = min(due, self._next(now))
                if take or self._answered or wake <= now:
                    break
                inbox.work.wait(None if wake == math.inf else wake - now)
            entries: list[UserRecordFuture] = []
            if take:
                entries = intake.take(self._wake_at)
            answered = list(self._answered)
            self._answered.clear()
            flush, inbox.flush = inbox.flush, False
            return entries, answered, flush

    def _next(self, now: float) -> float:
        """When there is something to do without anybody saying so."""
        wake = min(self._left_due, min((due for due, _ in self._retries), default=math.inf))
        if self._strayed:
            wake = min(wake, min(parcel.expires for parcel, *_ in self._strayed))
        if self._may_look():
            wake = min(wake, self._look_at)
        if self._lanes.count:
            wake = min(wake, self._lanes.first_expiry())
            if len(self._in_flight) < self._couriers.count_max and not self._waits_for_map():
                ready = self._target.is_local or self._lanes.is_ready(now)
                due = now if ready else self._lanes.oldest()
                if self._lanes.is_limited:
                    due = max(due, self._tick_at)
                wake = min(wake, math.inf if self._lanes.is_held() else max(due, self._hold_until))
        return wake

    def _tell_flushers(self) -> None:
        inbox = self._inbox
        arrivals = [item._arrived for item in self._left]
        arrivals += [items[0]._arrived for _, items in self._retries]
        arrivals += [each._arrived for parcels in self._in_flight.values() for each in _items(parcels)]
        arrivals += [each._arrived for parcel, *_ in self._strayed for each in parcel.items]
        with inbox.lock:
            arrivals += [item._arrived for item in inbox.intake.entries[:1]]
            inbox.settled_until = min([*arrivals, self._lanes.first_arrival()])
            inbox.settled.notify_all()

    # --- one round --------------------------------------------------------------------------------------------------

    def _round(
        self, entries: list[UserRecordFuture], answered: Sequence[_Answered | ShardMap | Exception], flush: bool
    ) -> None:
        for each in answered:
            if isinstance(each, _Answered):
                self._in_flight.pop(id(each.parcels))
                self._handle(each)
            else:
                self._looked(each)
        now = monotonic()
        self._give_up_expired(now)
        if self._may_look() and self._look_at <= now:
            self._look()
        again = [items for due, items in self._retries if due <= now]
        self._retries = [each for each in self._retries if each[0] > now]
        items = [item for items in again for item in items] + self._left + entries
        if items and (entries or again or flush or self._left_due <= now):
            self._bundle(items, flush, now)
        if flush:
            self._lanes.hurry()
        self._send(now)

    def _bundle(self, items: list[UserRecordFuture], flush: bool, now: float) -> None:
        """Make parcels; the last of each shard waits for more, unless it is time for it."""
        knobs = self._knobs
        self._left, self._left_due = [], math.inf
        aggregated = self._bundler is not self._raw
        bundles = self._bundler.bundle(items)
        for place, bundle in enumerate(bundles):
            slot, members = bundle[3], bundle[4]
            first = members[0]
            due = first._arrived + knobs.buffered_s
            urgent = flush or first._tries is not None
            full = place + 1 < len(bundles) and bundles[place + 1][3] == slot
            if aggregated and not full and not urgent and due > now:
                self._left += members
                self._left_due = min(self._left_due, due)
                continue
            expires = first._arrived + knobs.ttl_s
            self._lanes.add(Parcel(bundle, self._shards.shard_ids[slot], now if urgent else due, expires))

    def _waits_for_map(self) -> bool:
        """Is it not known yet what has to go in again before all else, or which records are of one shard now?"""
        return self._knobs.preserve_order and (self._is_stale or bool(self._strayed))

    def _may_look(self) -> bool:
        """Is a new map wanted? Where order counts, only once nothing is under way by the old one."""
        return self._is_stale and not self._is_looking and not (self._knobs.preserve_order and self._in_flight)

    def _send(self, now: float) -> None:
        if now < self._hold_until or self._waits_for_map():
            return
        while self._lanes.count and len(self._in_flight) < self._couriers.count_max:
            if not self._target.is_local and not self._lanes.is_ready(now):
                return
            parcels = self._lanes.request(now)
            self._tick_at = now + LIMITER_TICK_S
            if not parcels:
                return
            self._settling.sent(parcels, now)
            if self._target.is_local:
                self._handle(self._put(parcels))
            else:
                self._in_flight[id(parcels)] = parcels
                self._couriers.give(lambda parcels=parcels: self._answer(self._put(parcels)))  # type: ignore[misc]

    def _put(self, parcels: Sequence[Parcel]) -> _Answered:
        begun = monotonic()
        answers = self._target.put(parcels)
        return _Answered(parcels, answers, Try(begun, monotonic()))

    def _answer(self, found: _Answered | ShardMap | Exception) -> None:
        with self._inbox.lock:
            self._answered.append(found)
            self._inbox.work.notify()

    # --- what came of it --------------------------------------------------------------------------------------------

    def _handle(self, answered: _Answered) -> None:
        parcels, answers, tried = answered
        stored: list[tuple[Parcel, Answer]] = []
        again: list[tuple[Parcel, Answer]] = []
        for parcel, answer in zip(parcels, answers, strict=True):
            self._lanes.busy.discard(parcel.slot)
            if answer.kind is Kind.STORED:
                if answer.shard_id != parcel.shard_id:
                    self._map_is_stale()
                    if len(parcel.items) > 1:
                        self._strayed.append((parcel, answer, tried))
                        continue
                stored.append((parcel, answer))
            elif answer.kind is Kind.REFUSED or (answer.kind is Kind.THROTTLED and self._knobs.fail_if_throttled):
                self._settling.fail(parcel.items, _told(tried, answer), answer.cause)
            else:
                if answer.kind is Kind.MOVED:
                    self._map_is_stale()
                again.append((parcel, answer))
        self._settling.store(stored, tried, len(parcels))
        # While nothing at all goes through, tries become rarer.
        self._failures = 0 if stored or not again else self._failures + 1
        for parcel, answer in again:
            self._again(parcel, _told(tried, answer), at_once=answer.kind is Kind.MOVED)

    def _again(self, parcel: Parcel, tried: Try, *, at_once: bool = False) -> None:
        """Let the user records of a parcel go in again, by themselves: bundled anew, by the map there is then."""
        now = monotonic()
        for item in parcel.items:
            item.note(tried)
        self._settling.tried(len(parcel.items), tried)
        items = self._alive(parcel.items, now)
        wait = 0.0 if at_once and self._failures < 2 else self._knobs.buffered_s / 2
        if self._failures > 1:
            wait = max(wait, min(BACKOFF_MAX_S, BACKOFF_MIN_S * 2 ** min(self._failures, 10)))
        if self._knobs.preserve_order:
            # Whatever waits goes in behind it, and nothing goes before it is due.
            self._hold_until = max(self._hold_until, now + wait)
            self._left = items + self._lanes.empty() + self._left
            self._left_due = min(self._left_due, self._hold_until) if self._left else math.inf
        elif items:
            self._retries.append((now + wait, items))

    def _alive(self, items: Sequence[UserRecordFuture], now: float) -> list[UserRecordFuture]:
        """Those whose time has not passed; the others are given up."""
        late = [item for item in items if item._arrived + self._knobs.ttl_s <= now]
        if not late:
            return list(items)
        expired = Try(now, now, "Expired", f"it was not stored within record_ttl ({self._knobs.record_ttl} ms)")
        self._settling.fail(late, expired, None)
        return [item for item in items if item._arrived + self._knobs.ttl_s > now]

    def _give_up_expired(self, now: float) -> None:
        for parcel in self._lanes.expired(now):
            if items := self._alive(parcel.items, now):
                self._retries.append((now, items))
        waiting, self._strayed = self._strayed, []
        for parcel, answer, tried in waiting:
            if parcel.expires > now:
                self._strayed.append((parcel, answer, tried))
            else:
                self._again(parcel, _wrong(tried, answer))

    # --- the map of the shards --------------------------------------------------------------------------------------

    def _take_map(self, shards: ShardMap) -> None:
        self._shards = shards
        knobs = self._knobs
        size_max = min(knobs.aggregation_max_size, shards.record_size_max - 1, knobs.collection_max_size - 1)
        self._raw = native.Bundler(shards.ranges, size_max, 1, native.RECORD_SIZE_MAX)
        self._bundler = self._raw
        if knobs.aggregation_enabled and not shards.is_auto and not self._is_stale:
            self._bundler = native.Bundler(shards.ranges, size_max, knobs.aggregation_max_count, native.RECORD_SIZE_MAX)
        # So much that on average every shard has an aggregate full; a part of what may be outstanding at most.
        self._wake_at = max(1, min(knobs.aggregation_max_size * len(shards.ranges), self._inbox.intake.bytes_max // 4))

    def _map_is_stale(self) -> None:
        """Aggregate no more until it is known which shards there are."""
        if not self._is_stale:
            self._is_stale = True
            self._look_at = 0.0
            self._bundler = self._raw

    def _look(self) -> None:
        self._is_looking = True
        others = self._asked = {answer.shard_id for _, answer, _ in self._strayed}
        if self._target.is_local:
            self._looked(self._try_to_look(others))
        else:
            self._couriers.give(lambda: self._answer(self._try_to_look(others)))

    def _try_to_look(self, others: Collection[str]) -> ShardMap | Exception:
        try:
            return self._target.look(others)
        except Exception as error:
            return error

    def _looked(self, found: ShardMap | Exception) -> None:
        self._is_looking = False
        if isinstance(found, Exception):
            level = logging.INFO if self._look_wait < 1 else logging.WARNING  # at first it may be a reshard under way
            self._inbox.log.log(level, "the shards of %s cannot be listed: %s", self._target.name, found)
            self._look_at = monotonic() + self._look_wait
            self._look_wait = min(LOOK_MAX_S, self._look_wait * LOOK_FACTOR)
            return
        self._is_stale, self._look_wait = False, LOOK_MIN_S
        self._left = self._lanes.empty() + self._left
        self._left_due = 0.0 if self._left else math.inf
        self._take_map(found)
        strayed, self._strayed = self._strayed, []
        for parcel, answer, tried in strayed:
            owned = found.others.get(answer.shard_id)
            if owned is None and answer.shard_id in found.shard_ids:
                owned = found.ranges[list(found.shard_ids).index(answer.shard_id)]
            if owned is None and answer.shard_id not in self._asked:  # it came while this was looked up
                self._strayed.append((parcel, answer, tried))
                self._map_is_stale()
            elif owned is not None and _belongs(parcel, owned):
                self._settling.store([(parcel, answer)], tried, 1)
            else:
                self._again(parcel, _wrong(tried, answer), at_once=True)


def _belongs(parcel: Parcel, owned: HashRange) -> bool:
    """Are all of its user records those of that range?"""
    for item in parcel.items:
        explicit = item._explicit_hash_key
        place = routing.hash_key(item._partition_key) if explicit is None else explicit
        if not owned.start <= place <= owned.end:
            return False
    return True


def _items(parcels: Sequence[Parcel]) -> list[UserRecordFuture]:
    return [item for parcel in parcels for item in parcel.items]


def _told(tried: Try, answer: Answer) -> Try:
    return tried._replace(code=answer.code, message=answer.message)


def _wrong(tried: Try, answer: Answer) -> Try:
    message = f"it was stored in {answer.shard_id}, in an aggregate with user records of other shards"
    return tried._replace(code=WRONG_SHARD, message=message)
