"""The verb `replay`: options, opening, running. What a replay does is in `streamstore.replay`."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from streamstore import errors
from streamstore.cli.arguments import (
    DURABILITIES,
    POSITION,
    SequenceNumber,
    directory_argument,
    json_option,
    open_to_read,
    open_to_write,
    stream_argument,
)
from streamstore.cli.output import note, print_json
from streamstore.cli.replay.keys import Keyboard
from streamstore.cli.replay.report import StatusLine, plan_document, plan_text, report, summary
from streamstore.fields import FieldTaker
from streamstore.replay import Replay
from streamstore.store import Store
from streamstore.targets import open_target
from streamstore.targets.addresses import load_function

_PLACES = "TRIM_HORIZON, LATEST, a time, an age (15m), or a saved position (JSON or @FILE)."


class SpeedType(click.ParamType):  # type: ignore[type-arg]
    """A factor: 1, 0.5, 3600, 60x, or max."""

    name = "speed"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        text = str(value).strip().lower()
        try:
            speed = math.inf if text == "max" else float(text.removesuffix("x"))
        except ValueError:
            speed = math.nan
        if math.isnan(speed) or speed <= 0:
            self.fail(f"{value!r} is no speed: a factor such as 1, 0.5 or 3600x, or max", param, ctx)
        return speed


class HashKeysType(click.ParamType):  # type: ignore[type-arg]
    """Two hash keys, both included: FIRST-LAST."""

    name = "hash keys"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        first, _, last = str(value).partition("-")
        if not first.isdigit() or not last.isdigit():
            self.fail(f"{value!r} is not FIRST-LAST", param, ctx)
        return int(first), int(last)


@click.command()
@directory_argument
@stream_argument
@click.argument("target", default="-")
@click.option("--start", type=POSITION, default="TRIM_HORIZON", show_default=True, help=_PLACES)
@click.option("--end", type=POSITION, help="Stop there.  [default: the tails as of now]")
@click.option(
    "--speed", type=SpeedType(), default="1", show_default=True, help="A factor such as 0.5 or 3600x, or max."
)
@click.option(
    "--rate", type=click.FloatRange(min=0, min_open=True), help="So many records a second, whatever their times."
)
@click.option(
    "--by",
    type=click.Choice(["arrival", "event", "source"]),
    default="arrival",
    show_default=True,
    help="Whose gaps are kept: of the arrival here, the event time, or the arrival at the source of a capture.",
)
@click.option("-f", "--follow", is_flag=True, help="Go on with what arrives, until Ctrl-C.")
@click.option(
    "--timeout", type=click.FloatRange(min=0), help="With --follow: end after so many seconds without a record."
)
@click.option("--loop", "loops", type=click.IntRange(min=0), default=1, help="So many rounds; 0: without end.")
@click.option("--key", "keys", multiple=True, help="Only records with this partition key; several add up.")
@click.option("--hash-keys", type=HashKeysType(), help="Only records whose hash key lies in FIRST-LAST.")
@click.option("--match", metavar="REGEX", help="Only records in whose data this regular expression is found.")
@click.option("--jq", metavar="EXPR", help="Only records for which this is neither false nor null (extra `jq`).")
@click.option("--where", metavar="MODULE:NAME", help="Only records for which this Python function says so.")
@click.option("--new-key-field", metavar="PATH", help="A new partition key, from JSON: a dotted path.")
@click.option("--new-key-regex", metavar="REGEX", help="A new partition key: the first group of a regular expression.")
@click.option("--new-times", is_flag=True, help="The event time is when a record is sent, in place of what it was.")
@click.option("--region", help="Of a Kinesis endpoint.")
@click.option("--shards", type=click.IntRange(min=1), default=1, help="Of a target stream that has to be made.")
@click.option("--durability", type=DURABILITIES, help="Of a target stream that has to be made.")
@click.option("--dry-run", is_flag=True, help="Say what would be sent and how long it takes; send nothing.")
@click.option("--progress/--no-progress", default=None, help="Show how far it is, on stderr.  [default: on a terminal]")
@json_option
def replay(directory: Path, stream: str, target: str, **options: Any) -> None:
    """Send the records of STREAM again, each when it is due, to TARGET.

    \b
    TARGET:
      -  or  json:-           stdout: the data, or JSON, a line each
      FILE.jsonl, FILE.parquet  a new file
      store:DIR#STREAM        a stream of a store; queue:DIR#NAME a queue
      http://HOST:PORT/NAME   a stream behind a Kinesis endpoint
      kinesis:NAME            a stream of AWS
      python:MODULE:NAME      a Python function, called with each record
      null:                   nowhere, for measuring

    On a terminal: space pauses, + and - change the speed, the arrows go ten seconds on or back, q ends it.

    \b
    Examples:
      streamstore replay data/ clicks --speed 10
      streamstore replay data/ logs http://localhost:4567/logs --by event --speed 3600x
      streamstore replay data/ clicks store:copy/#clicks --start 2h --match checkout --speed max
    """
    _check(options)
    with ExitStack() as stack:
        store = stack.enter_context(_opened(directory, options["follow"]))
        handle = store.stream(stream)
        playing = stack.enter_context(_replay(handle, options))
        if options["dry_run"]:
            plan = playing.plan()
            if options["as_json"]:
                print_json(plan_document(plan))
            else:
                plan_text(plan, options["speed"], options["rate"])
            return
        opened = stack.enter_context(
            open_target(
                target,
                region=options["region"],
                durability=options["durability"],
                shards=options["shards"],
                origin=handle,
            )
        )
        _run(playing, opened, options, to_stdout=target in ("-", "json:-"))


def _check(options: dict[str, Any]) -> None:
    if isinstance(options["start"], SequenceNumber) or isinstance(options["end"], SequenceNumber):
        raise click.UsageError("a sequence number is a place in one shard; give a time or a position")
    if options["new_key_field"] and options["new_key_regex"]:
        raise click.UsageError("--new-key-field or --new-key-regex, not both")


def _opened(directory: Path, follow: bool) -> Store:
    if not follow:
        return open_to_read(directory)
    try:
        return open_to_write(directory)
    except (PermissionError, errors.ReadOnlyError):
        note(f"{directory} cannot be written to: while nobody else has it open, later records do not show")
        return open_to_read(directory)


def _replay(stream: Any, options: dict[str, Any]) -> Replay:
    names = ("end", "speed", "rate", "by", "follow", "timeout", "loops", "hash_keys", "match", "jq")
    return Replay(
        stream,
        options["start"],
        **{name: options[name] for name in names},
        keys=options["keys"] or None,
        where=None if options["where"] is None else load_function(options["where"], "--where "),
        key=_new_key(options["new_key_field"], options["new_key_regex"]),
        times="now" if options["new_times"] else "keep",
    )


def _new_key(field: str | None, regex: str | None) -> Callable[[Any], str | None] | None:
    if field is None and regex is None:
        return None
    try:
        taker = FieldTaker(key_field=field, key_regex=regex)
    except re.error as error:
        raise click.UsageError(f"not a regular expression: {error}") from None
    return lambda record: taker.take(record.data).key


def _run(playing: Replay, target: Any, options: dict[str, Any], *, to_stdout: bool) -> None:
    began = time.monotonic()
    try:
        with StatusLine(playing, options["progress"]), Keyboard(playing):
            playing.run(target)
    except KeyboardInterrupt:
        note(f"{playing.records:,} records were sent; go on with --start '{_place(playing)}'")
        raise
    said = summary(playing, target, time.monotonic() - began)
    if options["as_json"] and not to_stdout:
        print_json(said)
    else:
        report(playing, said)


def _place(playing: Replay) -> str:
    import json

    return json.dumps(playing.position, separators=(",", ":"))
