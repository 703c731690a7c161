"""The clock of a replay: where it stands in the recorded time, how fast that passes, and waiting for a moment of it."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from streamstore.errors import InvalidArgumentError, InvalidTypeError


class Pace:
    """Recorded time in microseconds as a function of the monotonic clock; any thread may change its speed.

    Not started it stands still. At infinite speed every moment has come.
    """

    def __init__(self, speed: float, *, monotonic_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._monotonic_ns = monotonic_ns
        self._changed = threading.Condition()
        self._speed = checked_speed(speed)
        self._paused = self._started = self._stopped = False
        self._since_ns = 0
        self._reached_us = 0.0

    @property
    def speed(self) -> float:
        """How many recorded seconds pass in a second."""
        return self._speed

    @property
    def is_paused(self) -> bool:
        """Does it stand still until `resume`?"""
        return self._paused

    @property
    def is_over_all(self) -> bool:
        """Has every moment come, however late it is?"""
        return math.isinf(self._speed) and not self._paused

    def start(self, at_us: float) -> None:
        """Let it stand at a moment now, and run from there."""
        with self._changed:
            self._reached_us, self._since_ns, self._started = at_us, self._monotonic_ns(), True
            self._changed.notify_all()

    def reset(self) -> None:
        """Stand still until the next start."""
        with self._changed:
            self._started = False
            self._changed.notify_all()

    @property
    def is_started(self) -> bool:
        """Does it know where it stands?"""
        return self._started

    def now_us(self) -> float:
        """The moment of recorded time that is now."""
        with self._changed:
            return self._now_us()

    def _now_us(self) -> float:
        if not self._started or self._paused:
            return self._reached_us
        if math.isinf(self._speed):
            return math.inf
        return self._reached_us + (self._monotonic_ns() - self._since_ns) * self._speed / 1000

    def set_speed(self, speed: float) -> None:
        """Go on from here at another speed."""
        checked = checked_speed(speed)
        with self._changed:
            self._stand()
            self._speed = checked
            self._changed.notify_all()

    def pause(self) -> None:
        """Stand still."""
        with self._changed:
            self._stand()
            self._paused = True
            self._changed.notify_all()

    def resume(self) -> None:
        """Go on from where it stands."""
        with self._changed:
            if self._paused:
                self._paused = False
                self._since_ns = self._monotonic_ns()
            self._changed.notify_all()

    def _stand(self) -> None:
        now = self._now_us()
        if not math.isinf(now):
            self._reached_us = now
        self._since_ns = self._monotonic_ns()

    def passed(self, moment_us: float) -> None:
        """Note that a moment was handed out, for when the speed was infinite and is not any more."""
        if math.isinf(self._speed):
            self._reached_us = max(self._reached_us, moment_us)

    def wait_until(self, moment_us: float) -> None:
        """Wait for a moment of recorded time, or for a change of whatever kind."""
        with self._changed:
            if self._stopped:
                return
            now = self._now_us()
            if self._paused or not self._started:
                self._changed.wait()
            elif now < moment_us:
                self._changed.wait((moment_us - now) / self._speed / 1_000_000)

    def stop(self) -> None:
        """End every wait, now and later."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()


def checked_speed(speed: float) -> float:
    """A speed as a number above 0. Raises InvalidArgumentError, InvalidTypeError."""
    if isinstance(speed, bool) or not isinstance(speed, (int, float)):
        raise InvalidTypeError(f"a speed is a number, not {type(speed).__name__}")
    if math.isnan(speed) or speed <= 0:
        raise InvalidArgumentError(f"speed {speed!r}: it is above 0 (1 is as it was, math.inf flat out)")
    return float(speed)
