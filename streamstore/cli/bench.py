"""`bench`: put load on a stream, a queue or an endpoint, and work with what came of it."""

from __future__ import annotations

import datetime
import json
import sys
import time
from pathlib import Path
from typing import Any

import click

from streamstore.bench import compare as comparison
from streamstore.bench import machine, report, result
from streamstore.bench.load import WORKLOADS, LoadPlan, run_load
from streamstore.bench.load.calibrate import calibrate
from streamstore.bench.load.outcome import label_of, results_of
from streamstore.bench.load.subject import Subject, subject_of
from streamstore.bench.load.table import shortened, table
from streamstore.bench.load.tally import Timeline
from streamstore.bench.load.web_page import page
from streamstore.bench.report import quantity
from streamstore.cli.arguments import DURABILITIES, SIZE
from streamstore.cli.exits import VerbError

_SUBJECTS = """\b
SUBJECT is one of
  store:DIR#STREAM       a stream of a store in this machine's file system
  queue:DIR#NAME         a queue of a store (workload `queue`)
  http://HOST:PORT/NAME  a stream behind a Kinesis endpoint: `streamstore serve`, an emulator
  kinesis:NAME           a stream of AWS
and each is made where it is missing. LABEL=SUBJECT gives it a name in the report."""


@click.group()
def bench() -> None:
    """Measure a store, a server or any Kinesis endpoint, and compare results.

    \b
    Examples:
      streamstore bench run store:data/#load --rate 5000 --durability process
      streamstore bench compare yesterday.json today.json
    """


@bench.command("run", epilog=_SUBJECTS)
@click.argument("subjects", nargs=-1, required=True, metavar="SUBJECT...")
@click.option("-w", "--workload", type=click.Choice(WORKLOADS), default="put", show_default=True)
@click.option("-r", "--rate", type=float, default=1000.0, show_default=True, help="Records a second; 0: closed loop.")
@click.option("-b", "--batch", type=int, default=1, show_default=True, help="Records an operation.")
@click.option("--size", type=SIZE, default="100", show_default=True, help="Bytes a record, such as 100 or 1KiB.")
@click.option("-d", "--duration", type=float, default=10.0, show_default=True, help="Seconds that are measured.")
@click.option("--warmup", type=float, default=2.0, show_default=True, help="Seconds before them that are not.")
@click.option("--drain", type=float, default=10.0, show_default=True, help="Seconds to work off what is late then.")
@click.option("-t", "--threads", type=int, default=4, show_default=True, help="A process, each with a connection.")
@click.option("-p", "--processes", type=int, default=1, show_default=True)
@click.option("--readers", type=int, default=1, show_default=True, help="Where the workload has readers.")
@click.option("--keys", type=int, default=1000, show_default=True, help="Partition keys, drawn evenly.")
@click.option("--prefill", type=int, default=20_000, show_default=True, help="Records that `get` puts first.")
@click.option("--shards", type=click.IntRange(min=1), default=1, show_default=True, help="Of a stream that is made.")
@click.option("--durability", type=DURABILITIES, help="Of a stream that is made.  [default: sync]")
@click.option("--region", help="For endpoints.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the results as JSON.")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write a page with plots.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
@click.option("--progress/--no-progress", default=None, help="Show each half second.  [default: on a terminal]")
def run_verb(
    subjects: tuple[str, ...],
    shards: int,
    durability: str | None,
    region: str | None,
    output: Path | None,
    html: Path | None,
    as_json: bool,
    progress: bool | None,
    **numbers: Any,
) -> None:
    """Put load on each SUBJECT in turn and report how long operations took from their planned moment on.

    With a rate (open loop) operations are planned for fixed moments: one that waits behind a slow one counts with its
    waiting. With --rate 0 (closed loop) each thread begins the next as soon as the one before it ended.

    \b
    Examples:
      streamstore bench run store:data/#load --rate 5000 --durability process
      streamstore bench run ours=http://127.0.0.1:4567/load theirs=http://127.0.0.1:4568/load --html page.html
      streamstore bench run store:data/#load --workload end-to-end --rate 1000 --readers 2 --output today.json
      streamstore bench compare yesterday.json today.json
    """
    plan = LoadPlan(**numbers)
    named = [_named(text, durability, region) for text in subjects]
    started = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    here = _directory_of(named)
    run = result.Run("load", plan.describe(), started, "", machine.facts(here), calibrate(here))
    shown = sys.stderr.isatty() if progress is None else progress
    for label, subject in named:
        run = _measured(run, plan, label, subject, shards, shown)
    _hand_over(run, output, html, as_json)


def _named(text: str, durability: str | None, region: str | None) -> tuple[str, Subject]:
    label, equals, address = text.partition("=")
    if not equals or ":" in label:
        label, address = "", text
    return label_of(label or address), subject_of(address, durability=durability, region=region)


