"""`verify`: every frame's checks, from the files, and where they do not hold, exactly what is hit. Changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from streamstore.backup import Report
from streamstore.backup import verify as verify_store
from streamstore.cli.arguments import directory_argument, json_option, key_ring, must_exist, optional_stream_argument
from streamstore.cli.exits import DAMAGED, OK
from streamstore.cli.output import note, print_json, print_table, printable, size_text
from streamstore.cli.progress import RunProgress

_COLUMNS = (
    "stream",
    "shard_id",
    "begin",
    "end",
    "segment",
    "file_offset",
    "records_lost",
    "first_sequence_number",
    "last_sequence_number",
)


@click.command()
@directory_argument
@optional_stream_argument
@click.option("--progress/--no-progress", default=None, help="Show how far it is, on stderr.  [default: on a terminal]")
@json_option
def verify(directory: Path, stream: str | None, progress: bool | None, as_json: bool) -> int:
    """Check every byte of STREAM, or of the whole store, against its checksums.

    Reads the files, past all caches of its own: manifest, catalog, lineage, segments, indexes. Reports each damaged
    range with its bytes and its sequence numbers, and files that belong to nothing; the exit code is 4 where
    something is damaged. Changes nothing.

    \b
    Examples:
      streamstore verify data/
      streamstore verify data/ clicks --json
    """
    must_exist(directory)
    with RunProgress("verifying", None, progress) as bar:

        def advance(done: int, size: int, records: int) -> None:
            bar.resize(size)
            bar.update(done, records)

        report = verify_store(directory, stream, progress=advance, key_ring=key_ring())
    if as_json:
        print_json(report._asdict())
    else:
        _print(report)
    return DAMAGED if report.damage else OK


def _print(report: Report) -> None:
    for line in report.notes:
        note(line)
    size = size_text(report.bytes)
    checked = f"{report.records:,} records in {report.frames:,} frames, {size}, {report.shards} shards"
    if not report.damage:
        note(f"no damage: {checked} checked")
        return
    ranges = [each for each in report.damage if each["end"] is not None]
    if ranges:
        rows: list[list[Any]] = [[each[column] for column in _COLUMNS] for each in ranges]
        print_table([column.replace("_", " ") for column in _COLUMNS], rows)
    for each in report.damage:
        if each["end"] is None:
            click.echo(printable(f"{each['path'] or each['stream']}: {each['message']}"))
    if any(each["stream"] == "catalog" for each in report.damage):
        note("the catalog does not read: the streams were checked by their directories")
    note(f"{len(report.damage)} finding(s) of damage; {checked} are good")
