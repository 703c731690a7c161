"""The thread that makes the rounds in the background: ends with its store, and keeps nothing alive."""

from __future__ import annotations

import logging
import queue
import threading
import weakref
from contextlib import suppress
from typing import Protocol

from streamstore import clock, limits, native
from streamstore.errors import ClosedError, StreamStoreError
from streamstore.maintenance.rounds import Report, Rounds

_log = logging.getLogger("streamstore")


class Home(Protocol):
    """What the caretaker asks of its store."""

    path: str
    attachment: native.Attachment
    rounds: Rounds


class Caretaker:
    """One daemon thread a store. Processes take turns: who comes while a round is recent leaves it at that."""

    def __init__(self, home: Home) -> None:
        # A store that is dropped without a close ends the thread too. The garbage collector may call in the middle of
        # anything, the thread's own wait included: a SimpleQueue is made for that, an Event would deadlock.
        self._home = weakref.ref(home, self._dropped)
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._stopped = False
        self._thread: threading.Thread | None = None
        self.last: Report | None = None
        """What the latest round of this thread did; None before the first."""
        native.watch_fork(self)

    def start(self) -> None:
        """Start the thread unless it runs, or was stopped."""
        if self._thread is None and not self._stopped:
            self._thread = threading.Thread(target=self._run, name="streamstore-maintenance", daemon=True)
            self._thread.start()

    @property
    def problems(self) -> list[str]:
        """What the latest round of this thread could not do."""
        return list(self.last.problems) if self.last else []

    def stop(self) -> None:
        """End the thread: at once, or after the log that it is at."""
        self._end()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        self._thread = None

    def _dropped(self, _: weakref.ref[Home]) -> None:
        self._end()

    def _end(self) -> None:
        self._stopped = True
        self._wake.put(None)

    def _after_fork(self) -> None:
        # Threads stay with the parent: the child starts its own when it opens the store again.
        self._thread = None
        self._wake = queue.SimpleQueue()

    def _sleep(self, us: int) -> None:
        with suppress(queue.Empty):
            self._wake.get(timeout=us / 1e6)

    def _round(self, home: Home) -> Report:
        return home.rounds.run(
            lambda: self._stopped, compaction_s=limits.MAINTENANCE_COMPACTION_S, looks=limits.MAINTENANCE_LOOKS
        )

    def _run(self) -> None:
        wait_us = limits.MAINTENANCE_FIRST_AFTER_US
        told = ""
        while True:
            self._sleep(wait_us)
            if self._stopped:
                return
            home = self._home()
            if home is None or home.attachment.closed:
                return
            try:
                wait_us = home.rounds.every_us()
                goes_on = self.last is not None and (self.last.unfinished or self.last.shards_left > 0)
                if goes_on or clock.now_us() - home.attachment.maintained() >= wait_us * 9 // 10:
                    self.last = self._round(home)
                    if self.last.unfinished:
                        wait_us = limits.MAINTENANCE_PAUSE_US
                    elif self.last.shards_left:
                        wait_us = min(wait_us, limits.MAINTENANCE_LOOK_PAUSE_US)
                problems = "; ".join(self.last.problems) if self.last else ""
            except ClosedError:
                return
            except StreamStoreError as error:
                problems, wait_us = str(error), limits.MAINTENANCE_EVERY_US
            if problems and problems != told:  # once, not once a minute
                _log.warning("maintenance of %s: %s", home.path, problems)
            told = problems
            del home  # while it waits the thread keeps no store from being dropped
