"""Frontier: which shards a reader is in, which of them wait for their parents, and who comes after a closed one.

A child starts once every parent of it that the reader reads has been read to its end, so what one key was given before
a split or merge comes before what it was given after. A shard that is read to its end stays (at its end, so that a
position can say so) until its children are in.
"""

from __future__ import annotations

from typing import Protocol

from streamstore import native
from streamstore.bounds import Bounds
from streamstore.cursor import Cursor
from streamstore.events import StreamInfo
from streamstore.iterators import Place


class FrontierHome(Protocol):
    """What a frontier asks of the stream."""

    def check(self) -> StreamInfo: ...
    def log(self, index: int) -> native.Log: ...
    def children(self, index: int) -> tuple[int, ...]: ...


class Frontier:
    """The cursors of one reader. Guarded by the reader."""

    def __init__(self, home: FrontierHome, bounds: Bounds) -> None:
        self._home = home
        self._grows = bounds.grows
        self._shards = bounds.lineage
        self.lost = list(bounds.lost)  # expired before they were read; for the reader to tell
        self.cursors = {item.shard_index: Cursor(*item) for item in bounds.shards}
        self._waits_for: dict[int, set[int]] = {}  # child -> those it waits for; no entry once it waits for nobody
        self._heirs: dict[int, list[int]] = {}  # and the other way round
        through: dict[int, set[int]] = {}  # for shards that are not read: their nearest ancestors that are
        for index in sorted({*self._shards.changed, *self.cursors} if self._shards.changed else ()):
            above = {heir for parent in self._shards[index].parents for heir in self._nearest(parent, through)}
            if index in self.cursors:
                self._block(index, above)
            else:
                through[index] = above
        self.active = [cursor for index, cursor in self.cursors.items() if index not in self._waits_for]
        self._childless: list[Cursor] = []  # closed, and nobody has said who goes on
        self._entered: list[int] = []  # came in, and not looked at yet
        self._drained: list[Cursor] = []  # read to their end; kept until their children are in
        self.alone: Cursor | None
        """The one cursor that anything can come from, where there is just one."""
        self._count()

    def _nearest(self, index: int, through: dict[int, set[int]]) -> set[int]:
        return {index} if index in self.cursors else through.get(index, set())

    def _block(self, index: int, waits_for: set[int]) -> None:
        if waits_for:
            self._waits_for[index] = waits_for
        for parent in waits_for:
            self._heirs.setdefault(parent, []).append(index)

    def _count(self) -> None:
        self.alone = self.active[0] if len(self.active) == 1 and not self._childless else None

    @property
    def is_stuck(self) -> bool:
        """Does it know of a shard that has ended, and not who goes on?"""
        return bool(self._childless)

    @property
    def is_over(self) -> bool:
        """Is nothing left to fetch, for ever?"""
        return not self.active and not self._waits_for and not self._childless

    @property
    def is_draining(self) -> bool:
        """Is a shard kept only until its children are in?"""
        return bool(self._drained)

    def places(self) -> dict[str, Place]:
        """Where each shard stands, by id."""
        return {cursor.log.shard_id: cursor.place for cursor in self.cursors.values()}

    def advance(self) -> bool:
        """Start the shards that waited for one which has ended since, or come after it; True where any started.

        A shard has ended when its last records are fetched, also where they are not handed out yet.
        """
        ended = [cursor for cursor in self.active if cursor.ended]
        if not ended and not self._childless:
            return False
        self.active = [cursor for cursor in self.active if not cursor.ended]
        before = len(self.active)
        self._drained += [cursor for cursor in ended if cursor.is_closed]
        if self._grows:
            self._childless += [cursor for cursor in ended if cursor.is_closed]
            self._childless = [cursor for cursor in self._childless if not self._take_children(cursor)]
        # Only now: a shard may have to wait for others that came in with it, or for the children of one that has ended.
        while self._entered:
            self._start(self._entered.pop())
        for cursor in ended:
            self._unblock(cursor)
        self._count()
        return len(self.active) > before

    def _unblock(self, parent: Cursor) -> None:
        for index in self._heirs.pop(parent.index, ()):
            waits_for = self._waits_for[index]
            waits_for.discard(parent.index)
            self.cursors[index].follow_on(parent, self._shards[index].epoch_floor)
            if not waits_for:
                del self._waits_for[index]
                self._start(index)

    def forget_drained(self) -> None:
        """Let go of shards that were handed out to their end and whose children are in: positions say enough without
        them.
        """
        for cursor in sorted(self._drained, key=lambda item: item.index):
            heirs = self._shards[cursor.index].children
            if heirs and not cursor.pending and all(self._is_in(heir) for heir in heirs):
                del self.cursors[cursor.index]
        self._drained = [cursor for cursor in self._drained if cursor.index in self.cursors]

    def _is_in(self, index: int) -> bool:
        if self._shards[index].expired:
            return all(self._is_in(heir) for heir in self._shards[index].children)
        return index in self.cursors

    def _take_children(self, cursor: Cursor) -> bool:
        children = self._home.children(cursor.index)
        if children:
            self._shards = self._home.check().lineage
        for child in children:
            self._enter(child, cursor)
        return bool(children)

    def _enter(self, index: int, parent: Cursor) -> None:
        if index in self.cursors:
            return
        node = self._shards[index]
        if node.expired:
            if node.closed is not None and not node.closed.is_read(0):
                self.lost.append(index)
            for child in node.children:
                self._enter(child, parent)
            return
        cursor = self.cursors[index] = Cursor(index, self._home.log(index), Place(native.FIRST_POSITION, 0), 0)
        cursor.follow_on(parent, node.epoch_floor)
        self._entered.append(index)

    def _start(self, index: int) -> None:
        """Read a shard from now on, unless there is one above it that is not read to its end."""
        self._block(index, self._unread_above(index))
        if index not in self._waits_for:
            self.active.append(self.cursors[index])

    def _unread_above(self, index: int) -> set[int]:
        found, seen, waiting = set(), set(), list(self._shards[index].parents)
        while waiting:
            parent = waiting.pop()
            cursor = self.cursors.get(parent)
            if cursor is not None and not cursor.ended:
                found.add(parent)
            elif cursor is None and parent not in seen:
                seen.add(parent)
                waiting += self._shards[parent].parents
        return found
