"""How long streams stay CREATING or UPDATING: nothing unless a test or a demonstration asks for it."""

from __future__ import annotations

import threading

from streamstore import Stream


class Delays:
    """Statuses by the clock: CREATING for a while after the creation, UPDATING for a while after a change."""

    def __init__(self, delay_us: int) -> None:
        self.delay_us = delay_us
        self._lock = threading.Lock()
        self._changed_us: dict[int, int] = {}

    def status(self, stream: Stream, now_us: int) -> str:
        """The status of a stream now."""
        if now_us - stream.info.created_us < self.delay_us:
            return "CREATING"
        with self._lock:
            changed_us = self._changed_us.get(stream.info.id)
            if changed_us is None:
                return "ACTIVE"
            if now_us - changed_us < self.delay_us:
                return "UPDATING"
            del self._changed_us[stream.info.id]
        return "ACTIVE"

    def changed(self, stream: Stream, now_us: int) -> None:
        """Say that something about the stream was changed: it is UPDATING from now on, for a while."""
        with self._lock:
            self._changed_us[stream.info.id] = now_us
