"""`python -m bench.readme RESULTS`: put the rows that have a bar into the README, between its two markers.

`python -m bench` does the same after a full run. Formats and computes nothing: words and verdicts are the report's.
"""

from __future__ import annotations

import re
from pathlib import Path

import click

from streamstore.bench import report
from streamstore.bench.result import Result, Run, load

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
MACHINE = ("cpu", "cores", "memory", "kernel", "filesystem", "python", "compiler", "load at the start")


def figures(run: Run) -> str:
    """Return what stands between the markers: where and when, the verdict in one line, a row for each bar."""
    machine = ", ".join(_fact(name, run.machine[name]) for name in MACHINE if name in run.machine)
    lines = [
        f"`python -m bench` in {run.mode} mode on {run.started}, commit {run.commit or 'unknown'}: {machine}.",
        f"{report.summary(run)} The word in brackets is the durability of that side.",
        "[docs/benchmarks.md](docs/benchmarks.md) has all rows, and how to read them.",
        "",
        "| 100 B records unless said | streamstore | rival or floor, same run | result | bar | |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join(lines + [_line(result) for result in run.results if result.bar is not None]) + "\n"


def fill(document: str, run: Run) -> str:
    """Return the document with the figures of `run` between the markers; ValueError unless both stand there once."""
    marked = re.compile(f"({re.escape(BEGIN)}\n).*?({re.escape(END)})", re.DOTALL)
    filled, count = marked.subn(lambda found: found[1] + figures(run) + found[2], document)
    if count != 1:
        raise ValueError(f"{count} pairs of {BEGIN} and {END} where one is wanted")
    return filled


def write(run: Run, path: Path = README) -> None:
    """Put the figures of `run` into the README at `path`."""
    path.write_text(fill(path.read_text(encoding="utf-8"), run), encoding="utf-8")


def _fact(name: str, value: str) -> str:
    if name in ("cores", "load at the start"):
        return f"{value} cores" if name == "cores" else f"{name} {value}"
    return value.split(" (")[0]


def _line(result: Result) -> str:
    size = f" ({result.record_bytes} B)" if result.record_bytes not in (0, 100) else ""
    verdict = report.MARKS[result.verdict]
    cells = (
        report.side(result.ours),
        report.side(result.rival),
        report.value(result),
        report.bar(result.bar, result.unit),
    )
    return f"| {result.title}{size} | {' | '.join(cells)} | {verdict} |"


@click.command()
@click.argument("results", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(results: Path) -> None:
    """Put the figures of one result file into the README."""
    write(load(results))


if __name__ == "__main__":
    main()
