"""Loads side by side, for a terminal of 80 columns: a line a subject."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping

from streamstore.bench.load.outcome import METRICS
from streamstore.bench.report import quantity
from streamstore.bench.result import Result, Run

WIDTH = 80
COLUMNS = ("rate", "p50", "p90", "p99", "p99.9", "max")
GAP = "  "


def subjects_of(run: Run) -> dict[tuple[str, str], dict[str, Result]]:
    """(workload, label) -> metric -> row, in the order of the run."""
    found: dict[tuple[str, str], dict[str, Result]] = {}
    for result in run.results:
        label, _, metric = result.id.removeprefix(f"{result.group}.").rpartition(".")
        if label.endswith(".p99"):  # p99.9 has a dot of its own
            label, metric = label.removesuffix(".p99"), f"p99.{metric}"
        if metric in METRICS:
            found.setdefault((result.group, label), {})[metric] = result
    return found


def table(run: Run) -> str:
    """Rate and percentiles of each subject, what went wrong below, and where each figure comes from."""
    lines = []
    for workload in dict.fromkeys(group for group, _ in subjects_of(run)):
        rows = {label: rows for (group, label), rows in subjects_of(run).items() if group == workload}
        note = next(iter(rows.values()))["rate"].note
        lines += [*_wrapped(note), "", *_columns(rows), "", *_troubles(rows)]
    lines += _wrapped(f"p50 ... from the planned moment on, so that waiting counts; [durability]; {_machine(run)}")
    return "\n".join(lines)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ")


def _columns(rows: Mapping[str, Mapping[str, Result]]) -> list[str]:
    """The figures in columns, each line behind its label, or below it where that is too long to stand before them."""
    labels: list[str] = [""]
    cells: list[tuple[str, ...]] = [COLUMNS]
    for label, metrics in rows.items():
        side = metrics["rate"].ours
        assert side is not None
        curve = metrics["p99"].ours
        most = curve.extra.get("p100") if curve is not None else None
        labels.append(shortened(f"{label} [{side.durability}]", WIDTH))
        cells.append((*(_shown(metrics[name]) for name in METRICS), _time(most)))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    room = WIDTH - sum(width + len(GAP) for width in widths)
    room = min(room, max([len(label) for label in labels if len(label) <= room], default=0))
    lines = []
    for label, row in zip(labels, cells, strict=True):
        above = len(label) > room
        lines += [label] if above else []
        lines.append(GAP.join([("" if above else label).ljust(room), *map(str.rjust, row, widths)]).rstrip())
    return lines


def _shown(result: Result) -> str:
    return "-" if result.value is None else quantity(result.value, result.unit)


def _time(seconds: float | None) -> str:
    return "-" if seconds is None else quantity(seconds, "s")


def shortened(text: str, width: int) -> str:
    """A text in so many characters, at least 4: the end of it says more than the beginning."""
    return text if len(text) <= width else "..." + text[3 - max(width, 4) :]


def _troubles(rows: Mapping[str, Mapping[str, Result]]) -> list[str]:
    found = []
    for label, metrics in rows.items():
        side = metrics["rate"].ours
        assert side is not None
        kinds = ("refused records", "failed operations", "unfinished operations")
        said = [f"{int(side.extra[kind]):,} {kind}" for kind in kinds if side.extra.get(kind)]
        wanted = side.extra.get("wanted rate", 0.0)
        if wanted and metrics["rate"].value is not None and metrics["rate"].value < 0.99 * wanted:
            said.append(f"{metrics['rate'].value / wanted:.0%} of the wanted {quantity(wanted, 'records/s')}")
        if side.extra.get("lag ms"):
            said.append(f"readers at most {quantity(side.extra['lag ms'] / 1000, 's')} behind")
        if said:
            found += _wrapped(f"{label}: {', '.join(said)}")
    return [*found, ""] if found else []


def _machine(run: Run) -> str:
    facts: Iterable[str] = (run.machine.get(name, "") for name in ("cores", "kernel", "filesystem"))
    cores, kernel, system = facts
    return f"{cores} cores, {kernel}, {system.split(' ')[0]}"
