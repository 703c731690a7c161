"""The records that a queue delivers: the next ones of each shard, read ahead, and any one again by its name.

Keeps shards in the order of their lineage: a child is read once every parent has been delivered to its end. Decides
nothing about deliveries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from streamstore import limits, native
from streamstore.errors import StreamNotFoundError, StreamStoreError
from streamstore.events import StreamInfo
from streamstore.iterators import Place
from streamstore.native import Record
from streamstore.queue.state import Cursor, position_of, shard_of
from streamstore.stream import Stream

_BUFFER_MIN = 16 * limits.KIB
_RECORDS_AHEAD = 512


class Trimmed(Exception):
    """What comes next in a shard was taken by retention; `start` is the oldest record kept."""

    def __init__(self, shard: int, start: int, ordinal: int) -> None:
        super().__init__(shard, start)
        self.shard, self.start, self.ordinal = shard, start, ordinal


class Damaged(Exception):
    """What comes next in a shard is damaged up to `end`; `cause` is the error that says so."""

    def __init__(self, shard: int, end: int, cause: StreamStoreError) -> None:
        super().__init__(shard, end)
        self.shard, self.end, self.cause = shard, end, cause


class Ahead:
    """Records of one shard from position `at` on that nobody has taken yet: records[begin:]."""

    __slots__ = (
        "at",
        "begin",
        "buffer_size",
        "count_max",
        "forever",
        "log",
        "looked_to",
        "read",
        "records",
        "shard",
        "take",
    )

    def __init__(self, log: native.Log, at: int, forever: bool) -> None:
        self.log = log
        self.shard = log.shard_index
        self.forever = forever
        # What was read ahead could be past retention by the time it is taken.
        self.count_max = _RECORDS_AHEAD if forever else 1
        # Where nothing expires, nothing has to be compared with a horizon.
        self.read = log.read_held if forever else log.read
        self.take: native.Taker | None = None
        self.at = at
        self.begin = 0
        self.looked_to = at
        self.buffer_size = _BUFFER_MIN
        self.records: list[Record] = []

    def align(self, position: int) -> None:
        """Another process moved the cursor: drop what it took, or all."""
        records = self.records
        begin = self.begin
        while begin < len(records) and records[begin].position < position:
            begin += 1
        if self.at > position or begin == len(records):
            self.records, begin = [], 0
        self.begin = begin
        self.at = position

    def bind(self, events: native.Log) -> native.Taker:
        """What takes the next record and says so in `events`, from now on `take`."""
        self.take = (self.log.taker_held if self.forever else self.log.taker)(events)
        return self.take


class Source:
    """The stream of a queue, as its engine reads it. Callers hold the engine's lock."""

    def __init__(
        self,
        stream: Stream,
        info: Callable[[], StreamInfo | None],
        starts: Mapping[int, tuple[int, int]],
        *,
        forever: bool,
    ) -> None:
        self._stream = stream
        self._forever = forever
        self.info = info
        self._starts = starts
        self.forget()

    def forget(self) -> None:
        """Begin anew: in a forked child."""
        self._ahead: dict[int, Ahead] = {}
        self._active: list[int] | None = None
        self.single: Ahead | None = None
        self._drained: set[int] = set()

    def log(self, shard: int) -> native.Log:
        return self._stream.log(shard)

    def first(self, shard: int) -> Cursor:
        """The cursor of a shard of which nothing was delivered yet."""
        start = self._starts.get(shard)
        if start is not None:
            return Cursor(start[0], start[1], 0, 0)
        state = self.log(shard).state()
        return Cursor(state.start, state.start_record_count, 0, 0)

    def active(self, cursors: Mapping[int, Cursor]) -> list[int]:
        """The shards to read from now; looked up in the catalog when one ended, and by `look_again`."""
        if self._active is None:
            info = self.info()
            if info is None:
                raise StreamNotFoundError(f"the stream {self._stream.name!r} was deleted")
            lineage = info.lineage
            self._drained.update(
                index for index in lineage.indexes() if not lineage.is_open(index) and self._ended(info, index, cursors)
            )
            self._active = [
                index
                for index in lineage.indexes()
                if index not in self._drained and self._drained.issuperset(lineage.living_parents(index))
            ]
        return self._active

    @staticmethod
    def _ended(info: StreamInfo, index: int, cursors: Mapping[int, Cursor]) -> bool:
        # The close frame stands behind the last record: the count says whether that one was delivered.
        closed = info.lineage[index].closed
        cursor = cursors.get(index)
        return closed is not None and cursor is not None and cursor.ordinal >= closed.records

    def look_again(self) -> None:
        """The stream may have been resharded: ask the catalog at the next look."""
        self._active = self.single = None

    def shards(self) -> list[int]:
        """All shards that are there."""
        info = self.info()
        if info is None:
            raise StreamNotFoundError(f"the stream {self._stream.name!r} was deleted")
        return list(info.lineage.indexes())

    def peek(self, shard: int, cursor: Cursor, limit: int) -> list[Record]:
        """Up to `limit` of the records that come next in a shard; they are not taken before `advance`.

        Raises Trimmed, Damaged.
        """
        ahead = self._ahead.get(shard)
        if ahead is None:
            ahead = self._ahead[shard] = Ahead(self.log(shard), cursor.position, self._forever)
        elif ahead.at != cursor.position:
            ahead.align(cursor.position)
        begin = ahead.begin
        if len(ahead.records) - begin < limit:
            self._read_on(shard, ahead, limit)
            begin = ahead.begin
        return ahead.records[begin : begin + limit]

    def find_single(self, cursors: Mapping[int, Cursor]) -> Ahead | None:
        """What `single` is from now on: the only shard there is to read, once something of it was looked at."""
        shards = self.active(cursors)
        self.single = self._ahead.get(shards[0]) if len(shards) == 1 else None
        return self.single

    def _read_on(self, shard: int, ahead: Ahead, limit: int) -> None:
        rest = ahead.records[ahead.begin :]
        while len(rest) < limit:
            position = rest[-1].next_position if rest else ahead.at
            want = max(limit - len(rest), ahead.count_max)
            records, following, seen, ended, status, begin, end = ahead.read(position, 0, want, ahead.buffer_size)
            rest += records
            if status and not rest:
                self._fail(shard, ahead.log, position, status, begin, end)
            if not rest and not status and not ahead.forever and not ended:
                # Of a shard that retention took to its end there is no close frame left to read.
                visible, closed = ahead.log.reach()
                ended = closed and position >= visible
            if ended and not rest and shard not in self._drained:
                self._drained.add(shard)
                self.look_again()
            ahead.looked_to = max(ahead.looked_to, following)
            if not records or status or following >= seen:
                ahead.buffer_size = _BUFFER_MIN
                break
            ahead.buffer_size = min(2 * ahead.buffer_size, limits.READ_CHUNK_SIZE)
        ahead.records, ahead.begin = rest, 0

    def _fail(self, shard: int, log: native.Log, position: int, status: int, begin: int, end: int) -> None:
        if status & 0xFF == native.TRIMMED:
            state = log.state()
            raise Trimmed(shard, state.start, state.start_record_count)
        cause = self._stream.read_failure(log, Place(position, 0), status, begin, end)
        raise Damaged(shard, end, cause)

    def place(self, shard: int, cursors: Mapping[int, Cursor]) -> tuple[native.Log, int]:
        """What to wait for in a shard: its log, and a position behind which there was nothing at the last look."""
        ahead = self._ahead.get(shard)
        if ahead is None:
            return self.log(shard), (cursors.get(shard) or self.first(shard)).position
        cursor = cursors.get(shard)
        # Frames that are no records may stand between the last one delivered and the tail.
        return ahead.log, max(ahead.looked_to, ahead.at, cursor.position if cursor else 0)

    def advance(self, shard: int, count: int) -> None:
        """The first `count` peeked records were taken."""
        ahead = self._ahead[shard]
        ahead.begin += count
        ahead.at = ahead.records[ahead.begin - 1].next_position

    def skip_to(self, shard: int, position: int) -> None:
        """Nothing before `position` is wanted any more."""
        self._ahead.pop(shard, None)
        self.single = None

    def fetch(self, name: int) -> Record | None:
        """The record of a name; None where it is gone or damaged."""
        position = position_of(name)
        found = self.log(shard_of(name)).read(position, 0, 1, 4 * limits.KIB)[0]
        return found[0] if found and found[0].position == position else None

    def fresh_count(self, cursors: Mapping[int, Cursor]) -> int:
        """Records that were never delivered, of all shards."""
        total = 0
        for shard in self.shards():
            cursor = cursors.get(shard) or self.first(shard)
            state = self.log(shard).state()
            total += max(0, state.record_count - max(cursor.ordinal, state.start_record_count))
        return total
