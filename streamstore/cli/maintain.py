"""`maintain` and `retention`: keeping a store in order from cron or as a daemon, and how long and how much it keeps."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

import streamstore
from streamstore.cli.arguments import (
    SIZE,
    directory_argument,
    json_option,
    key_ring,
    must_exist,
    open_to_read,
    open_to_write,
    stream_argument,
)
from streamstore.cli.exits import FAILED, VerbError
from streamstore.cli.output import duration_text, iso_us, note, print_facts, print_json, size_text
from streamstore.limits import ON_FULL, RETENTION_HOURS_MAX, RETENTION_HOURS_MIN
from streamstore.maintenance import Report
from streamstore.stream import Stream


@click.command()
@directory_argument
@click.option("--daemon", is_flag=True, help="Again and again, until Ctrl-C.")
@click.option(
    "--every",
    type=click.FloatRange(min=0.1),
    default=60.0,
    show_default=True,
    help="Seconds between rounds of a daemon.",
)
@click.option("--accept-clock", is_flag=True, help="The wall clock is right, however far it jumped.")
@json_option
def maintain(directory: Path, daemon: bool, every: float, accept_clock: bool, as_json: bool) -> None:
    """Drop what is past retention, end slow segments, compact, finish what crashes left.

    \b
    One process does it at a time; programs that have the store open do it by themselves once a minute.
    Ends with 1 where something could not be done, or the clock keeps it from trimming.
    Examples:
      streamstore maintain data/
      streamstore maintain data/ --daemon --every 300
    """
    must_exist(directory)
    with streamstore.open(directory, create=False, maintenance=False, key_ring=key_ring()) as store:
        while True:
            report = store.maintain(accept_clock=accept_clock)
            _print_report(report, as_json, a_line=daemon)
            if not daemon:
                break
            accept_clock = False
            time.sleep(every)
    if report.problems or report.paused:
        raise VerbError(report.problems[0] if report.problems else _paused(report), FAILED)


def _paused(report: Report) -> str:
    return (
        f"the wall clock jumped by {duration_text(abs(report.jump_us) / 1e6)}: nothing is trimmed until it is right; "
        "--accept-clock says that it is"
    )


def _print_report(report: Report, as_json: bool, *, a_line: bool) -> None:
    if as_json and a_line:
        click.echo(json.dumps(report.to_map()))  # which flushes
        return
    if as_json:
        print_json(report.to_map())
        return
    if report.busy:
        note("another process is at it; nothing was done")
        return
    parts = [f"{size_text(report.freed_bytes)} freed"]
    for count, what in (
        (report.expired_shards, "closed shards expired"),
        (report.rolled_segments, "slow segments ended"),
        (report.compacted_segments, "segments compacted"),
        (report.purged_streams, "deleted streams finished"),
    ):
        if count:
            parts.append(f"{count} {what}")
    note(f"{', '.join(parts)}, in {duration_text(report.took_us / 1e6)}")


@click.command()
@directory_argument
@stream_argument
@click.option(
    "--hours", type=click.IntRange(RETENTION_HOURS_MIN, RETENTION_HOURS_MAX), help="Hours that records can be read."
)
@click.option("--max-bytes", type=SIZE, help="The most that is kept, before compression; 0 for no limit.")
@click.option("--on-full", type=click.Choice(ON_FULL), help="What a put does that finds no place.")
@json_option
def retention(
    directory: Path, stream: str, hours: int | None, max_bytes: int | None, on_full: str | None, as_json: bool
) -> None:
    """Show how long and how much STREAM keeps, or change it.

    \b
    Examples:
      streamstore retention data/ clicks
      streamstore retention data/ clicks --hours 168 --max-bytes 50GiB --on-full drop_oldest
    """
    changes = any(value is not None for value in (hours, max_bytes, on_full))
    with open_to_write(directory) if changes else open_to_read(directory) as store:
        found = store.stream(stream)
        if hours is not None:
            found.set_retention(hours)
        if max_bytes is not None or on_full is not None:
            found.set_limit(found.max_bytes if max_bytes is None else max_bytes or None, on_full)
        document = _bounds(found)
    if as_json:
        print_json(document)
    else:
        limit = size_text(document["max_bytes"]) if document["max_bytes"] else "none"
        print_facts(
            [
                ("retention", f"{document['retention_hours']} hours"),
                ("oldest", document["horizon"]),
                ("kept", size_text(document["kept_bytes"])),
                ("limit", f"{limit} (on full: {document['on_full']})"),
            ]
        )


def _bounds(stream: Stream) -> dict[str, Any]:
    return {
        "stream": stream.name,
        "retention_hours": stream.retention_hours,
        "horizon": iso_us(stream.horizon()),
        "kept_bytes": stream.kept_bytes(),
        "max_bytes": stream.max_bytes,
        "on_full": stream.on_full,
    }