def _directory_of(named: list[tuple[str, Subject]]) -> Path:
    """The nearest directory there is of the first store, else this one: whose disk the report is about."""
    for _, subject in named:
        kind, _, rest = subject.address.partition(":")
        if kind in ("store", "queue"):
            path = Path(rest.rpartition("#")[0]).absolute()
            return next(each for each in (path.parent, *path.parents) if each.is_dir())
    return Path.cwd()


def _measured(run: result.Run, plan: LoadPlan, label: str, subject: Subject, shards: int, shown: bool) -> result.Run:
    live = _Live(label, plan, shown)
    seen = Timeline()

    def heard(seconds: float, timeline: Timeline) -> None:
        nonlocal seen
        seen = timeline
        live.show(seconds, timeline)

    try:
        timeline = run_load(plan, subject, shards=shards, progress=heard)
    except KeyboardInterrupt:
        live.end()
        click.echo(f"{label}: interrupted; so far:", err=True)
        rows = results_of(plan, label, "unknown", seen)
        click.echo(table(_with(run, rows)), err=True)
        raise
    live.end()
    try:
        return _with(run, results_of(plan, label, subject.durability(), timeline))
    finally:
        subject.close()


def _with(run: result.Run, rows: list[result.Result]) -> result.Run:
    if any(each.id == rows[0].id for each in run.results):
        raise VerbError(f"two subjects are called {rows[0].id}; LABEL=SUBJECT tells them apart")
    return result.Run(run.suite, run.mode, run.started, run.commit, run.machine, run.calibration, (*run.results, *rows))


def _hand_over(run: result.Run, output: Path | None, html: Path | None, as_json: bool) -> None:
    if output is not None:
        result.dump(run, output)
    if html is not None:
        html.write_text(page(run), encoding="utf-8")
    if as_json:
        import dataclasses

        click.echo(json.dumps(dataclasses.asdict(run), indent=1, allow_nan=False))
    else:
        click.echo(table(run))


class _Live:
    """A line on stderr that says how it goes; on a terminal it is written over."""

    def __init__(self, label: str, plan: LoadPlan, shown: bool) -> None:
        self._label, self._plan, self._shown = label, plan, shown
        self._terminal = sys.stderr.isatty()
        self._said = 0.0

    def show(self, seconds: float, timeline: Timeline) -> None:
        """Say it, without a terminal every other second."""
        now = time.monotonic()
        if not self._shown or (not self._terminal and now - self._said < 2):
            return
        self._said = now
        line = live_text(self._label, self._plan, seconds, timeline)
        sys.stderr.write(f"\r{line}\033[K" if self._terminal else f"{line}\n")
        sys.stderr.flush()

    def end(self) -> None:
        """Leave the terminal clean."""
        if self._shown and self._terminal:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()


def live_text(label: str, plan: LoadPlan, seconds: float, timeline: Timeline) -> str:
    """Where a run of load stands, in at most 79 characters; a long label gives way to the figures."""
    measured = seconds - plan.warmup
    if measured < 0:
        text = f": warming up, {max(0.0, seconds):.0f} s"
    else:
        text = f": {measured:.0f} of {plan.duration:g} s"
        last = timeline.seconds.get(max(timeline.seconds, default=0))
        if last is not None and last.latency_us.count:
            p50, p99 = (quantity(last.latency_us.percentile(share) / 1e6, "s") for share in (50, 99))
            text += f", {timeline.total().records:,} records, p50 {p50}, p99 {p99}"
    return (shortened(label, 79 - len(text)) + text)[:79]


@bench.command("compare")
@click.argument("before", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("after", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--noise", default=comparison.NOISE_RATIO, show_default=True, help="Smaller changes count as none.")
def compare_verb(before: Path, after: Path, noise: float) -> None:
    """Show what changed from BEFORE to AFTER; exit 1 where a row got worse, failed or lost its bar.

    \b
    Example:
      streamstore bench compare yesterday.json today.json
    """
    old, new = _loaded(before), _loaded(after)
    changes = comparison.compare(old, new, noise=noise)
    click.echo(comparison.table(old, new, changes))
    click.get_current_context().exit(1 if comparison.regressions(changes) else 0)


@bench.command("report")
@click.argument("results", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Where to, .md or .html.")
def report_verb(results: Path, output: Path | None) -> None:
    """Make a page of one result file: Markdown with a plot beside it, or HTML for a run of load.

    \b
    Example:
      streamstore bench report today.json --output today.html
    """
    run = _loaded(results)
    if output is None:
        click.echo(table(run) if run.suite == "load" else report.page(run, plot_name=None))
    elif output.suffix == ".html":
        output.write_text(page(run), encoding="utf-8")
    else:
        report.write(run, output)


@bench.command("schema")
def schema_verb() -> None:
    """Print the JSON Schema of a result file.

    \b
    Example:
      streamstore bench schema
    """
    click.echo(report.as_json(result.json_schema()))


def _loaded(path: Path) -> result.Run:
    try:
        return result.load(path)
    except result.SchemaError as error:
        raise click.ClickException(str(error)) from error
