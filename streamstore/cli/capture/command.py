"""The verb `capture`: options, opening, progress, the summary. What a capture does is in `streamstore.capture`."""

from __future__ import annotations

import re
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any

import click

from streamstore import errors, settings
from streamstore.capture import Capture, open_source
from streamstore.capture.addresses import options_of
from streamstore.capture.source import Source
from streamstore.cli.arguments import (
    DURABILITIES,
    POSITION,
    directory_argument,
    json_option,
    open_to_write,
    stream_argument,
)
from streamstore.cli.exits import NOT_FOUND, VerbError
from streamstore.cli.output import duration_text, note, print_json, size_text
from streamstore.fields import FieldTaker, time_parser_for
from streamstore.limits import RETENTION_HOURS_MAX
from streamstore.store import Store
from streamstore.stream import Stream

# On a terminal the line of progress is renewed so often, elsewhere (with --progress) one is printed so often; seconds.
RENEW_INTERVAL = 0.5
LINE_INTERVAL = 5.0


@click.command()
@directory_argument
@stream_argument
@click.argument("source")
@click.option("--create", is_flag=True, help="Create the store and the stream where they are missing.")
@click.option("--shards", type=click.IntRange(min=1), help="Of a new stream.  [default: as many as the source has]")
@click.option("--mirror-shards", is_flag=True, help="Split and merge STREAM as the source was, shard for shard.")
@click.option(
    "--retention",
    type=click.IntRange(24, RETENTION_HOURS_MAX),
    default=RETENTION_HOURS_MAX,
    show_default=True,
    help="Of a new stream, in hours.",
)
@click.option("--durability", type=DURABILITIES, help="Of a new stream.")
@click.option(
    "--start",
    type=POSITION,
    default="TRIM_HORIZON",
    show_default=True,
    help="Where the first run begins: TRIM_HORIZON, LATEST or a time; later ones go on.",
)
@click.option("--once", is_flag=True, help="Take what there is and end, in place of following.")
@click.option("--region", help="Of a Kinesis endpoint.")
@click.option("--source-id", help="A name of the source, in place of the one made of its ARN and when it was created.")
@click.option("--interval", type=click.FloatRange(min=0.01), help="Seconds between reads of a shard without news.  [1]")
@click.option(
    "--fan-out", "consumer", metavar="NAME", help="Of an endpoint: enhanced fan-out, as a consumer of that name."
)
@click.option("--multi-line", metavar="REGEX", help="Of files: a record begins with each line in which this is found.")
@click.option("--key-field", metavar="PATH", help="Of files: partition key from JSON lines, a dotted path.")
@click.option("--key-regex", metavar="REGEX", help="Of files: partition key, the first group of a regular expression.")
@click.option("--time-field", metavar="PATH", help="Of files: event time from JSON lines, a dotted path.")
@click.option("--time-regex", metavar="REGEX", help="Of files: event time, the first group of a regular expression.")
@click.option("--time-format", metavar="FORMAT", help="s, ms, us, ns (since 1970), iso, or a strptime pattern.")
@click.option("--progress/--no-progress", default=None, help="Show how far it is, on stderr.  [default: on a terminal]")
@json_option
def capture(directory: Path, stream: str, source: str, **options: Any) -> None:
    """Take the records of SOURCE into STREAM, each exactly once, and go on with what comes until Ctrl-C.

    Where a record was, and when it arrived there, is kept as its source. However a run ended, the next one goes on
    where it was.

    \b
    SOURCE:
      http://HOST:PORT/NAME   a stream behind a Kinesis endpoint
      kinesis:NAME            a stream of AWS
      store:DIR#STREAM        a stream of another store
      PATH or 'PATTERN'       files that grow, through rotation; a line each
      -                       stdin, a line each; goes on only with --source-id

    \b
    Examples:
      streamstore capture data/ clicks kinesis:clicks --create --region eu-central-1
      streamstore capture data/ clicks http://localhost:4567/clicks --create --once
      streamstore capture copy/ clicks 'store:data/#clicks' --create --start 2h
      streamstore capture data/ logs '/var/log/nginx/*.log' --create --key-regex '^(\\S+)'
    """
    if options["create"]:
        settings.check_stream(stream, shard_count=options["shards"])
    with ExitStack() as stack:
        opened = open_source(source, **_source_options(source, options))
        stack.callback(opened.close)
        store = stack.enter_context(open_to_write(directory, create=options["create"]))
        taking = stack.enter_context(
            Capture(_stream(store, stream, opened, options), opened, mirror_shards=options["mirror_shards"])
        )
        if taking.resumed:
            note(f"going on: {taking.resumed:,} records had come in behind the last checkpoint")
        _run(taking, options)


