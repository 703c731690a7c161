"""`put`: one record from the command line or from stdin."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path
from typing import Any

import click

from streamstore.cli.arguments import directory_argument, json_option, open_to_write, parse_time, stream_argument
from streamstore.cli.output import print_json


@click.command()
@directory_argument
@stream_argument
@click.argument("data", required=False)
@click.option("-k", "--key", help="Partition key, 1 to 256 characters; it chooses the shard. None: any shard.")
@click.option(
    "--hash-key",
    type=click.IntRange(0, 2**128 - 1),
    help="Explicit hash key, which chooses the shard in place of the key.",
)
@click.option(
    "-a",
    "--attribute",
    "attributes",
    multiple=True,
    metavar="NAME=VALUE",
    help="An attribute; may be given more than once.",
)
@click.option("--event-time", help="When it happened: ISO 8601, epoch seconds, or an age such as 15m.")
@click.option("--sync", is_flag=True, help="Wait until it is on the disk, whatever the stream's durability.")
@json_option
def put(
    directory: Path,
    stream: str,
    data: str | None,
    key: str | None,
    hash_key: int | None,
    attributes: tuple[str, ...],
    event_time: str | None,
    sync: bool,
    as_json: bool,
) -> None:
    """Put one record into STREAM and print its sequence number.

    DATA is the record's text; `-`, or nothing, takes all of stdin, byte for byte.

    \b
    Examples:
      streamstore put data/ clicks '{"page": "/"}' --key user-42
      streamstore put data/ images - --key cat < cat.jpg
    """
    options: dict[str, Any] = {}
    if hash_key is not None or key is None:
        options["explicit_hash_key"] = secrets.randbits(128) if hash_key is None else hash_key
    if attributes:
        options["attributes"] = dict(_attribute(text) for text in attributes)
    if event_time is not None:
        options["event_time"] = parse_time(event_time)
        if options["event_time"] is None:
            raise click.BadParameter(f"{event_time!r} is no time", param_hint="--event-time")
    if sync:
        options["sync"] = True
    payload = sys.stdin.buffer.read() if data in (None, "-") else os.fsencode(str(data))
    with open_to_write(directory) as store:
        result = store.stream(stream).put_record(payload, partition_key=key, **options)
    if as_json:
        print_json({"shard_id": result.shard_id, "sequence_number": result.sequence_number})
    else:
        click.echo(result.sequence_number)


def _attribute(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--attribute")
    return name, value
