"""The heartbeat: extends messages whose handlers still run, from one thread a queue, there while it is needed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from streamstore import native
from streamstore.errors import StaleReceiptError, StreamStoreError

if TYPE_CHECKING:
    from streamstore.queue.engine import Engine
    from streamstore.queue.message import Message

_BEATS = 3  # in one visibility timeout
_SECONDS_MIN = 0.05


class Heart:
    """Watches messages for one engine. Any thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._after_fork()
        native.watch_fork(self)

    def _after_fork(self) -> None:
        self._changed = threading.Condition()
        self._watched: dict[int, Message] = {}
        self._thread: threading.Thread | None = None

    def watch(self, message: Message) -> None:
        """Extend it, again and again, until it is forgotten."""
        # The next beat may come too late for one that was received for less, or waited for its turn in a batch.
        visibility_us = self._engine.settings.visibility_us
        if self._engine.left_us(message.name) * _BEATS < visibility_us * (_BEATS - 1):
            self._extend(message, visibility_us)
        with self._changed:
            self._watched[message.name] = message
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="streamstore-heartbeat", daemon=True)
                self._thread.start()

    def forget(self, message: Message) -> None:
        with self._changed:
            self._watched.pop(message.name, None)

    def stop(self) -> None:
        """Watch nothing any more."""
        with self._changed:
            self._watched.clear()
            self._changed.notify()

    def _run(self) -> None:
        visibility_us = self._engine.settings.visibility_us
        seconds = max(_SECONDS_MIN, visibility_us / 1_000_000 / _BEATS)
        while True:
            with self._changed:
                self._changed.wait(seconds)
                if not self._watched:
                    self._thread = None
                    return
                watched = list(self._watched.values())
            for message in watched:
                self._extend(message, visibility_us)

    def _extend(self, message: Message, visibility_us: int) -> None:
        if message.settled:
            return
        try:
            self._engine.extend(((message.name, message.number),), visibility_us)
        except StaleReceiptError:
            self.forget(message)
        except StreamStoreError:
            return  # closed, full: the handler meets it when it settles
