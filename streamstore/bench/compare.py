"""Two result files side by side: what got faster, what got slower, what crossed its bar.

Ratios against a rival or a floor of the same run travel between machines; absolute figures do not, and are compared
only on the same machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from streamstore.bench.result import AT_MOST, Result, Run

# Medians on a shared machine move by a tenth from run to run; less than this is not called a change.
NOISE_RATIO = 0.10
SAME_MACHINE_FACTS = ("cpu", "cores", "kernel", "filesystem")


@dataclass(frozen=True)
class Change:
    """One row in both runs or one of them: a `gain` above 1 is better, None where they do not compare."""

    id: str
    before: Result | None
    after: Result | None
    gain: float | None
    kind: str  # "better", "worse", "same", "new", "gone", "failed", "fixed", "incomparable"


def same_machine(before: Run, after: Run) -> bool:
    """Return whether two runs name the same processor, cores, kernel and file system."""
    return all(before.machine.get(fact) == after.machine.get(fact) for fact in SAME_MACHINE_FACTS)


def compare(before: Run, after: Run, *, noise: float = NOISE_RATIO) -> list[Change]:
    """Return one change for each row of either run, in the order of `after`.

    What lies within `noise` (a fraction), or within what the rounds of both runs scatter by themselves, is "same".
    """
    absolute = same_machine(before, after)
    old = {result.id: result for result in before.results}
    changes = [_change(old.get(result.id), result, absolute, noise) for result in after.results]
    present = {result.id for result in after.results}
    changes += [Change(result.id, result, None, None, "gone") for result in before.results if result.id not in present]
    return changes


def _change(before: Result | None, after: Result, absolute: bool, noise: float) -> Change:
    if before is None:
        return Change(after.id, None, after, None, "new")
    if "failed" in (before.verdict, after.verdict):
        kind = "failed" if after.verdict == "failed" else "fixed"
        return Change(after.id, before, after, None, kind)
    gain = _gain(before, after, absolute)
    if gain is None:
        return Change(after.id, before, after, None, "incomparable")
    wanted = 1 + max(noise, _scatter(before) + _scatter(after))
    kind = "same" if 1 / wanted <= gain <= wanted else "better" if gain > 1 else "worse"
    return Change(after.id, before, after, gain, kind)


def _scatter(result: Result) -> float:
    """How far, as a fraction, the median of a row's rounds may lie from the true one: the notch of a box plot
    (McGill, Tukey and Larsen 1978), some 95 % sure; 0 where the rounds are not known.
    """
    rounds = len(result.ours.rounds) if result.ours is not None else 0
    if rounds < 2 or result.low is None or result.high is None or not result.value:
        return 0.0
    return 1.57 * (result.high - result.low) / (abs(result.value) * math.sqrt(rounds))


def _gain(before: Result, after: Result, absolute: bool) -> float | None:
    if (
        before.value is None
        or after.value is None
        or before.unit != after.unit
        or before.value <= 0
        or after.value <= 0
    ):
        return None
    if after.unit != "x" and not absolute:
        return None
    gain = after.value / before.value
    return 1 / gain if lower_is_better(after) else gain


def lower_is_better(result: Result) -> bool:
    """Return whether a smaller value of this row is the better one: by its bar, else by its unit (a time or a size)."""
    if result.bar is not None:
        return result.bar.comparison == AT_MOST
    return not (result.unit == "x" or result.unit.endswith("/s"))


def regressions(changes: list[Change]) -> list[Change]:
    """Return what a check should fail on: rows worse, failed or gone, and bars that held before and do not now."""
    return [change for change in changes if change.kind in ("worse", "failed", "gone") or _crossed(change)]


def _crossed(change: Change) -> bool:
    if change.before is None or change.after is None:
        return False
    return (change.before.verdict, change.after.verdict) == ("pass", "miss")


def table(before: Run, after: Run, changes: list[Change]) -> str:
    """Return the comparison as Markdown, worst first where it matters: one line a row, with both verdicts."""
    lines = [
        f"{name}: {run.started} {run.commit} ({run.mode})." for name, run in (("Before", before), ("After", after))
    ]
    if not same_machine(before, after):
        lines.append("Different machines: only ratios are compared.")
    if before.mode != after.mode:
        lines.append("Different modes: sizes differ, so read small changes with care.")
    lines += ["", "| row | before | after | gain | |", "|---|---|---|---|---|"]
    order = {"failed": 0, "gone": 1, "worse": 2, "better": 3, "fixed": 4, "new": 5, "incomparable": 6, "same": 7}
    for change in sorted(changes, key=lambda item: (order[item.kind], item.id)):
        gain = "" if change.gain is None else f"{change.gain:.2f}x"
        lines.append(f"| {change.id} | {_shown(change.before)} | {_shown(change.after)} | {gain} | {change.kind} |")
    return "\n".join(lines)


def _shown(result: Result | None) -> str:
    if result is None:
        return "-"
    return result.verdict if result.value is None else f"{result.value:.4g} {result.unit} ({result.verdict})"
