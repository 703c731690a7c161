"""Two contenders in turn: rival, ours, rival, ours. On a machine that others use too, only neighbours in time compare.

pytest-benchmark drives the rounds and times ours; the rival runs, timed the same way, in the setup of each round.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from streamstore.bench.result import Side


@dataclass(frozen=True)
class Lap:
    """What one contender does in a round: `prepare` outside the clock, `run` inside it; `count` records pass."""

    name: str
    durability: str
    count: int
    run: Callable[[Any], object]
    prepare: Callable[[], Any] = lambda: None
    version: str = ""
    setup: str = ""
    unit: str = "records/s"


@dataclass(frozen=True)
class Race:
    """The outcome: a rate a round on both sides, and their ratio round by round."""

    ours: Side
    rival: Side
    ratios: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """The median of ours over the rival's, round by round."""
        return statistics.median(self.ratios)

    @property
    def spread(self) -> tuple[float, float]:
        """The middle half of the ratios."""
        return quartiles(self.ratios)


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """Return the first and third quartile; both the value itself where there is one."""
    if len(values) < 2:
        return values[0], values[0]
    first, _median, third = statistics.quantiles(values, n=4, method="inclusive")
    return first, third


def race(benchmark: Any, ours: Lap, rival: Lap, *, rounds: int, warm_rounds: int) -> Race:
    """Run the rounds in turn and return both sides' rates. The first rounds warm up and do not count."""
    rival_seconds: list[float] = []

    def rival_then_ours() -> tuple[tuple[Any], dict[str, Any]]:
        rival_input, ours_input = rival.prepare(), ours.prepare()
        gc.collect()
        started = time.perf_counter()
        rival.run(rival_input)
        rival_seconds.append(time.perf_counter() - started)
        return (ours_input,), {}

    gc.collect()
    gc.freeze()  # the records of this run are not garbage, and are not to be walked again and again
    try:
        benchmark.pedantic(ours.run, setup=rival_then_ours, rounds=rounds, warmup_rounds=warm_rounds, iterations=1)
    finally:
        gc.unfreeze()
    ours_rates = [ours.count / seconds for seconds in benchmark.stats.stats.data]
    rival_rates = [rival.count / seconds for seconds in rival_seconds[-rounds:]]
    ratios = tuple(mine / theirs for mine, theirs in zip(ours_rates, rival_rates, strict=True))
    benchmark.extra_info.update(rival=rival.name, ratio=statistics.median(ratios))
    return Race(side(ours, ours_rates), side(rival, rival_rates), ratios)


def side(lap: Lap, values: Sequence[float]) -> Side:
    """Return one contender's rounds as they go into the result."""
    return Side(lap.name, lap.durability, lap.unit, statistics.median(values), tuple(values), lap.version, lap.setup)
