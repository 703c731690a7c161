"""A run as people read it: the page docs/benchmarks.md, its plot, and a table for the terminal.

Every figure is printed with the durability it was measured in and with its bar. This file formats; it computes no
verdict.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from streamstore.bench import plot
from streamstore.bench.result import Bar, Result, Run, Side

MARKS = {"pass": "pass", "miss": "**MISS**", "info": "-", "failed": "**FAILED**"}
GROUP_TITLES = {
    "write": "Writing",
    "read": "Reading",
    "sync": "Durable writing",
    "core": "The C core alone",
    "latency": "From one process to another",
    "recovery": "Opening, getting, recovering",
    "memory": "Memory",
    "scale": "Many streams, many shards",
    "work": "The queue",
    "http": "The Kinesis API, over HTTP and through boto3",
    "producer": "The producer",
    "queues": "For information: other embedded stores and queues",
}
MEANINGS = """\
`x` is a ratio against the rival or floor named in the row: the median, over rounds, of our round against the rival's
round just before it (rival, ours, rival, ours, ...), with the middle half of the rounds in brackets. Rates count
records. The word after each figure says what an acknowledgement survived on that side: `sync` a power cut, `interval`
a power cut but for the last moments, `process` the death of the process; `none` is a floor that promises nothing,
`reads` a row that acknowledges nothing. Rivals store the data under an 8-byte number, without a partition key;
streamstore stores data, partition key and arrival time under a number that is never given twice, with checksums that
every read verifies."""


def as_json(value: object) -> str:
    """Return a value as indented JSON."""
    return json.dumps(value, indent=1, allow_nan=False)


def write(run: Run, path: Path) -> None:
    """Write the page to `path` and its plot beside it, as SVG with the same stem."""
    picture = path.with_suffix(".svg")
    picture.write_text(plot.bars(run), encoding="utf-8")
    path.write_text(page(run, plot_name=picture.name), encoding="utf-8")


def page(run: Run, *, plot_name: str | None) -> str:
    """Return the whole page as Markdown."""
    lines = [
        "# Benchmarks",
        "",
        f"Made by `python -m bench` ({run.mode} mode) on {run.started} at commit {run.commit or 'unknown'};",
        "edit the program, not this page.",
        "",
        summary(run),
        "",
    ]
    if plot_name is not None:
        lines += [f"![Each row against its bar]({plot_name})", ""]
    lines += [MEANINGS, ""]
    for group in _groups(run.results):
        rows = [result for result in run.results if result.group == group]
        lines += [f"## {GROUP_TITLES.get(group, group)}", "", *_table(rows), "", *_notes(rows)]
    lines += [
        "## The machine and its own speeds",
        "",
        "Taken in the same run; the floors that the ratios stand on.",
        "",
    ]
    lines += ["| fact | value |", "|---|---|", *(f"| {name} | {value} |" for name, value in run.machine.items()), ""]
    lines += ["| calibration | value | how |", "|---|---|---|"]
    lines += [f"| {name} | {quantity(item.value, item.unit)} | {item.note} |" for name, item in run.calibration.items()]
    return "\n".join(lines) + "\n"


def summary(run: Run) -> str:
    """Return one line: how many bars hold, and which do not."""
    judged = [result for result in run.results if result.bar is not None]
    passed = sum(result.verdict == "pass" for result in judged)
    missed = [f"{result.id} ({_against(result)})" for result in judged if result.verdict == "miss"]
    failed = [result.id for result in run.results if result.verdict == "failed"]
    line = f"{passed} of {len(judged)} bars hold."
    if missed:
        line += f" Missed: {', '.join(missed)}."
    if failed:
        line += f" Not measured: {', '.join(failed)}."
    return line


def text_table(run: Run) -> str:
    """Return the results for a terminal: one line a row with bar, verdict and the mode beside each figure."""
    rows = [("row", "ours", "rival or floor", "result", "bar", "")]
    rows += [(result.id, *_cells(result), _plain_verdict(result)) for result in run.results]
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _cells(result: Result) -> tuple[str, str, str, str]:
    return side(result.ours), side(result.rival), value(result), bar(result.bar, result.unit)


def _plain_verdict(result: Result) -> str:
    if result.verdict == "failed":
        return f"FAILED: {result.error.splitlines()[0] if result.error else 'no value'}"
    return {"pass": "pass", "miss": "MISS", "info": ""}[result.verdict]


def _groups(results: Iterable[Result]) -> list[str]:
    present = dict.fromkeys(result.group for result in results)
    known = [group for group in GROUP_TITLES if group in present]
    return known + [group for group in present if group not in GROUP_TITLES]


def _table(rows: Sequence[Result]) -> list[str]:
    lines = ["| what | streamstore | rival or floor | result | bar | |", "|---|---|---|---|---|---|"]
    return lines + [f"| {' | '.join((row.title, *_cells(row), MARKS[row.verdict]))} |" for row in rows]


def _notes(rows: Sequence[Result]) -> list[str]:
    notes = [f"- {row.title}: {row.error or row.note}" for row in rows if row.note or row.error]
    rivals = [row.rival for row in rows if row.rival is not None and row.rival.setup]
    setups = {f"{rival.name} {rival.version}".strip(): rival.setup for rival in rivals}
    notes += [f"- {name}: {setup}." for name, setup in setups.items()]
    return [*notes, ""] if notes else []


def side(item: Side | None) -> str:
    """Return one contender's median with its durability mode, and its name where it is not ours."""
    if item is None:
        return "-"
    name = "" if item.name == "streamstore" else f"{item.name}: "
    return f"{name}{quantity(item.median, item.unit)} [{item.durability}]"


def value(result: Result) -> str:
    """Return the value that stands against the bar, with the spread of its rounds where there were several."""
    if result.value is None:
        return "-"
    text = quantity(result.value, result.unit)
    if result.low is not None and result.high is not None:
        text += f" ({quantity(result.low, result.unit)} .. {quantity(result.high, result.unit)})"
    return text


def bar(item: Bar | None, unit: str) -> str:
    """Return a bar as text, such as ">= 2.00 x", or "-" where there is none."""
    return "-" if item is None else f"{item.comparison} {quantity(item.value, unit)}"


def _against(result: Result) -> str:
    measured = "-" if result.value is None else quantity(result.value, result.unit)
    return f"{measured}, bar {bar(result.bar, result.unit)}"


def quantity(number: float, unit: str) -> str:
    """Return a number with its unit, scaled for reading: rates in k and M, seconds in ms, us and ns, bytes in MiB."""
    if unit in ("records/s", "bytes/s", "/s"):
        for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
            if number >= limit:
                return f"{number / limit:.2f} {letter}{'B/s' if unit == 'bytes/s' else '/s'}"
        return f"{number:.0f} /s"
    if unit == "s":
        for limit, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
            if number >= limit:
                return f"{number / limit:.3g} {name}"
        return f"{number * 1e9:.3g} ns"
    if unit == "bytes":
        return f"{number / 2**20:.1f} MiB"
    return f"{number:.2f} {unit}" if unit == "x" else f"{number:.4g} {unit}".rstrip()
