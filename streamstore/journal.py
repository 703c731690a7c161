"""A journal: a log of events that every process of a store folds into the same state, changed by compare-and-append.

decide from the state, append with the folded tail expected; whoever was overtaken folds what is new and decides
again. A long one is rolled: a snapshot begins the next segment, and what was before it goes. Knows bytes, not what
they mean. Its log shows what is published (it is never a `sync` one); who needs an event durable syncs it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, Protocol, TypeVar

from streamstore import limits, native
from streamstore.errors import StoreFullError, TailMismatchError, TrimmedError

_ROLL_LOOK_SIZE = 64 * limits.KIB
_SHRINK_SIZE = limits.JOURNAL_RESERVE_SIZE // 2
_SNAPSHOT_TRIES = 10
_TORN = 1
"""The tail of a state that is folded in part, because a signal's handler raised in between: no log ends there, so
nothing that is decided from it can be appended, and the next look makes it anew."""


class Folded(Protocol):
    """What a journal keeps: a state that events change."""

    def fold(self, event: bytes) -> None: ...
    def snapshot(self) -> bytes:
        """An event that makes the whole state out of any other."""


F = TypeVar("F", bound=Folded)


class Journal(Generic[F]):
    """One process's view of a journal. Callers hold `lock` around everything but `sync`; goes on after a fork.

    `state` is valid up to `tail`; a forked child and a handle that fell behind a trim get a new one. Who published by
    other means than `append` sets `owed`, (fold, values ...) that do what folding the event would, and then `tail`: it
    is folded when somebody looks at the state next, and is not in the way of whoever waits for what was published.
    """

    def __init__(
        self, attach: Callable[[], native.Log], new: Callable[[], F], announce_trim: Callable[[int], object]
    ) -> None:
        self._attach = attach
        self._new = new
        self._announce_trim = announce_trim  # makes a new start durable, before a file goes
        self._after_fork()
        native.watch_fork(self)

    def _after_fork(self) -> None:
        self.lock = threading.Lock()
        self.log: native.Log | None = None
        self._begin(0)
        self._look_at = 0
        self._snapshot_size = 0

    def _begin(self, tail: int) -> None:
        self._state = self._new()
        self.owed: tuple[Any, ...] | None = None
        self.tail = tail

    @property
    def state(self) -> F:
        """What all events before `tail` fold into."""
        if self.owed is not None:
            (fold, *values), tail = self.owed, self.tail
            self.tail, self.owed = _TORN, None  # a handler that raises between here and the fold leaves no gap
            self.published(tail, fold, *values)
        return self._state

    def open(self) -> native.Log:
        """The log, with everything published folded in when it is opened here. Raises what attaching raises."""
        if self.log is None:
            log = self._attach()
            self.tail = log.state().start
            self.log = log
            self.refresh()
        return self.log

    def refresh(self) -> bool:
        """Fold what is new; True where anything was."""
        log, _ = self.open(), self.state
        if self.tail == _TORN:
            self._begin(log.state().start)
        visible = log.visible()
        if self.tail >= visible:
            return False
        try:
            self._fold_to(log, visible)
        except BaseException:
            self.tail = _TORN
            raise
        return True

    def _fold_to(self, log: native.Log, visible: int) -> None:
        while self.tail < visible:
            size = min(max(visible - self.tail, 4 * limits.KIB), limits.READ_CHUNK_SIZE)
            records, position, seen, _, status, _, _ = log.read(self.tail, 0, limits.READ_CHUNK_RECORDS, size)
            for record in records:
                self.state.fold(record.data)
            if status & 0xFF == native.TRIMMED:
                # Somebody snapshotted and trimmed behind our back: the snapshot is all we need.
                self._begin(log.state().start)
            elif status:
                raise native.error_for(status, log.shard_id)
            else:
                self.tail = position if position > self.tail else seen

    def append(
        self, event: bytes, fold: Callable[..., object] | None = None, *values: Any, reserve: bool = False
    ) -> bool:
        """Publish and fold an event; False, with what came in between folded, where it was decided from an old state.

        With `fold`, a method of the state, `fold(*values)` does what folding the event would, and sooner. `reserve`
        lets it use the space that is kept for what frees space. Raises StoreFullError, StaleHandleError,
        ClosedError, ReadOnlyError; nothing was published then.
        """
        state = self.state
        try:
            tail = (self.log or self.open()).append_event(event, self.tail)
        except StoreFullError:
            if not reserve:
                raise
            tail = self._append_on_full(event)
        if not tail:
            self.refresh()
            return False
        if fold is None:
            self.published(tail, state.fold, event)
        else:
            self.published(tail, fold, *values)
        return True

    def published(self, tail: int, fold: Callable[..., object], *values: Any) -> None:
        """An event decided from this state stands before `tail`: `fold(*values)` does what folding it would."""
        try:
            self.tail = tail
            fold(*values)
        except BaseException:
            self.tail = _TORN
            raise
        if tail > self._look_at:
            self._roll_if_long()

    def _append_on_full(self, event: bytes) -> int:
        """The new tail, or 0 where the event is to be decided again, because the journal was rolled."""
        return 0 if self.shrink() else self.open().append_event(event, self.tail, True)

    def shrink(self) -> bool:
        """On a full disk: roll where that gives back more than it takes. Only a short journal spends the reserve on
        events, for then a roll would find no page.
        """
        log = self.open()
        if not self.is_long(self.tail - log.state().start, _SHRINK_SIZE):
            return False
        with suppress(StoreFullError):
            self.roll()  # by way of the store's reserve
            log.attachment.make_reserve()
            return True
        return False

    def sync(self, tail: int) -> None:
        """Return once every event before `tail` is durable; concurrent callers share a sync. Needs no lock."""
        log = self.log
        if log is not None:
            log.sync(tail)

    def _roll_if_long(self) -> None:
        log = self.open()
        state = log.state()
        # From the start, not from the segment's base: a process may have died between its roll and its trim.
        if self.is_long(state.tail - state.start, limits.JOURNAL_ROLL_SIZE):
            with suppress(StoreFullError):  # what was just published stands all the same
                self.roll()
        elif log.attachment.is_nearly_full():
            self.shrink()
        self._look_at = self.tail + _ROLL_LOOK_SIZE

    def is_long(self, size: int, limit: int) -> bool:
        """Is a journal of `size` bytes worth a new snapshot? One as long as what it replaces would come again and
        again.
        """
        return size > max(limit, 4 * self._snapshot_size)

    def roll(self) -> None:
        """Begin a new segment with a snapshot, durable at return, and let go of all before it. Raises StoreFullError,
        with all that was published standing.
        """
        log = self.open()
        try:
            log.roll(self.tail)
            tail = 0
            for _ in range(_SNAPSHOT_TRIES):
                self.refresh()
                snapshot, start = self.state.snapshot(), self.tail
                if tail := log.append_event(snapshot, self.tail, True):
                    break
            if not tail:
                return  # others are at it without end: the next look is not far
            self.tail = tail
            self._snapshot_size = len(snapshot)
            log.sync(tail)
            # Only now is everything older superfluous; a crash in between leaves more to fold, nothing else. Older than
            # the snapshot, not than the newest segment: another process may be between its roll and its snapshot.
            self._announce_trim(start)
            log.trim(start)
        except (TailMismatchError, TrimmedError):
            return  # another process is at it
