"""A producer's figures by the KPL's names: in all, per shard and per error code; of its life or the last seconds."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import NamedTuple

WINDOW_MAX_S = 60


class Statistic(NamedTuple):
    """What was counted or measured under one name. `dimension`: "", a shard's id, or an error's code."""

    name: str
    dimension: str
    samples: int
    sum: float
    min: float
    max: float

    @property
    def mean(self) -> float:
        """The sum over the samples; 0 where there are none."""
        return self.sum / self.samples if self.samples else 0.0


_Cells = dict[tuple[str, str], list[float]]


# What the KPL's level "summary" has; "detailed" has all, "none" nothing.
_SUMMARY = frozenset({"UserRecordsPut", "KinesisRecordsPut", "ErrorsByCode", "AllErrors", "BufferingTime"})


class Metrics:
    """Cells of (count, sum, min, max), one set a second for the last minute and one for all time. Any thread.

    Only what the KPL's `level` names is counted, and per shard only where `granularity` is "shard".
    """

    def __init__(self, level: str = "detailed", granularity: str = "shard") -> None:
        self._level = level
        self.per_shard = granularity == "shard"
        self._lock = threading.Lock()
        self._all: _Cells = {}
        self._seconds: deque[tuple[int, _Cells]] = deque(maxlen=WINDOW_MAX_S + 1)

    def counts(self, name: str) -> bool:
        """Is that metric one of the level's?"""
        return self._level == "detailed" or (self._level == "summary" and name in _SUMMARY)

    def add(
        self,
        name: str,
        sum_: float,
        *,
        count: int = 1,
        dimension: str = "",
        low: float | None = None,
        high: float | None = None,
    ) -> None:
        """Count `count` values that make `sum_`; `low` and `high` where they are not all alike."""
        if not self.counts(name):
            return
        mean = sum_ / count if count else 0.0
        values = (count, sum_, mean if low is None else low, mean if high is None else high)
        second = int(time.monotonic())
        with self._lock:
            if not self._seconds or self._seconds[-1][0] != second:
                self._seconds.append((second, {}))
            for cells in (self._all, self._seconds[-1][1]):
                _merge(cells, (name, dimension), values)

    def read(self, seconds: int | None) -> dict[str, list[Statistic]]:
        """Statistics by name, the sum of all dimensions first; of the last `seconds` (1 to 60), or of all time."""
        with self._lock:
            if seconds is None:
                cells: _Cells = {key: list(cell) for key, cell in self._all.items()}
            else:
                cells = {}
                first = int(time.monotonic()) - seconds
                for second, own in self._seconds:
                    for key, cell in own.items() if second > first else ():
                        _merge(cells, key, (cell[0], cell[1], cell[2], cell[3]))
        found: dict[str, list[Statistic]] = {}
        for (name, dimension), cell in sorted(cells.items()):
            found.setdefault(name, []).append(Statistic(name, dimension, int(cell[0]), *cell[1:]))
        return found


def _merge(cells: _Cells, key: tuple[str, str], values: tuple[float, float, float, float]) -> None:
    cell = cells.get(key)
    if cell is None:
        cells[key] = list(values)
        return
    cell[0] += values[0]
    cell[1] += values[1]
    cell[2] = min(cell[2], values[2])
    cell[3] = max(cell[3], values[3])
