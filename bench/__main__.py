"""`python -m bench`: run the benchmarks, print the table, write the results and, in full mode, docs/benchmarks.md."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click
import pytest

from bench import readme
from streamstore.bench import report
from streamstore.bench.compare import compare, regressions, table
from streamstore.bench.result import load

HERE = Path(__file__).parent
ROOT = HERE.parent
PAGE = ROOT / "docs" / "benchmarks.md"
# What leaves the disk busiest goes last.
ORDER = (
    *("write", "read", "replay", "timing", "sync", "core", "tail", "compaction", "scale", "work", "history", "http"),
    *("producer", "queues", "volume", "backup"),
)


@click.command()
@click.option("--quick", "mode", flag_value="quick", help="Small sizes: under two minutes; writes no page.")
@click.option("--full", "mode", flag_value="full", default=True, help="The sizes of the promises (the default).")
@click.option("--directory", type=click.Path(path_type=Path), default=ROOT / "build", help="Where the stores go.")
@click.option("--results", type=click.Path(path_type=Path), help="The result file [docs/benchmarks.json or build/].")
@click.option(
    "--page/--no-page", default=None, help="Write docs/benchmarks.md, its plot and the README's figures, or not."
)
@click.option("--only", multiple=True, type=click.Choice(ORDER), help="Only these parts; more than one may be given.")
@click.option("-k", "pattern", default="", help="Only benchmarks whose name matches, as in pytest -k.")
@click.option("--log-file", type=click.Path(exists=True, path_type=Path), help="A log, for the ratio of compaction.")
@click.option("--against", type=click.Path(exists=True, path_type=Path), help="Compare with an earlier result file.")
def main(
    mode: str,
    directory: Path,
    results: Path | None,
    page: bool | None,
    only: tuple[str, ...],
    pattern: str,
    log_file: Path | None,
    against: Path | None,
) -> None:
    """Time streamstore against its rivals on this machine. Exits 1 where a row could not be measured or, with
    --against, got worse; a bar that is missed is in the table and the page, and is no failure."""
    whole = mode == "full" and not only and not pattern
    page = whole if page is None else page
    path = results or (PAGE.with_suffix(".json") if page else ROOT / "build" / f"bench-{mode}.json")
    earlier = load(against) if against is not None else None  # it may be the very file that is written
    started = time.monotonic()
    code = _run(mode, directory.resolve(), path.resolve(), only, pattern, log_file)
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        sys.exit(code)
    run = load(path)
    click.echo(f"\n{report.text_table(run)}\n\n{report.summary(run)}")
    click.echo(f"{time.monotonic() - started:.0f} s; results in {path}")
    if page:
        report.write(run, PAGE)
        readme.write(run)
        click.echo(f"page in {PAGE}, figures in {readme.README}")
    worse = False
    if earlier is not None:
        changes = compare(earlier, run)
        worse = bool(regressions(changes))
        click.echo(f"\n{table(earlier, run, changes)}")
    sys.exit(1 if worse or code != pytest.ExitCode.OK else 0)


def _run(mode: str, directory: Path, results: Path, only: tuple[str, ...], pattern: str, log_file: Path | None) -> int:
    arguments = ["-c", str(HERE / "pytest.ini"), "-q", "--tb=short", f"--mode={mode}", f"--directory={directory}"]
    arguments += [f"--results={results}", *(["-k", pattern] if pattern else [])]
    arguments += [f"--web-log={log_file.resolve()}"] if log_file else []
    return pytest.main([*arguments, *(str(HERE / f"bench_{part}.py") for part in ORDER if not only or part in only)])


if __name__ == "__main__":
    main()
