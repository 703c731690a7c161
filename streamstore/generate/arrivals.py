"""When records come: arrival processes, each a series of offsets in seconds from the start that never falls."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import count, repeat
from typing import Protocol

from streamstore.errors import InvalidArgumentError

RATE_MAX = 100_000_000.0
HOURS_OF_WEEK = 168


class Arrivals(Protocol):
    """An arrival process. Offsets go on for ever; the same `chance` gives the same ones."""

    def offsets(self, chance: random.Random, start: datetime) -> Iterator[float]:
        """Seconds from `start` (a local time: days have hours) to each arrival."""


def _checked(rate: float) -> float:
    if not (math.isfinite(rate) and 0 < rate <= RATE_MAX):
        raise InvalidArgumentError(f"a rate is more than 0 and at most {RATE_MAX:,.0f} a second, not {rate}")
    return float(rate)


class FlatOut:
    """All at once: as fast as they can be made and sent."""

    def offsets(self, chance: random.Random, start: datetime) -> Iterator[float]:
        """Always 0."""
        return repeat(0.0)


class Constant:
    """`rate` a second, evenly."""

    def __init__(self, rate: float) -> None:
        self._rate = _checked(rate)

    def offsets(self, chance: random.Random, start: datetime) -> Iterator[float]:
        """n / rate."""
        return (number / self._rate for number in count())


class Poisson:
    """`rate` a second on average, each independent of all others: what many independent users look like."""

    def __init__(self, rate: float) -> None:
        self._rate = _checked(rate)

    def offsets(self, chance: random.Random, start: datetime) -> Iterator[float]:
        """Gaps of the exponential distribution."""
        at = 0.0
        while True:
            at += chance.expovariate(self._rate)
            yield at


class Bursts:
    """`rate` a second, evenly, for `on` seconds, then silence for `off` seconds, and again."""

    def __init__(self, rate: float, on: float, off: float) -> None:
        self._rate = _checked(rate)
        if not (math.isfinite(on + off) and on > 0 and off >= 0):
            raise InvalidArgumentError(f"a burst lasts more than 0 s and a pause at least 0 s, not {on} and {off}")
        self._on, self._off = on, off

    def offsets(self, chance: random.Random, start: datetime) -> Iterator[float]:
        """A burst has on * rate records, rounded, one at least."""
        size = max(1, round(self._on * self._rate))
        for burst in count():
            begin = burst * (self._on + self._off)
            for number in range(size):
                yield begin + number / self._rate


class Periodic:
    """Each second a number drawn around the mean of its hour of the week, with a standard deviation of its own.

    `means` and `sigmas` have 168 numbers each, from Monday 0:00 on, in records a second. `smooth` moves from one hour's
    to the next's in a straight line.
    """

    def __init__(self, means: Sequence[float], sigmas: Sequence[float], *, smooth: bool = False) -> None:
        for name, numbers in (("means", means), ("sigmas", sigmas)):
            if len(numbers) != HOURS_OF_WEEK:
                raise InvalidArgumentError(f"{name}: {HOURS_OF_WEEK} hours of a week are wanted, not {len(numbers)}")
            if not all(math.isfinite(number) and 0 <= number <= RATE_MAX for number in numbers):
                raise InvalidArgumentError(f"{name}: a number a second is from 0 to {RATE_MAX:,.0f}")
        if not any(means):
            raise InvalidArgumentError("means: all are 0, so nothing would ever come")
        self._means, self._sigmas, self._smooth = list(means), list(sigmas), smooth

    def offsets(self, chance: random.Random, start: datetime) -> Iterator[float]:
        """What a second has comes evenly within it."""
        for second in count():
            mean, sigma = self.at(start + timedelta(seconds=second))
            number = round(chance.gauss(mean, sigma))
            for place in range(number):
                yield second + place / number

    def at(self, moment: datetime) -> tuple[float, float]:
        """Mean and standard deviation of the second that begins at `moment`."""
        hour = moment.weekday() * 24 + moment.hour
        mean, sigma = self._means[hour], self._sigmas[hour]
        if self._smooth:
            share = (moment.minute * 60 + moment.second) / 3600
            after = (hour + 1) % HOURS_OF_WEEK
            mean += share * (self._means[after] - mean)
            sigma += share * (self._sigmas[after] - sigma)
        return mean, sigma
