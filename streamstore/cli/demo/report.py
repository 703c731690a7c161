"""The demo's figures as a table for people or a document for programs. Computes nothing but units."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from streamstore.cli.demo.story import Story
from streamstore.cli.output import console, duration_text


def document(story: Story) -> dict[str, Any]:
    """Figures (times in ns, rates per second) and checks (sentence -> whether it holds)."""
    return {"ok": all(story.checks.values()), "checks": story.checks, **story.figures}


def print_report(story: Story, *, kept: Path | None) -> None:
    """The table of figures, then the checks, a line each."""
    screen = console()
    unicode_safe = (sys.stdout.encoding or "").lower().startswith("utf")
    figures = story.figures
    table = Table(
        title=f"{figures['events']:,} clicks, {figures['shards']} shards, two writers, sync, {figures['file_system']}",
        box=box.ROUNDED if unicode_safe else box.ASCII,
        title_style="bold",
        title_justify="left",
    )
    table.add_column("measured")
    table.add_column("p50", justify="right")
    table.add_column("p99", justify="right")
    for row in _rows(figures):
        table.add_row(*row)
    screen.print()
    screen.print(table)
    screen.print()
    good, bad = ("✓", "✗") if unicode_safe else ("ok  ", "FAIL")
    for sentence, holds in story.checks.items():
        screen.print(Text.assemble((f"  {good if holds else bad} ", "bold green" if holds else "bold red"), sentence))
    screen.print()
    screen.print(f"  {_summary(figures)}")
    if kept is not None:
        screen.print(f"  The store is in {kept / 'store'}; look at it with: streamstore stat {kept / 'store'}")


def _rows(figures: dict[str, Any]) -> list[tuple[str, str, str]]:
    one, batch, tail, loaded = (figures[name] for name in ("put_one_ns", "put_batch_ns", "tail_ns", "tail_loaded_ns"))
    return [
        ("written while both ran, records/s", f"{figures['records_per_s']:,.0f}", ""),
        ("written while both ran, MB/s", f"{figures['bytes_per_s'] / 1e6:,.1f}", ""),
        (
            "written in all, kill and takeover included, records/s",
            f"{figures['whole_run_records_per_s']:,.0f}",
            "",
        ),
        (f"put_record until durable, {one['count']:,} timed", *_pair(one)),
        (f"put_records of 500 until durable, {batch['count']:,} timed", *_pair(batch)),
        ("put to seen by the tailing process, one by one", *_pair(tail)),
        ("put to seen by the tailing process, at full load", *_pair(loaded)),
        ("killed writer's work taken up by a new process after", _time(figures["taken_over_after_ns"]), ""),
        ("reopened after kill -9 of everything, all shards recovered", _time(figures["reopen_ns"]), ""),
        ("read back, records/s", f"{figures['read_records_per_s']:,.0f}", ""),
    ]


def _pair(values: dict[str, int]) -> tuple[str, str]:
    return _time(values["p50"]), _time(values["p99"])


def _time(nanoseconds: int) -> str:
    return duration_text(nanoseconds / 1e9)


def _summary(figures: dict[str, Any]) -> str:
    return (
        f"{figures['acknowledged']:,} acknowledged, {figures['records']:,} in the store, {figures['lost']} lost, "
        f"{figures['twice']} twice. {figures['acknowledged_before_kill']:,} were acknowledged to the writer before "
        f"it was killed. All in {figures['elapsed_s']:.1f} s."
    )
