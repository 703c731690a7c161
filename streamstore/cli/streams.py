"""`create`, `delete` and `list`: the streams of a store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from streamstore import settings
from streamstore.cli.arguments import (
    DURABILITIES,
    SIZE,
    directory_argument,
    json_option,
    open_to_read,
    open_to_write,
    stream_argument,
    stream_names,
)
from streamstore.cli.describe import stream_document
from streamstore.cli.output import note, print_json, print_table
from streamstore.limits import ON_FULL


@click.command()
@directory_argument
@stream_argument
@click.option("--shards", type=click.IntRange(min=1), default=1, show_default=True, help="How many shards.")
@click.option(
    "--retention",
    "retention_hours",
    type=click.IntRange(min=1),
    default=24,
    show_default=True,
    help="Hours until a record may be trimmed.",
)
@click.option("--durability", type=DURABILITIES, help="What an acknowledgement waits for.  [default: sync]")
@click.option(
    "--max-record-size", type=SIZE, help="Largest data and key of a record, for example 4MiB.  [default: 1MiB]"
)
@click.option("--max-bytes", type=SIZE, help="The most that is kept of it, before compression.  [default: no limit]")
@click.option(
    "--on-full",
    type=click.Choice(ON_FULL),
    default="error",
    show_default=True,
    help="What a put does that finds no place within --max-bytes.",
)
@click.option("--exist-ok", is_flag=True, help="Succeed where the stream is there already.")
@json_option
def create(
    directory: Path,
    stream: str,
    shards: int,
    retention_hours: int,
    durability: str | None,
    max_record_size: int | None,
    max_bytes: int | None,
    on_full: str,
    exist_ok: bool,
    as_json: bool,
) -> None:
    """Create STREAM, and the store in DIRECTORY where there is none.

    \b
    Example:
      streamstore create data/ clicks --shards 4 --durability interval
    """
    options: dict[str, Any] = {} if max_record_size is None else {"max_record_size": max_record_size}
    options |= {"shard_count": shards, "retention_hours": retention_hours, "durability": durability}
    options |= {"max_bytes": max_bytes, "on_full": on_full}
    settings.check_stream(stream, **options)
    with open_to_write(directory, create=True) as store:
        made = store.create_stream(stream, exist_ok=exist_ok, **options)
        if as_json:
            print_json(stream_document(made))


@click.command()
@directory_argument
@stream_argument
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--missing-ok", is_flag=True, help="Succeed where there is no such stream.")
@json_option
def delete(directory: Path, stream: str, yes: bool, missing_ok: bool, as_json: bool) -> None:
    """Delete STREAM with all its records, for good.

    \b
    Example:
      streamstore delete data/ clicks --yes
    """
    with open_to_write(directory) as store:
        if missing_ok and stream not in stream_names(store):
            deleted = False
        else:
            store.stream(stream)  # no question about a stream that is not there
            if not yes:
                click.confirm(f"Delete {stream} with all its records?", abort=True, err=True)
            store.delete_stream(stream)
            deleted = True
    if as_json:
        print_json({"stream": stream, "deleted": deleted})


@click.command("list")
@directory_argument
@click.option("-l", "--long", "detailed", is_flag=True, help="Shards, durability, retention and records too.")
@json_option
def list_streams(directory: Path, detailed: bool, as_json: bool) -> None:
    """List the streams of a store, a name a line.

    \b
    Examples:
      streamstore list data/
      streamstore list data/ --long
    """
    with open_to_read(directory) as store:
        names = stream_names(store)
        if not (detailed or as_json):
            for name in names:
                click.echo(name)
            return
        documents = [stream_document(store.stream(name)) for name in names]
    if as_json:
        print_json(documents)
    elif not documents:
        note(f"{directory} has no streams yet; `streamstore create {directory} STREAM` makes one")
    else:
        columns = ("name", "open_shards", "records", "durability", "retention_hours")
        print_table(
            [each.replace("_", " ").upper() for each in columns],
            [[each[name] for name in columns] for each in documents],
        )
