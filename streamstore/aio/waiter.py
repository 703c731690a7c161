"""The waiter: one thread per open store that wakes every follower of every event loop, however many there are.

follower: register a ticket, look for news itself, then await        (so nothing that came in between is missed)
thread:   read the watch word, look for news for all tickets, sleep until the word differs
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Iterable

from streamstore import limits, native
from streamstore.errors import StreamStoreError

_IDLE_SECONDS = 1.0


class Ticket:
    """One wait: done when something is visible beyond the position in one of the logs."""

    __slots__ = ("future", "loop", "wanted")

    def __init__(self, wanted: list[tuple[native.Log, int]]) -> None:
        self.wanted = wanted
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[None] = self.loop.create_future()


def has_news(ticket: Ticket, seen: dict[int, int]) -> bool:
    """Is there something for it? `seen` has the visible ends already looked up. An error is news: the reader will
    meet it.
    """
    for log, position in ticket.wanted:
        visible = seen.get(log.address)
        if visible is None:
            try:
                visible = log.visible()
            except StreamStoreError:
                visible = 1 << 64
            seen[log.address] = visible
        if visible > position:
            return True
    return not ticket.wanted


class Waiter:
    """Watches one attachment while anybody waits."""

    def __init__(self, attachment: native.Attachment) -> None:
        self._attachment = attachment
        self._changed = threading.Condition()
        self._tickets: set[Ticket] = set()
        self._thread: threading.Thread | None = None

    def register(self, ticket: Ticket) -> None:
        """Have the ticket's future resolved once there is news (or already now)."""
        with self._changed:
            self._tickets.add(ticket)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="streamstore-waiter", daemon=True)
                self._thread.start()
            self._changed.notify()
        if has_news(ticket, {}):
            _resolve([ticket])

    def forget(self, ticket: Ticket) -> None:
        """Nobody waits for it any more."""
        with self._changed:
            self._tickets.discard(ticket)

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._tickets and not self._changed.wait_for(lambda: self._tickets, _IDLE_SECONDS):
                    self._thread = None
                    return
            try:
                word = self._attachment.watch()
                if not self._fire() and not self._attachment.wait(word, limits.WAIT_SLICE_US):
                    self._sync_orphans()
            except StreamStoreError:
                # Closed, or retired: whoever reads next gets the error itself.
                with self._changed:
                    tickets, self._tickets = self._tickets, set()
                    self._thread = None
                _wake(tickets)
                return

    def _sync_orphans(self) -> None:
        with self._changed:
            logs = {log.address: log for ticket in self._tickets for log, _ in ticket.wanted}
        for log in logs.values():
            try:
                log.sync_orphan()
            except StreamStoreError:
                continue  # whoever reads it next gets the error itself

    def _fire(self) -> bool:
        """Wake those who have something; True where somebody had."""
        with self._changed:
            tickets = list(self._tickets)
        seen: dict[int, int] = {}
        ready = [ticket for ticket in tickets if has_news(ticket, seen)]
        if ready:
            with self._changed:
                self._tickets.difference_update(ready)
            _wake(ready)
        return bool(ready)


def _resolve(tickets: Iterable[Ticket]) -> None:
    for ticket in tickets:
        if not ticket.future.done():
            ticket.future.set_result(None)


def _wake(tickets: Iterable[Ticket]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[Ticket]] = {}
    for ticket in tickets:
        by_loop.setdefault(ticket.loop, []).append(ticket)
    for loop, own in by_loop.items():
        try:
            loop.call_soon_threadsafe(_resolve, own)
        except RuntimeError:
            continue  # that loop is closed, and nobody waits in it


class _Waiters:
    """One waiter for each attachment of this process."""

    def __init__(self) -> None:
        self._after_fork()
        native.watch_fork(self)

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
        self._by_attachment: weakref.WeakKeyDictionary[native.Attachment, Waiter] = weakref.WeakKeyDictionary()

    def of(self, attachment: native.Attachment) -> Waiter:
        with self._lock:
            found = self._by_attachment.get(attachment)
            if found is None:
                found = self._by_attachment[attachment] = Waiter(attachment)
            return found


_waiters = _Waiters()


def waiter_of(attachment: native.Attachment) -> Waiter:
    """The waiter that all followers through this attachment share."""
    return _waiters.of(attachment)
