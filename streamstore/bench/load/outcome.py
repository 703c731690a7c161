"""A run of load in the one schema of results: for each subject its rate, percentiles, refusals, and the seconds behind
them.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence

from streamstore.bench.load.plan import LoadPlan
from streamstore.bench.load.tally import Tally, Timeline
from streamstore.bench.result import Result, Side

PERCENTILES = (50.0, 90.0, 99.0, 99.9)
CURVE = (0.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.95, 99.99, 100.0)
METRICS = ("rate", *(f"p{share:g}" for share in PERCENTILES))


def label_of(address: str) -> str:
    """A short name of a subject: its address without what all have."""
    return re.sub(r"^https?://", "", address)


def results_of(plan: LoadPlan, label: str, durability: str, timeline: Timeline) -> list[Result]:
    """The rows of one subject: `WORKLOAD.LABEL.rate` and a row for each percentile.

    `rounds` are the seconds of the measurement; `extra` of the rate's row has the counts, of the 99th percentile's row
    the whole curve in seconds, as planned (`p99`) and of the calls alone (`service p99`, where any were answered), and
    what single seconds came to (`second_name`).
    """
    seconds = [timeline.seconds.get(second, Tally()) for second in range(max(1, int(plan.duration)))]
    total = timeline.total()
    note = plan.describe()
    rows = [
        _row(plan, label, durability, "rate", _rate(plan, timeline), [float(each.records) for each in seconds], note)
    ]
    for share in PERCENTILES:
        rounds = [each.latency_us.percentile(share) / 1e6 for each in seconds if each.latency_us.count]
        value = total.latency_us.percentile(share) / 1e6 if total.latency_us.count else None
        rows.append(_row(plan, label, durability, f"p{share:g}", value, rounds, note))
    _describe(rows[0], rows[1 + PERCENTILES.index(99.0)], total, plan)
    for second, tally in enumerate(seconds):
        for row, name, value in (
            (rows[1 + PERCENTILES.index(99.0)], "p99", tally.latency_us.percentile(99) / 1e6),
            (rows[0], "lag ms", float(tally.lag_ms)),
        ):
            if tally.latency_us.count and row.ours is not None and isinstance(row.ours.extra, dict):
                row.ours.extra[second_name(name, second)] = value
    return [row.judged() for row in rows]


def second_name(name: str, second: int) -> str:
    """Under which `extra` has what one second came to; a second in which nothing ended is not there."""
    return f"{name} of second {second}"


def seconds_of(result: Result, name: str) -> dict[int, float]:
    """What single seconds came to, by the second."""
    extra = result.ours.extra if result.ours is not None else {}
    prefix = f"{name} of second "
    return {int(key.removeprefix(prefix)): value for key, value in extra.items() if key.startswith(prefix)}


def _rate(plan: LoadPlan, timeline: Timeline) -> float:
    """Records a second. What was worked off late counts with the time that it took; the second behind the end is the
    usual one of those that were under way.
    """
    last = max((second for second, tally in timeline.seconds.items() if tally.records), default=0)
    return timeline.total().records / (plan.duration + max(0, last - int(plan.duration)))


def _row(
    plan: LoadPlan,
    label: str,
    durability: str,
    metric: str,
    value: float | None,
    rounds: Sequence[float],
    note: str,
) -> Result:
    unit = "records/s" if metric == "rate" else "s"
    title = f"{plan.workload}, {metric}"
    side = Side(label, durability, unit, 0.0 if value is None else value, tuple(rounds), setup=note, extra={})
    low, high = _quartiles(rounds)
    return Result(
        id=f"{plan.workload}.{label}.{metric}",
        group=plan.workload,
        title=title,
        unit=unit,
        value=value,
        low=low,
        high=high,
        ours=side,
        record_bytes=plan.size,
        note=note,
        error="" if value is not None else "nothing was measured",
    )


def _quartiles(rounds: Sequence[float]) -> tuple[float | None, float | None]:
    if len(rounds) < 2:
        return None, None
    low, _, high = statistics.quantiles(rounds, n=4, method="inclusive")
    return low, high


def _describe(rate: Result, curve: Result, total: Tally, plan: LoadPlan) -> None:
    """Fill in what stands beside the two rows; their `extra` was made for it."""
    assert rate.ours is not None
    assert isinstance(rate.ours.extra, dict)
    rate.ours.extra.update(
        {
            "wanted rate": plan.rate,
            "operations": float(total.operations),
            "records": float(total.records),
            "bytes": float(total.bytes),
            "refused records": float(total.refused),
            "failed operations": float(total.error_count),
            "unfinished operations": float(total.unfinished),
            "lag ms": float(total.lag_ms),
        }
    )
    assert curve.ours is not None
    assert isinstance(curve.ours.extra, dict)
    for share in CURVE:
        curve.ours.extra[f"p{share:g}"] = total.latency_us.percentile(share) / 1e6
        if total.service_us.count:
            curve.ours.extra[f"service p{share:g}"] = total.service_us.percentile(share) / 1e6
    curve.ours.extra["mean"] = total.latency_us.mean / 1e6
