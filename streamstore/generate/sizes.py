"""Sizes of records by a distribution, said in a few letters: 100, uniform:100:1000, normal:500:50, lognormal:300:1."""

from __future__ import annotations

import random

from streamstore.errors import InvalidArgumentError

FORMS = "BYTES, uniform:LOW:HIGH, normal:MEAN:SIGMA or lognormal:MEDIAN:SIGMA"


class Sizes:
    """A distribution of sizes in bytes; what is drawn lies from 0 to `size_max`."""

    def __init__(self, text: str | int, size_max: int = 10 << 20) -> None:
        kind, *rest = str(text).split(":")
        try:
            numbers = [float(number) for number in rest] if rest else [float(kind)]
        except ValueError:
            raise _wrong(text) from None
        self._kind = kind if rest else "fixed"
        wanted = {"fixed": 1, "uniform": 2, "normal": 2, "lognormal": 2}.get(self._kind)
        if wanted != len(numbers) or any(not 0 <= number <= size_max for number in numbers):
            raise _wrong(text)
        if self._kind == "uniform" and numbers[0] > numbers[1]:
            raise _wrong(text)
        if self._kind == "lognormal" and numbers[0] == 0:
            raise _wrong(text)
        self._numbers = numbers
        self._size_max = size_max

    def draw(self, chance: random.Random) -> int:
        """One size."""
        first = self._numbers[0]
        if self._kind == "fixed":
            return int(first)
        second = self._numbers[1]
        if self._kind == "uniform":
            return chance.randint(int(first), int(second))
        if self._kind == "normal":
            size = chance.gauss(first, second)
        else:
            size = first * chance.lognormvariate(0.0, second)
        return max(0, min(round(size), self._size_max))


def _wrong(text: str | int) -> InvalidArgumentError:
    return InvalidArgumentError(f"{text!r} is no size of records: {FORMS}")