def _source_options(source: str, options: dict[str, Any]) -> dict[str, Any]:
    names = ["start", "source_id", "interval", "region", "consumer", "multi_line"]
    found = {name: options[name] for name in names if options[name] is not None}
    fields = ("key_field", "key_regex", "time_field", "time_regex")
    if any(options[name] is not None for name in (*fields, "time_format")):
        for one, other in (fields[:2], fields[2:]):
            if options[one] and options[other]:
                raise click.UsageError(f"--{one.replace('_', '-')} or --{other.replace('_', '-')}, not both")
        try:
            taken = {name: options[name] for name in fields}
            found["taker"] = FieldTaker(**taken, time_parser=time_parser_for(options["time_format"]))
        except re.error as error:
            raise click.UsageError(f"not a regular expression: {error}") from None
    foreign = sorted(set(found) - set(options_of(source)))
    if foreign:
        raise click.UsageError(f"{', '.join(foreign)}: not for {source}")
    return found


def _stream(store: Store, name: str, source: Source, options: dict[str, Any]) -> Stream:
    try:
        return store.stream(name)
    except errors.StreamNotFoundError:
        if not options["create"]:
            raise VerbError(f"there is no stream {name!r}; --create makes it", NOT_FOUND) from None
    return store.create_stream(
        name,
        shard_count=options["shards"] or source.shard_count,
        retention_hours=options["retention"],
        durability=options["durability"],
        exist_ok=True,
    )


def _run(taking: Capture, options: dict[str, Any]) -> None:
    def stop(number: int, frame: FrameType | None) -> None:
        taking.stop()

    kept = signal.signal(signal.SIGTERM, stop)
    progress = Progress(options["progress"])
    try:
        done = taking.run(follow=not options["once"], progress=progress.update)
    except KeyboardInterrupt:
        progress.end()
        note(f"{taking.records:,} records are in; run the same command again to go on")
        raise
    finally:
        progress.end()
        signal.signal(signal.SIGTERM, kept)
    if options["as_json"]:
        said = {"records": done.records, "bytes": done.bytes, "elapsed_s": round(done.seconds, 6)}
        print_json({**said, "source_id": taking.source.id, "notes": taking.source.notes()})
        return
    rate = done.records / max(done.seconds, 1e-6)
    note(f"{done.records:,} records ({size_text(done.bytes)}) in {duration_text(done.seconds)}, {rate:,.0f}/s")
    for what, said in taking.source.notes().items():
        note(f"{what}: {said}")


class Progress:
    """How far a capture is, in one line on stderr."""

    def __init__(self, wanted: bool | None) -> None:
        self._terminal = sys.stderr.isatty()
        self._shown = self._terminal if wanted is None else wanted
        self._began = self._said = time.monotonic()

    def update(self, taking: Capture) -> None:
        """Say where it stands, where that was not said just now."""
        now = time.monotonic()
        if not self._shown or now - self._said < (RENEW_INTERVAL if self._terminal else LINE_INTERVAL):
            return
        self._said = now
        line = status_text(taking, now - self._began)
        sys.stderr.write(f"\r{line}\033[K" if self._terminal else f"{line}\n")
        sys.stderr.flush()

    def end(self) -> None:
        """Take the line away."""
        if self._shown and self._terminal:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()


def status_text(taking: Capture, elapsed: float) -> str:
    """Where a capture stands: records, rate, how far behind, how many shards or files; at most 79 characters."""
    lag = taking.lag()
    rate = taking.records / max(elapsed, 0.001)
    behind = size_text(lag.amount) if lag.unit == "bytes" else duration_text(lag.amount / 1000)
    text = f"{taking.records:,} records  {size_text(taking.bytes)}  {rate:,.0f}/s  {behind} behind"
    return f"{text}  {lag.open_units} open"[:79]
