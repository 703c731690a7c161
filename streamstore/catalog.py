"""The catalog: one log of events (stream 0, shard 0, always `sync`) that every process follows and folds.

A change is compare-and-append: fold to the tail, decide, append with that tail expected; whoever was overtaken
folds again and decides again. Knows no shard's log; what an event means is in `events`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from streamstore import clock, events, limits, native
from streamstore.errors import (
    ReadOnlyError,
    StoreFullError,
    StreamExistsError,
    StreamNotFoundError,
    TailMismatchError,
    TrimmedError,
)
from streamstore.events import Key, State, StreamInfo
from streamstore.lineage import Closed, Step
from streamstore.values import LogOptions

_T = TypeVar("_T")
_OPTIONS = LogOptions("sync", 0, limits.CATALOG_RECORD_SIZE_MAX, 0, 0, b"", limits.CATALOG_RESERVE_SIZE)
_FREEING = ("trim", "expire", "delete", "purged", "clear")
"""Events that free space, or tell that it is free: they may use what the catalog keeps in reserve."""


def _current(state: State, info: StreamInfo) -> StreamInfo:
    found = state.streams.get(info.key)
    if found is None or found.id != info.id:
        raise StreamNotFoundError(f"the stream {info.name!r} was deleted")
    return found


class _UnchangedError(Exception):
    """A decision to leave things as they are."""


class Catalog:
    """What streams there are, as of the latest event any process published. Any thread; goes on after a fork."""

    def __init__(self, attachment: native.Attachment) -> None:
        self._attachment = attachment
        self._lock = threading.RLock()
        self._forget()
        native.watch_fork(self)

    def _forget(self) -> None:
        self._state = State()
        self._folded = 0  # everything before this position is in the state
        self._log: native.Log | None = None
        self._is_folding = False

    def _after_fork(self) -> None:
        self._lock = threading.RLock()  # a thread of the parent may have held it
        self._is_folding = False

    def _aside(self) -> Catalog | None:
        """Another view, folded from the start, for a signal's handler that interrupts its own thread in the middle of
        folding this one: an event half folded would else be folded twice.
        """
        return Catalog(self._attachment) if self._is_folding else None

    def _current_log(self) -> native.Log:
        pointer = self._attachment.pointer  # opens, and raises ClosedError
        if self._log is None or self._log.keepalive is not pointer:
            self._forget()
            self._log = self._attachment.log(0, 0, "catalog", _OPTIONS)
        return self._log

    def end(self) -> int:
        """Where its log ends, or 0 while that is not open: grows with every event, and waits for nobody."""
        log = self._log
        return 0 if log is None or self._attachment.closed else log.visible()

    def refresh(self) -> State:
        """The state with everything visible folded in; cheap where nothing is new. Callers must not change it."""
        with self._lock:
            if aside := self._aside():
                return aside.refresh()
            log = self._current_log()
            visible = log.visible()
            if self._folded != visible:
                self._is_folding = True
                try:
                    self._fold_to(log, visible)
                except BaseException:  # Ctrl-C too: what was folded in part is folded anew, not twice
                    self._forget()
                    raise
                finally:
                    self._is_folding = False
            return self._state

    def _fold_to(self, log: native.Log, visible: int) -> None:
        if not self._folded:
            self._folded = log.state().start
        while self._folded < visible:
            size = min(max(visible - self._folded, 4 * limits.KIB), limits.READ_CHUNK_SIZE)
            records, position, seen, _, status, _, _ = log.read(self._folded, 0, limits.READ_CHUNK_RECORDS, size)
            for record in records:
                events.fold(self._state, record.data)
            if status & 0xFF == native.TRIMMED:
                # Somebody snapshotted and trimmed behind our back: the snapshot is all we need.
                self._state = State()
                self._folded = log.state().start
            elif status:
                raise native.error_for(status, "the catalog")
            else:
                self._folded = position if position > self._folded else seen

    @property
    def position(self) -> int:
        """Up to where its events are folded: what `wait` takes."""
        return self._folded

    def wait(self, position: int, timeout_us: int) -> None:
        """Wait until there are events beyond `position`, or so long. Raises ClosedError."""
        self._current_log().wait(position, timeout_us)

    def find(self, key: Key) -> StreamInfo:
        """The stream of that key. Raises StreamNotFoundError."""
        info = self.refresh().streams.get(key)
        if info is None:
            account, region, name = key
            raise StreamNotFoundError(
                f"there is no stream {name!r} in account {account}, region {region} of {self._attachment.path}"
            )
        return info

    def current(self, info: StreamInfo) -> StreamInfo:
        """What is now known of the stream. Raises StreamNotFoundError where it was deleted, also when another one has
        its name.
        """
        return _current(self.refresh(), info)

    def is_current(self, info: StreamInfo) -> bool:
        """Does the stream still exist (not another one of the same name)?"""
        found = self.refresh().streams.get(info.key)
        return found is not None and found.id == info.id

    def change(self, decide: Callable[[State], tuple[bytes | None, _T]], *, frees: bool = False) -> _T:
        """Publish the event that `decide(state)` returns beside a result (or none, for None); durable at return.

        `frees` says that it frees space, and so goes through on a full disk as well. `decide` may raise to refuse,
        and is called again where another process was faster. Raises ReadOnlyError, StoreFullError.
        """
        if self._attachment.read_only:
            raise ReadOnlyError(f"{self._attachment.path} is open read-only")
        with self._lock:
            if aside := self._aside():
                return aside.change(decide, frees=frees)
            while True:
                tail = self._fold_to_tail()
                event, result = decide(self._state)
                if event is None:
                    return result
                log = self._current_log()
                try:
                    appended = log.append([(event,)], expected_tail=tail, reserve=frees)
                except TailMismatchError:
                    continue
                log.sync(appended.end_position)
                self.refresh()
                self._roll_if_long(log)
                return result

    def settle(self) -> None:
        """Fold in what a process published and died over before it was durable; that is durable at return."""
        with self._lock:
            (self._aside() or self)._fold_to_tail()

    def _fold_to_tail(self) -> int:
        # What another process has published but not synced yet is not visible: sync it, so that the tail can be folded.
        while True:
            log = self._current_log()
            state = log.state()
            if state.visible < state.tail:
                log.sync(state.tail)
            self.refresh()
            if self._folded == log.state().tail:
                return self._folded

    def _roll_if_long(self, log: native.Log) -> None:
        state = log.state()
        if state.tail - state.segment_base <= limits.CATALOG_ROLL_SIZE:
            return
        try:
            log.roll(self._fold_to_tail())
            # An event that slips in between stands before the snapshot in its segment; folded first, it is replaced
            # with the rest.
            tail = self._fold_to_tail()
            appended = log.append([(events.snapshot(self._state),)], expected_tail=tail)
            log.sync(appended.end_position)
            # Only now is everything older superfluous; a crash in between leaves more to fold, nothing else.
            log.trim(appended.first_position)
        except (TailMismatchError, TrimmedError, StoreFullError):
            return  # another process is at it, or it will be done once there is space

    # --- the changes ------------------------------------------------------------------------------------------------

    def create(self, info: StreamInfo, *, exist_ok: bool) -> StreamInfo:
        """Make a stream (its id is given here); with `exist_ok` an existing one of the same name is returned as it
        is.
        """

        def decide(state: State) -> tuple[bytes, StreamInfo]:
            found = state.streams.get(info.key)
            if found is not None:
                raise StreamExistsError(f"the stream {info.name!r} exists already; exist_ok=True takes it as it is")
            values = info.to_map()
            floor = max(state.epoch_floor, self._attachment.epoch_counter(), info.epoch_floor)
            values.update(id=state.next_id, created_us=clock.now_us(), epoch_floor=floor)
            return events.encode("create", **values), StreamInfo.from_map(values)

        try:
            return self.change(decide)
        except StreamExistsError:
            if exist_ok:
                return self.find(info.key)
            raise

    def publish(self, kind: str, info: StreamInfo, **values: object) -> StreamInfo:
        """Publish an event about a stream, and return what was known of it just before. Raises StreamNotFoundError
        where it was deleted in the meantime.
        """

        def decide(state: State) -> tuple[bytes, StreamInfo]:
            found = _current(state, info)
            return events.encode(kind, id=info.id, **values), found

        return self.change(decide, frees=kind in _FREEING)

    def alter(self, info: StreamInfo, decide: Callable[[StreamInfo], dict[str, Any] | None]) -> StreamInfo:
        """Change settings of a stream to what `decide` makes of them; what is known then. None changes nothing.

        `decide` may raise to refuse, and is called again where another process was faster. Raises StreamNotFoundError
        where the stream was deleted, ReadOnlyError, StoreFullError.
        """
        unchanged: list[StreamInfo] = []

        def decide_event(state: State) -> tuple[bytes, None]:
            found = _current(state, info)
            values = decide(found)
            if values is None:
                unchanged.append(found)
                raise _UnchangedError
            return events.encode("alter", id=info.id, set=values), None

        try:
            self.change(decide_event)
        except _UnchangedError:
            return unchanged[-1]
        return self.find(info.key)

    def annotate(self, info: StreamInfo, name: str, update: Callable[[Any], Any]) -> Any:
        """Set a setting of a stream that the store itself has no use for to what `update` makes of its value.

        `update` gets None where there is none yet, may raise to refuse, and is called again where another process was
        faster. Raises StreamNotFoundError where the stream was deleted.
        """

        def decide(state: State) -> tuple[bytes, Any]:
            value = update(_current(state, info).extra.get(name))
            return events.encode("alter", id=info.id, set={name: value}), value

        return self.change(decide)

    def note(self, name: str, update: Callable[[Any], Any]) -> Any:
        """Set a fact about the store as a whole to what `update` makes of it, as `annotate` does; None removes it."""

        def decide(state: State) -> tuple[bytes, Any]:
            value = update(state.notes.get(name))
            return events.encode("note", set={name: value}), value

        return self.change(decide)

    def intend(self, info: StreamInfo, step: Step) -> bool:
        """Publish that a step will be carried out; False, and nothing, where the stream's shards or what stands of
        them are not what `info` says any more.
        """

        def decide(state: State) -> tuple[bytes | None, bool]:
            found = _current(state, info)
            if found.pending is not None or found.shards != info.shards:
                return None, False
            return events.encode("reshard", id=info.id, **step.to_map()), True

        return self.change(decide)

    def commit(self, info: StreamInfo, step: Step, closed: Mapping[int, Closed]) -> None:
        """Publish that a step is done, with the ends of its parents in `closed`; nothing where somebody did already."""

        def decide(state: State) -> tuple[bytes | None, None]:
            shards = _current(state, info).lineage
            if not all(shards.is_open(index) for index in step.parents):
                return None, None
            shards.check_step(step)
            ends = {index: closed[index]._asdict() for index in step.parents}
            children = step.to_map()["children"]
            return events.encode("resharded", id=info.id, parents=ends, children=children), None

        self.change(decide)

    def purged(self, stream_id: int, epoch: int) -> None:
        """Say that a deleted stream's files are gone."""
        self.change(lambda state: (events.encode("purged", id=stream_id, epoch=epoch), None), frees=True)
