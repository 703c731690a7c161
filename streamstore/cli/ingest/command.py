"""The verb `ingest`: options, opening, the summary. What a run does is in `run`."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import click

from streamstore import errors, settings
from streamstore.cli.arguments import DURABILITIES, directory_argument, json_option, open_to_write, stream_argument
from streamstore.cli.exits import NOT_FOUND, VerbError
from streamstore.cli.ingest.lines import Line, read_lines, silence_of
from streamstore.cli.ingest.resume import Taken, find_taken
from streamstore.cli.ingest.run import Run, Tally, check_same
from streamstore.cli.ingest.source import Source, file_source, lock_source, named_source, pipe_source
from streamstore.cli.output import duration_text, note, print_json, size_text
from streamstore.cli.progress import RunProgress
from streamstore.fields import FieldTaker, time_parser_for
from streamstore.store import Store
from streamstore.stream import Stream

NOTHING_TAKEN = Taken([], [0], [-1])
_STRENGTH = {"process": 0, "interval": 1, "sync": 2}


@click.command()
@directory_argument
@stream_argument
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.option("--create", is_flag=True, help="Create the store and the stream where they are missing.")
@click.option(
    "--shards", type=click.IntRange(min=1), default=1, show_default=True, help="With --create: how many shards."
)
@click.option(
    "--durability", type=DURABILITIES, help="For a new stream; an existing one can only be strengthened, for this run."
)
@click.option("--key-field", metavar="PATH", help="Partition key from JSON lines: a dotted path such as user.id.")
@click.option(
    "--key-regex", metavar="REGEX", help="Partition key: the first group (or the whole match) of a regular expression."
)
@click.option("--time-field", metavar="PATH", help="Event time from JSON lines: a dotted path.")
@click.option("--time-regex", metavar="REGEX", help="Event time: the first group of a regular expression.")
@click.option(
    "--time-format",
    metavar="FORMAT",
    help="s, ms, us, ns (since 1970), iso, or a strptime pattern.  [default: a number by its size, or ISO 8601]",
)
@click.option(
    "--source-id",
    help="Name of the source, under which a later run goes on.  [default: the file's first bytes, digested]",
)
@click.option(
    "--batch",
    "batch_records",
    type=click.IntRange(1, 100_000),
    default=1000,
    show_default=True,
    help="Records put at a time.",
)
@click.option("--strict", is_flag=True, help="Stop at a line without key or time, in place of taking it in without.")
@click.option("--complete-lines", is_flag=True, help="Leave a last line without a newline for a later run.")
@click.option("--progress/--no-progress", default=None, help="Show how far it is, on stderr.  [default: on a terminal]")
@json_option
def ingest(directory: Path, stream: str, file: Path, **options: Any) -> None:
    """Put the lines of FILE into STREAM, one record a line, each exactly once.

    Byte for byte, without the newline. `-` takes stdin. When it was interrupted, by Ctrl-C, kill -9 or a power cut, run
    the same command
    again: it goes on where it was. It also takes what a file has grown by since. From stdin that needs --source-id.

    \b
    Examples:
      streamstore ingest data/ clicks access.log --create --shards 4 --key-regex '^(\\S+)'
      streamstore ingest data/ events events.jsonl --key-field user.id --time-field ts --time-format ms
      journalctl -f -o json | streamstore ingest data/ journal - --create --key-field _PID
    """
    taker = _taker(options)
    if options["create"]:
        settings.check_stream(stream, shard_count=options["shards"])
    began = time.monotonic()
    with ExitStack() as stack:
        from_stdin = str(file) == "-"
        data = sys.stdin.buffer if from_stdin else stack.enter_context(_open(file))
        source = _source(file, from_stdin, options["source_id"])
        store = stack.enter_context(open_to_write(directory, create=options["create"]))
        handle = _stream(store, stream, options)
        sync = _must_sync(handle, options["durability"])
        stack.enter_context(lock_source(directory, stream, source.id))
        # What a killed run published and did not sync is shown to nobody yet: make it durable, so that it is found.
        store.flush()
        taken = find_taken(handle, source.locate) if source.resumable else NOTHING_TAKEN
        check_same(taken.lasts, taker, None if from_stdin else data)
        run = Run(
            handle,
            taken.lasts[0].source_id if taken.lasts else source.id,
            taker,
            taken,
            batch_records=options["batch_records"],
            sync=sync,
            strict=options["strict"],
        )
        progress = RunProgress(
            f"{stream} <- {file.name}", None if from_stdin else file.stat().st_size, options["progress"]
        )
        try:
            with progress:
                lines = _lines(data, from_stdin, taken, handle.info.max_record_size, options["complete_lines"])
                run.take(lines, lambda tally: progress.update(tally.position, tally.records))
        except KeyboardInterrupt:
            again = (
                "run the same command again to go on"
                if source.resumable
                else "without --source-id it cannot be resumed"
            )
            note(f"{run.tally.records:,} records are in; {again}")
            raise
    _report(run.tally, source, time.monotonic() - began, as_json=options["as_json"])


def _taker(options: dict[str, Any]) -> FieldTaker:
    for one, other in (("key_field", "key_regex"), ("time_field", "time_regex")):
        if options[one] and options[other]:
            raise click.UsageError(f"--{one.replace('_', '-')} or --{other.replace('_', '-')}, not both")
    try:
        return FieldTaker(
            key_field=options["key_field"],
            key_regex=options["key_regex"],
            time_field=options["time_field"],
            time_regex=options["time_regex"],
            time_parser=time_parser_for(options["time_format"]),
        )
    except re.error as error:
        raise click.UsageError(f"not a regular expression: {error}") from None


def _open(file: Path) -> BinaryIO:
    if not file.exists():
        raise VerbError(f"{file}: there is no such file", NOT_FOUND)
    return open(file, "rb")


def _source(file: Path, from_stdin: bool, source_id: str | None) -> Source:
    if source_id is not None:
        return named_source(source_id)
    return pipe_source() if from_stdin else file_source(file)


def _stream(store: Store, name: str, options: dict[str, Any]) -> Stream:
    try:
        return store.stream(name)
    except errors.StreamNotFoundError:
        if not options["create"]:
            raise VerbError(f"there is no stream {name!r}; --create makes it", NOT_FOUND) from None
    return store.create_stream(name, shard_count=options["shards"], durability=options["durability"], exist_ok=True)


def _must_sync(stream: Stream, durability: str | None) -> bool:
    """Whether every put of this run is to be synced although the stream's durability is weaker."""
    if durability is None or _STRENGTH[durability] == _STRENGTH[stream.durability]:
        return False
    if durability != "sync":
        raise VerbError(f"the stream's durability is {stream.durability}; a run can only strengthen it, to sync")
    return True


def _lines(
    data: BinaryIO, from_stdin: bool, taken: Taken, size_max: int, complete_lines: bool
) -> Iterator[Line | None]:
    position, number = (0, 1) if from_stdin else taken.begin
    if not from_stdin:
        data.seek(position)
    for line in read_lines(data, position, number, size_max, silence_of(data) if from_stdin else lambda: False):
        if line is None or line.terminated or not complete_lines:
            yield line


def _report(tally: Tally, source: Source, elapsed: float, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "records": tally.records,
                "bytes": tally.data_bytes,
                "there_already": tally.there_already,
                "without_key": tally.without_key,
                "without_time": tally.without_time,
                "elapsed_s": round(elapsed, 6),
                "source_id": source.id,
            }
        )
        return
    rate = tally.records / max(elapsed, 1e-6)
    line = f"{tally.records:,} records ({size_text(tally.data_bytes)}) in {duration_text(elapsed)}, {rate:,.0f}/s"
    for count, what in (
        (tally.there_already, "were there already"),
        (tally.without_key, "had no key"),
        (tally.without_time, "had no event time"),
    ):
        line += f"; {count:,} {what}" if count else ""
    note(line)
