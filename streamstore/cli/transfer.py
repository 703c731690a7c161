"""`export` and `import`: a stream as a file, and back."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import click

from streamstore import errors, settings
from streamstore.archive import export_stream, import_stream
from streamstore.archive.rows import FORMS
from streamstore.cli.arguments import (
    POSITION,
    SequenceNumber,
    directory_argument,
    json_option,
    open_to_read,
    open_to_write,
    stream_argument,
    stream_names,
)
from streamstore.cli.exits import DAMAGED, OK, VerbError
from streamstore.cli.output import duration_text, note, print_json, size_text
from streamstore.cli.progress import RunProgress

_form_option = click.option(
    "--form", type=click.Choice(FORMS), help="The file's form.  [default: by its name or bytes]"
)
_progress_option = click.option(
    "--progress/--no-progress", default=None, help="Show how far it is, on stderr.  [default: on a terminal]"
)
_PLACES = "TRIM_HORIZON, LATEST, a time, an age (15m), or a saved position (JSON or @FILE)."


@click.command("export")
@directory_argument
@stream_argument
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@_form_option
@click.option("--start", type=POSITION, default="TRIM_HORIZON", show_default=True, help=_PLACES)
@click.option("--end", type=POSITION, help="Stop there.  [default: the tails as of now]")
@click.option("--skip-damaged", is_flag=True, help="Go on behind damage; the exit code is 4 then.")
@_progress_option
@json_option
def export_verb(
    directory: Path,
    stream: str,
    file: Path,
    form: str | None,
    start: Any,
    end: Any,
    skip_damaged: bool,
    progress: bool | None,
    as_json: bool,
) -> int:
    """Write the records of STREAM to FILE (- for stdout), in order of arrival.

    The form is an archive (msgpack, lz4, checks), JSON lines (.jsonl) or Parquet (.parquet; extra `arrow`). Records go
    with sequence number, arrival time, shard, keys, event time and attributes, so that `import` can bring them back.

    \b
    Examples:
      streamstore export data/ clicks clicks.ssarc
      streamstore export data/ clicks - --start 1h | zstd > hour.zst
      streamstore export data/ clicks clicks.parquet
    """
    if isinstance(start, SequenceNumber) or isinstance(end, SequenceNumber):
        raise click.UsageError("a sequence number is a place in one shard; give a time or a position")
    began = time.monotonic()
    target: Any = sys.stdout.buffer if str(file) == "-" else file
    with open_to_read(directory) as store, RunProgress("exporting", None, progress) as bar:
        made = export_stream(
            store.stream(stream),
            target,
            form=form,
            start=start,
            end=end,
            skip_damaged=skip_damaged,
            progress=bar.update,
        )
    if as_json and target is file:
        print_json(made._asdict())
    else:
        took = duration_text(time.monotonic() - began)
        note(f"{made.records:,} records, {size_text(made.bytes)} of data, in {took}")
        for each in made.skipped:
            note(f"skipped: {each['shard_id']}, sequence numbers {each['first']} to {each['last']} are damaged")
    return DAMAGED if made.skipped else OK


@click.command("import")
@directory_argument
@stream_argument
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@_form_option
@click.option("--create", is_flag=True, help="Make the store and the stream where they are not there.")
@click.option("--shards", type=click.IntRange(min=1), default=1, show_default=True, help="How many, if it is made.")
@_progress_option
@json_option
def import_verb(
    directory: Path,
    stream: str,
    file: Path,
    form: str | None,
    create: bool,
    shards: int,
    progress: bool | None,
    as_json: bool,
) -> None:
    """Put the records of FILE (- for stdin), which `export` made, into STREAM, each exactly once.

    Keys, data, event times and attributes are as they were; where a record came from is its source. Interrupted, run
    it again: what is there already is passed over.

    \b
    Examples:
      streamstore import other/ clicks clicks.ssarc --create --shards 4
      ssh host streamstore export data/ clicks - | streamstore import here/ clicks - --create
    """
    if str(file) != "-" and not file.exists():
        raise FileNotFoundError(2, "", str(file))
    if create:
        settings.check_stream(stream, shard_count=shards)
    source: Any = sys.stdin.buffer if str(file) == "-" else file
    began = time.monotonic()
    with open_to_write(directory, create=create) as store, RunProgress("importing", None, progress) as bar:
        if create and stream not in stream_names(store):
            store.create_stream(stream, shard_count=shards, exist_ok=True)
        try:
            made = import_stream(store.stream(stream), source, form=form, progress=bar.update)
        except errors.StorageError as error:
            raise VerbError(f"{error}; what stands before was put, and a whole file goes on behind it") from None
    if as_json:
        print_json(made._asdict())
    else:
        took = duration_text(time.monotonic() - began)
        again = f", {made.present:,} were there already" if made.present else ""
        note(f"{made.records:,} records, {size_text(made.bytes)} of data, in {took}{again}")
