"""`read`: what a stream or a shard holds, from one place to another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from streamstore import errors, iterators, native, routing
from streamstore.cli.arguments import POSITION, SequenceNumber, directory_argument, open_to_read, stream_argument
from streamstore.cli.exits import DAMAGED, OK, damage_line
from streamstore.cli.output import note
from streamstore.cli.records import deaggregate_options, form_options, writer_for
from streamstore.iterators import Place
from streamstore.native import Record
from streamstore.shard import Shard
from streamstore.stream import Stream
from streamstore.values import Position


@click.command()
@directory_argument
@stream_argument
@click.option(
    "--start",
    type=POSITION,
    default="TRIM_HORIZON",
    show_default=True,
    help="TRIM_HORIZON, LATEST, a time, an age (15m), a sequence number, or a saved position (JSON or @FILE).",
)
@click.option(
    "--end",
    type=POSITION,
    help="Stop there; a record with that sequence number is still read.  [default: the tails as of now]",
)
@click.option("--limit", type=click.IntRange(min=0), help="Stop after so many records.")
@click.option("--shard", "shard_id", help="One shard only: its id or its number.")
@click.option("--merge", is_flag=True, help="All shards in order of arrival.")
@click.option(
    "--skip-damaged", is_flag=True, help="Go on behind damage, which is said on stderr; the exit code is 4 then."
)
@click.option("--attributes", is_flag=True, help="Show attributes and source too.")
@deaggregate_options
@form_options
def read(
    directory: Path,
    stream: str,
    start: Any,
    end: Any,
    limit: int | None,
    shard_id: str | None,
    merge: bool,
    skip_damaged: bool,
    attributes: bool,
    deaggregate: bool,
    range_rule: str | None,
    form: str | None,
) -> int:
    """Print the records of STREAM, oldest first within each shard.

    A sequence number is a place in one shard, and that shard alone is read.

    \b
    Examples:
      streamstore read data/ clicks --raw > copy.log
      streamstore read data/ clicks --start 15m --json | jq .data
      streamstore read data/ clicks --shard 2 --start 2026-05-17T10:00:00Z --limit 10
    """
    writer = writer_for(form, attributes=attributes, follow=False)
    with open_to_read(directory) as store:
        handle = store.stream(stream)
        shard = _one_shard(handle, shard_id, start, end)
        if shard is not None:
            start, end = _place(handle, shard, start, after=False), _place(handle, shard, end, after=True)
        damaged = False
        try:
            for records in _limited(_batches(handle, start, end, merge, range_rule or deaggregate), limit):
                if isinstance(records, errors.CorruptRangeError):
                    if not skip_damaged:
                        raise records
                    damaged = True
                    note(f"skipped: {damage_line(records)}")
                else:
                    writer.records(records)
        finally:
            writer.end()
    return DAMAGED if damaged else OK


def _batches(
    stream: Stream, start: Any, end: Any, merge: bool, deaggregate: bool | str
) -> Iterator[list[Record] | errors.CorruptRangeError]:
    """What a reader gives, batch by batch, each damaged range in its place; asked for more, it goes on behind that."""
    while True:
        with stream.read(start, end=end, merge=merge, deaggregate=deaggregate) as reader:
            try:
                yield from reader.batches()
                return
            except errors.CorruptRangeError as error:
                damage = error
        yield damage
        start = damage.next_position


def _limited(
    batches: Iterator[list[Record] | errors.CorruptRangeError], limit: int | None
) -> Iterator[list[Record] | errors.CorruptRangeError]:
    """At most `limit` records of the batches."""
    left = limit
    while left is None or left > 0:
        batch = next(batches, None)
        if batch is None:
            return
        if isinstance(batch, list) and left is not None:
            batch = batch[:left]
            left -= len(batch)
        yield batch


def _one_shard(stream: Stream, shard_id: str | None, start: Any, end: Any) -> Shard | None:
    """The shard that was asked for, by option or through a sequence number; None for all."""
    named = {
        routing.shard_id(native.parse_sequence_number(place)[2])
        for place in (start, end)
        if isinstance(place, SequenceNumber)
    }
    if shard_id is not None:
        named.add(routing.shard_id(int(shard_id)) if shard_id.isdigit() else shard_id)
    if len(named) > 1:
        raise click.UsageError(f"start, end and --shard name different shards: {', '.join(sorted(named))}")
    return stream.shard(named.pop()) if named else None


def _place(stream: Stream, shard: Shard, place: Any, *, after: bool) -> Any:
    """The same place in that one shard, as a position of a reader."""
    if place is None or isinstance(place, dict):
        return place if place is None else _cut(place, shard)
    if isinstance(place, SequenceNumber):
        epoch, position, _ = native.parse_sequence_number(place)
        # Frames are longer than 8 bytes, so that the next one begins at the first boundary from there on.
        return iterators.make_position(stream.token, {shard.id: Place(position + 8 * after, epoch)})
    if place == "LATEST":
        return shard.tail
    return shard.seek_time(0 if place == "TRIM_HORIZON" else place)


def _cut(position: Position, shard: Shard) -> Position:
    shards = position.get("shards")
    if not isinstance(shards, dict) or shard.id not in shards:
        raise click.UsageError(f"the position says nothing about {shard.id}")
    return {**position, "shards": {shard.id: shards[shard.id]}}
