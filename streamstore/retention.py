"""What retention means: which time is believed, and before which arrival nothing of a stream may be returned. Pure.

The wall clock is believed while it stands within an hour of where the boot clock lets expect it. Where it jumped
further, time goes on by the boot clock and nothing is trimmed, until the two agree again or somebody who may says that
the wall clock is right.
"""

from __future__ import annotations

from collections.abc import Callable

from streamstore import clock

HOUR_US = 3_600_000_000
JUMP_MAX_US = HOUR_US
LOOK_EVERY_US = 1_000_000
"""How old what is known of the boot clock and of a stream's settings may be where records are returned."""
FOREVER = -1
"""As a retention: nothing expires."""
_NEVER = 1 << 62


def retention_us(hours: int, override_us: int) -> int:
    """How long records are kept; `override_us` counts where it is not 0."""
    return override_us or hours * HOUR_US


class TrustedClock:
    """The wall clock as far as the boot clock bears it out. Any thread.

    `jump` says by how much the wall clock is ahead of where it should stand; it is asked once a second.
    """

    def __init__(self, jump: Callable[[], int], wall: Callable[[], int] = clock.now_us) -> None:
        self.wall = wall
        self.jump = jump
        self._seen = (0, 0, 0)  # from when to when by the wall clock the correction holds, and the correction

    def now_us(self) -> int:
        """Microseconds since 1970 as they are believed."""
        wall = self.wall()
        return wall + self.correction_us(wall)

    def correction_us(self, wall: int) -> int:
        """What is to be added to this reading of the wall clock: 0 where it is believed."""
        begin, end, correction = self._seen
        return correction if begin <= wall < end else self.look(wall)

    def look(self, wall: int | None = None) -> int:
        """Compare with the boot clock now; returns what is to be added to the wall clock: 0 where it is believed."""
        wall = self.wall() if wall is None else wall
        jump = self.jump()
        correction = 0 if abs(jump) <= JUMP_MAX_US else -jump
        self._seen = (wall, wall + LOOK_EVERY_US, correction)
        return correction

    def forget(self) -> None:
        """Compare at the next call, whenever that is."""
        self._seen = (0, 0, 0)


class Horizon:
    """The arrival time before which nothing of one stream may be returned, now: called without arguments.

    `kept_us` says how long records are kept (FOREVER: nothing expires); it is asked once a second, and after `forget`.
    """

    def __init__(self, trusted: TrustedClock, kept_us: Callable[[], int]) -> None:
        self._clock = trusted
        self._kept_us = kept_us
        self._seen = (0, 0, 0)  # from when to when by the wall clock this holds: how far the horizon is behind it

    def __call__(self) -> int:
        wall = self._clock.wall()
        begin, end, behind = self._seen
        if not begin <= wall < end:  # else nothing but this: it is asked at every get
            kept = self._kept_us()
            behind = kept - self._clock.correction_us(wall) if kept >= 0 else _NEVER
            self._seen = (wall, wall + LOOK_EVERY_US, behind)
        return wall - behind if wall > behind else 0

    def is_certain(self) -> bool:
        """Whether what lies before it may be dropped: not while the wall clock stands where nobody expects it."""
        return self._clock.look() == 0

    def forget(self) -> None:
        """Ask for the retention at the next call: it was just changed."""
        self._seen = (0, 0, 0)
