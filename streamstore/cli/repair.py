"""`repair`: shows what it would do to a damaged store, and does it when told to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import streamstore
from streamstore.backup import RepairResult
from streamstore.cli.arguments import directory_argument, json_option, must_exist
from streamstore.cli.exits import DAMAGED, OK
from streamstore.cli.output import note, print_json, printable
from streamstore.cli.progress import RunProgress


@click.command()
@directory_argument
@click.option("--yes", is_flag=True, help="Do it. Without this nothing is changed, and the plan is shown.")
@click.option("--progress/--no-progress", default=None, help="Show how far it is, on stderr.  [default: on a terminal]")
@json_option
def repair(directory: Path, yes: bool, progress: bool | None, as_json: bool) -> int:
    """Make a damaged store readable again: damaged ranges become known gaps, everything else stays as it is.

    Shows what it would do, and does it only with --yes. Nothing is deleted: originals are kept in DIRECTORY/damaged,
    with a list of what was done and why. Nobody else may have the store open. The exit code is 4 where damage is left.

    \b
    Examples:
      streamstore repair data/
      streamstore repair data/ --yes
    """
    must_exist(directory)
    with RunProgress("verifying", None, progress) as bar:

        def advance(done: int, size: int, records: int) -> None:
            bar.resize(size)
            bar.update(done, records)

        result = streamstore.repair(directory, dry_run=not yes, progress=advance)
    if as_json:
        print_json(result._asdict())
    else:
        _print(result, yes)
    return DAMAGED if result.damage else OK


def _print(result: RepairResult, done: bool) -> None:
    for step in result.steps:
        click.echo(printable(f"{step['what']}: {step['path']} ({step['why']})"))
        for lost in step.get("lost", ()):
            click.echo(printable(f"  lost: {_loss(lost)}"))
    for line in result.notes:
        note(line)
    if not result.steps and not result.damage:
        note("nothing to repair")
    elif not done:
        note("nothing was changed; --yes does this, then looks for what it hid")
    else:
        note(f"originals are in {result.kept}" if result.kept else "nothing could be put right")
        note(f"{len(result.damage)} finding(s) of damage are left" if result.damage else "no damage is left")


def _loss(lost: dict[str, Any]) -> str:
    count = "an unknown number of" if lost["records_lost"] is None else f"{lost['records_lost']:,}"
    return (
        f"{count} records of {lost['stream']} {lost['shard_id']}, sequence numbers {lost['first_sequence_number']} "
        f"to {lost['last_sequence_number']}"
    )
