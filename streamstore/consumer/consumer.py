"""A named consumer: reads a stream from where it committed, together with whoever consumes under the same name.

Every shard is read by one member at a time. A member's death frees its shards, because the kernel frees the byte that
its process holds; a member with more than its share gives shards up when it commits.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from streamstore import clock, inner, iterators, limits, native
from streamstore.consumer.state import Group, Member, Place, event
from streamstore.errors import ClosedError, InvalidArgumentError, InvalidTypeError, StreamNotFoundError
from streamstore.events import StreamInfo
from streamstore.journal import Journal
from streamstore.native import Record
from streamstore.user_records import TakingApart, is_last, not_before

if TYPE_CHECKING:
    from streamstore.store import Store
    from streamstore.stream import Stream

_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,128}\Z")
_LOOK_US = 500_000
_numbers = itertools.count(1)


class Lag(NamedTuple):
    """How far the commits are behind the tail: records, bytes, and the age of the oldest record not committed."""

    records: int
    bytes: int
    seconds: float


def open_consumer(store: Store, stream: Stream, name: str, start: Any, apart: TakingApart | None = None) -> Consumer:
    """What stream.consumer(name) gives."""
    if not isinstance(name, str):
        raise InvalidTypeError(f"a consumer name is a str, not {type(name).__name__}")
    if not _NAME.match(name):
        raise InvalidArgumentError(f"{name!r} is no consumer name: 1 to 128 of the characters a-z A-Z 0-9 _ . -")
    info = stream.info
    full = f"{_prefix(info)}{name}"
    kept = inner.find(store, full)
    if kept is None:
        starts = inner.starts(stream, start)
        kept = inner.create(store, full, info, 1, {"owner": "consumer", "consumer": {"starts": starts}})
    return Consumer(store, stream, name, kept, apart)


def names(store: Store, stream: Stream) -> list[str]:
    """The consumers of a stream, sorted."""
    return inner.names(store, _prefix(stream.info))


def _prefix(info: StreamInfo) -> str:
    return f"consumer/{info.id}/"


class Consumer:
    """A member of a named consumer, as an iterator and context manager. One thread uses it; any may call `close`.
    `stray_count`: how many user records the range rule of `deaggregate` left out.

    Records come from the shards that this member holds, in order within each, children after their parents.
    """

    def __init__(
        self, store: Store, stream: Stream, name: str, kept: StreamInfo, apart: TakingApart | None = None
    ) -> None:
        self.name = name
        self._apart = apart
        self.stray_count = 0
        self._store = store
        self._stream = stream
        self._kept = kept
        own = store.stream_by_id(kept.id)
        self._journal = Journal(
            lambda: own.log(0), Group, lambda at: store.catalog.publish("trim", kept, starts={0: at})
        )
        self._closed = False
        self._after_fork()
        native.watch_fork(self)

    def _after_fork(self) -> None:
        # A child is another member; what its parent read is the parent's to commit.
        self._member: Member | None = None
        self._reached: dict[int, Place] = {}
        self._resumed: dict[int, tuple[Place, Place]] = {}  # what was committed, and where that is now
        self._round = 0
        self._turn = 0
        self._looked_us = 0
        self._pending: Iterator[Record] = iter(())
        self._pending_shard = -1
        self._last: Record | None = None

    def __enter__(self) -> Consumer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Consumer {self.name!r} of {self._stream.name!r}>"

    # --- reading ----------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Record]:
        """Records for ever, waiting for each; commits nothing. Ends when the consumer is closed."""
        while True:
            try:
                record = self.next()
            except ClosedError:
                if self._closed:
                    return
                raise
            if record is not None:
                yield record

    def next(self, timeout: float | None = None) -> Record | None:
        """The next record of the shards that this member holds, or None where `timeout` seconds passed first.

        Raises ClosedError, CorruptRangeError, StreamNotFoundError.
        """
        self._settle_last()
        found = next(self._pending, None)
        if found is None:
            self._pending = iter(self._poll(iterators.timeout_us(timeout)))
            found = next(self._pending, None)
        self._last = found
        return found

    def _settle_last(self) -> None:
        # What was handed out before counts as processed once somebody asks for more, or commits.
        if self._last is not None:
            record, done = self._last, self._last.sub_sequence_number + 1
            if is_last(record):
                self._reached[self._pending_shard] = Place(record.next_position, record.ordinal, record.epoch)
            else:
                self._reached[self._pending_shard] = Place(record.position, record.ordinal - 1, record.epoch, done)
            self._last = None

    def _poll(self, timeout_us: int) -> list[Record]:
        until_us = -1 if timeout_us < 0 else clock.monotonic_us() + timeout_us
        while True:
            self._check()
            seen = self._store.attachment.watch()
            shards = self._held()
            for step in range(len(shards)):
                shard = shards[(self._turn + step) % len(shards)]
                if records := self._read(shard):
                    self._turn += step + 1
                    self._pending_shard = shard
                    return records
            left_us = limits.WAIT_SLICE_US if until_us < 0 else until_us - clock.monotonic_us()
            if left_us <= 0:
                return []
            self._store.attachment.wait(seen, min(left_us, limits.WAIT_SLICE_US))

    def _read(self, shard: int) -> list[Record]:
        while True:
            before = self._reached[shard].position
            records = self._fetch(shard)
            if records or self._reached[shard].position <= before:
                return records

    def _fetch(self, shard: int) -> list[Record]:
        log = self._stream.log(shard)
        place = self._reached[shard]
        records, following, _, _, status, begin, end = log.read(
            place.position, 0, limits.READ_CHUNK_RECORDS, limits.READ_CHUNK_SIZE
        )
        if status and not records:
            if status & 0xFF == native.TRIMMED:
                self._reached[shard] = self._oldest(log)
                return self._fetch(shard)
            error = self._stream.read_failure(log, iterators.Place(place.position, place.epoch), status, begin, end)
            self._reached[shard] = Place(end, place.ordinal, place.epoch)  # raised once; what follows is behind it
            raise error
        if not records:
            self._reached[shard] = place._replace(position=max(place.position, following))
        return records if self._apart is None or not records else self._users(shard, place, records, self._apart)

    def _users(self, shard: int, place: Place, records: list[Record], how: TakingApart) -> list[Record]:
        """The user records in these; where the rule leaves none, it is read on behind them."""
        users, strays = how.apply(shard, records)
        self.stray_count += strays
        if place.part:
            users = not_before(users, place.position, place.epoch, place.part)
        if not users:
            self._reached[shard] = Place(records[-1].next_position, records[-1].ordinal, records[-1].epoch)
        return users

    # --- who reads what ---------------------------------------------------------------------------------------------

    def _held(self) -> list[int]:
        """The shards that this member holds and reads; looks after shares every half second."""
        now_us = clock.monotonic_us()
        if self._member is None or now_us - self._looked_us > _LOOK_US:
            self._looked_us = now_us
            self._balance()
        return list(self._reached)

    def _balance(self) -> None:
        with self._journal.lock:
            member = self._join()
            while True:
                self._journal.refresh()
                group = self._journal.state
                gone = self._dead(group)
                wanted = self._readable(group)
                mine = [shard for shard in wanted if group.holders.get(shard) == member]
                free = [shard for shard in wanted if shard not in group.holders]
                more = free[: max(0, group.share(member, wanted) - len(mine))]
                if gone:
                    said = event("leave", gone)
                elif more:
                    said = event("take", member, more)
                else:
                    break
                self._journal.append(said)
            self._follow(group, mine)

    def _join(self) -> Member:
        if self._member is None:
            attachment = self._store.attachment
            slot = attachment.info()["slot"]
            generation = next(item["generation"] for item in attachment.processes() if item["slot"] == slot)
            self._member = (slot << 32 | generation, next(_numbers))
            self._journal.open()
            self._attach()
            while not self._journal.append(event("join", self._member)):
                continue
        return self._member

    def _attach(self) -> None:
        """After a power cut a process may go by the slot and generation of one that died in it."""
        incarnation, boot = self._store.attachment.info()["incarnation"], clock.boot_id()
        while (self._journal.state.incarnation, self._journal.state.boot) != (incarnation, boot):
            self._journal.append(event("attach", incarnation, boot))

    def _dead(self, group: Group) -> Member | None:
        alive = {
            item["slot"] << 32 | item["generation"] for item in self._store.attachment.processes() if item["alive"]
        }
        return next((member for member in group.members if member[0] not in alive), None)

    def _readable(self, group: Group) -> list[int]:
        """The shards that may be read now: not consumed to their end, all parents consumed to theirs."""
        info = self._store.catalog.refresh().streams.get(self._stream.info.key)
        if info is None or info.id != self._stream.info.id:
            raise StreamNotFoundError(f"the stream {self._stream.name!r} was deleted")
        lineage = info.lineage
        done: set[int] = set()
        for index in lineage.indexes():
            closed = lineage[index].closed
            look = done.issuperset(lineage.living_parents(index))
            if closed is not None and self._is_spent(group, index, closed.records, look):
                done.add(index)
        return [
            index for index in lineage.indexes() if index not in done and done.issuperset(lineage.living_parents(index))
        ]

    def _is_spent(self, group: Group, shard: int, records: int, look: bool) -> bool:
        """Whether a closed shard of so many records has none left to hand out. Without `look` only commits count, for
        which no log is opened.
        """
        place = self._committed(group, shard)
        if place is None and look and records:
            place = self._first(shard)
        if not records or (place is not None and place.ordinal >= records):
            return True
        # Nobody can commit what was cleared, or what retention took.
        return look and self._stream.log(shard).state().start_record_count >= records

    def _follow(self, group: Group, mine: list[int]) -> None:
        """Read what is held from where it was committed; what is not held any more is not read on."""
        if group.round != self._round:
            self._round = group.round
            self._reached, self._pending, self._last = {}, iter(()), None
        for shard in [shard for shard in self._reached if shard not in mine]:
            del self._reached[shard]
            if shard == self._pending_shard:
                self._pending, self._last = iter(()), None
        for shard in mine:
            if shard not in self._reached:
                self._reached[shard] = self._committed(group, shard) or self._first(shard)

    def _committed(self, group: Group, shard: int) -> Place | None:
        """How far a shard was committed, in what there is of it now."""
        kept = group.places.get(shard)
        if kept is None:
            return None
        known = self._resumed.get(shard)
        if known is None or known[0] != kept:
            known = self._resumed[shard] = (kept, self._resume(shard, kept))
        return known[1]

    def _resume(self, shard: int, kept: Place) -> Place:
        """A commit is durable, its records need not be: what a power cut took of them was written over since, and what
        came then was committed by nobody.
        """
        log = self._stream.log(shard)
        state = log.state()
        position = iterators.resume(log, state, kept.epoch, kept.position).position
        if position == kept.position:
            return kept
        first = log.read(position, 0, 1, 4 * limits.KIB)[0]
        return Place(position, first[0].ordinal - 1 if first else state.record_count, kept.epoch)

    def _first(self, shard: int) -> Place:
        start = self._kept.extra["consumer"]["starts"].get(shard)
        if start is not None:
            return Place(start[0], start[1], 0)
        return self._oldest(self._stream.log(shard))

    @staticmethod
    def _oldest(log: native.Log) -> Place:
        """Where the oldest record that is kept begins. Of no record's epoch, but of the log's as it is now: a power cut
        may put others there.
        """
        state = log.state()
        return Place(state.start, state.start_record_count, state.epoch)

    @property
    def shard_ids(self) -> list[str]:
        """The shards that this member reads."""
        return [self._stream.log(shard).shard_id for shard in self._reached]

    # --- committing -------------------------------------------------------------------------------------------------

    def commit(self) -> None:
        """Everything handed out so far is done: nobody gets it again. Durable at return, whatever the stream is.

        Shards beyond this member's share are given up now. What was handed out of a shard that was lost meanwhile (by
        `reset`) is not committed. Raises ClosedError, StoreFullError.
        """
        self._check()
        self._settle_last()
        if self._member is None:
            return
        with self._journal.lock:
            while True:
                self._journal.refresh()
                group = self._journal.state
                places = {shard: list(place) for shard, place in self._reached.items()}
                if self._journal.append(event("commit", self._member, places, self._round)):
                    break
            group = self._journal.state
            mine = [shard for shard in self._readable(group) if group.holders.get(shard) == self._member]
            spare = mine[group.share(self._member, self._readable(group)) :]
            if spare and self._journal.append(event("release", self._member, spare)):
                mine = [shard for shard in mine if shard not in spare]
            self._follow(self._journal.state, mine)
            tail = self._journal.tail
        self._journal.sync(tail)
        self._looked_us = 0  # children of a shard that is done may be read now

    def reset(self, to: Any = "TRIM_HORIZON") -> None:
        """Go on from a start (as stream.read takes it) for every member; durable at return. Commits that are under
        way elsewhere count no more.
        """
        self._check()
        found = inner.starts(self._stream, to)
        oldest: dict[int, list[int]] = {}
        if not found:
            for shard in self._stream.shards():
                oldest[shard.index] = [*self._oldest(self._stream.log(shard.index))]
        places = oldest or {shard: [position, ordinal, 0] for shard, (position, ordinal) in found.items()}
        with self._journal.lock:
            self._journal.open()
            while not self._journal.append(event("reset", places)):
                continue
            tail = self._journal.tail
        self._journal.sync(tail)
        self._looked_us = 0

    def lag(self) -> Lag:
        """How far the commits of all members are behind the tails of all shards."""
        self._check()
        with self._journal.lock:
            self._journal.open()
            self._journal.refresh()
            group = self._journal.state
            places = {shard: self._committed(group, shard) for shard in group.places}
        records = size = 0
        oldest_us = clock.now_us()
        for shard in self._stream.shards():
            log = self._stream.log(shard.index)
            state = log.state()
            place = places.get(shard.index) or self._first(shard.index)
            if state.record_count > place.ordinal:
                records += state.record_count - max(place.ordinal, state.start_record_count)
                size += state.tail - max(place.position, state.start)
                first = log.read(max(place.position, state.start), 0, 1, 4 * limits.KIB)[0]
                oldest_us = min(oldest_us, first[0].arrival_us if first else oldest_us)
        return Lag(records, size, max(0, clock.now_us() - oldest_us) / 1_000_000 if records else 0.0)

    # --- the end ----------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        if self._closed:
            raise ClosedError(f"the consumer {self.name!r} is closed")

    def close(self) -> None:
        """Give up its shards, committing nothing. A wait in another thread ends. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        if self._member is None or self._store.closed:
            return
        with self._journal.lock:
            while not self._journal.append(event("leave", self._member)):
                continue
        self._store.attachment.wake()
