"""A log of which what is past retention is not shown: its start follows the horizon exactly, files or no files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from streamstore._core import ffi
from streamstore._hot import Record
from streamstore._hot import get as get_record
from streamstore._hot import take as take_record
from streamstore.errors import KeyUnavailableError, TrimmedError
from streamstore.native.border import CORRUPT, OK, TRIMMED
from streamstore.native.log import Fetched, Log, Taker
from streamstore.values import LogState

_LOOK_SIZE = 4096


class _Kept(NamedTuple):
    """The first record kept, as found under a horizon: good until a horizon passes its arrival."""

    position: int
    before: int
    arrival_us: int
    horizon_us: int


class RetainedLog(Log):
    """A Log that returns no record that arrived before the horizon, which it asks for at every read.

    Arrival never falls within a log, so one comparison a batch is enough. What retention hides is TRIMMED, as if its
    file were gone. `held()` has the facts on what is there in truth.
    """

    __slots__ = ("_kept", "horizon")

    def __init__(
        self, attachment: Any, keepalive: Any, pointer: Any, index: int, name: str, horizon: Callable[[], int]
    ) -> None:
        super().__init__(attachment, keepalive, pointer, index, name)
        self.horizon = horizon
        self._kept: _Kept | None = None

    def held(self) -> LogState:
        """The facts on the log whatever retention hides: `start` is where its bytes begin."""
        return super().state()

    def state(self) -> LogState:
        state = super().state()
        horizon = self.horizon()
        if not horizon or state.record_count == state.start_record_count:
            return state
        if state.last_arrival_us < horizon:  # all of it is past
            return state._replace(start=max(state.start, state.visible), start_record_count=state.record_count)
        try:
            kept = self._first_kept(state, horizon)
        except KeyUnavailableError:
            return state  # in a sealed block whose key is not here: what nobody can read need not be hidden
        if kept.position <= state.start:
            return state
        return state._replace(start=kept.position, start_record_count=kept.before)

    def _first_kept(self, state: LogState, horizon: int) -> _Kept:
        kept = self._kept
        # A horizon that went back (retention was raised) or passed the record needs another look.
        if kept is not None and state.start <= kept.position and kept.horizon_us <= horizon <= kept.arrival_us:
            return kept
        position = super().seek_time(horizon)
        records, following, _, _, status, *_ = super().fetch(position, 0, 1, _LOOK_SIZE)
        if not records:  # nothing visible yet, frames that are no records to the end, or damage: reading there tells
            over = not status and following >= state.visible
            before = state.record_count if over else state.start_record_count
            return _Kept(position, before, 0, horizon)
        kept = _Kept(position, records[0].ordinal - 1, records[0].arrival_us, horizon)
        kept = self._kept = self._with_damage(state, kept)
        return kept

    def _with_damage(self, state: LogState, kept: _Kept) -> _Kept:
        """Damage right before the first record kept may have held records that are kept too: it is read, and told."""
        if kept.position <= state.start:
            return kept
        if kept.before <= state.start_record_count:
            status = super().fetch(state.start, kept.position, 1, _LOOK_SIZE)[4]
            return kept._replace(position=state.start) if status & 0xFF == CORRUPT else kept
        if super().seek_ordinal(kept.before) < kept.position:
            return kept
        # Bisect for the last record that stands before it.
        begin, before = state.start, state.start_record_count
        low, high = before + 1, kept.before
        while low <= high:
            middle = (low + high) // 2
            found = super().fetch(super().seek_ordinal(middle), kept.position, 1, _LOOK_SIZE)[0]
            if found:
                begin, before = found[0].next_position, found[0].ordinal
                low = before + 1
            else:
                high = middle - 1
        return kept._replace(position=begin, before=before)

    def _hidden(self, position: int) -> bool:
        return position < self.state().start

    def fetch(self, position: int, end: int, limit: int, buffer_size: int) -> Fetched:
        result = Log.fetch(self, position, end, limit, buffer_size)
        records, status = result[0], result[4]
        if records:
            past = records[0].arrival_us < self.horizon()
        else:  # what is hidden may be read from any byte: no frame begins there, and nobody is to know
            past = status & 0xFF == CORRUPT and self._hidden(position)
        return ([], position, result[2], False, TRIMMED, 0, 0, False) if past else result

    def taker(self, events: Log) -> Taker:
        place = (self.address, self.shard_index, self.shard_id, events.address)
        return lambda *delivery: take_record(*place, self.horizon(), *delivery)

    def read_columns(self, position: int, columns: Any, result: Any, read: Callable[[], int]) -> int:
        """Call `read`, which fills columns and result; TRIMMED where what it found is past."""
        status = read()
        code = status & 0xFF
        if code in (OK, CORRUPT) and result.count:
            first = ffi.cast("uint64_t *", columns.arrival_us)[0]
            return TRIMMED if first < self.horizon() else status
        return TRIMMED if code == CORRUPT and self._hidden(position) else status

    def find(self, position: int, epoch: int) -> Record | None:
        record = get_record(self.address, self.shard_index, self.shard_id, position, epoch)
        if record is not None and record.arrival_us < self.horizon():
            raise TrimmedError(f"{self.shard_id}: position {position} is past retention")
        return record

    def seek_time(self, arrival_us: int) -> int:
        return super().seek_time(max(arrival_us, self.horizon()))
