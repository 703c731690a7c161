"""`verify`: every frame's checks from the files, and where they do not hold, exactly what is hit. Detects; changes
nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import click

from streamstore import native, routing
from streamstore.cli.arguments import (
    directory_argument,
    json_option,
    open_to_read,
    optional_stream_argument,
    streams_of,
)
from streamstore.cli.exits import DAMAGED, OK
from streamstore.cli.output import note, print_json, print_table, size_text
from streamstore.cli.progress import RunProgress
from streamstore.limits import READ_CHUNK_RECORDS, READ_CHUNK_SIZE
from streamstore.stream import Stream


@click.command()
@directory_argument
@optional_stream_argument
@click.option("--progress/--no-progress", default=None, help="Show how far it is, on stderr.  [default: on a terminal]")
@json_option
def verify(directory: Path, stream: str | None, progress: bool | None, as_json: bool) -> int:
    """Check every byte of STREAM, or of the whole store, against its checksums.

    Reads the files, past all caches of its own. Reports each damaged range with its bytes and its sequence numbers; the
    exit code is 4 then.

    \b
    Examples:
      streamstore verify data/
      streamstore verify data/ clicks --json
    """
    damage: list[dict[str, Any]] = []
    totals = {"shards": 0, "frames": 0, "records": 0, "bytes": 0}
    with open_to_read(directory) as store:
        shards = [(handle, shard.index) for handle in streams_of(store, stream) for shard in handle.shards()]
        parts = [(handle, index, part) for handle, index in shards for part in _parts(handle, index)]
        with RunProgress("verifying", sum(part.end - part.begin for _, _, part in parts), progress) as bar:
            for handle, index, part in parts:
                found, counted = handle.log(index).verify(part.begin, part.end)
                for key in ("frames", "records", "bytes"):
                    totals[key] += counted[key]
                damage += [_describe(handle, index, part, each) for each in found]
                bar.update(totals["bytes"], totals["records"])
        totals["shards"] = len(shards)
    if as_json:
        print_json({"damage": damage, **totals})
    else:
        _print(damage, totals)
    return DAMAGED if damage else OK


class _Part(NamedTuple):
    """What one segment holds of a log, the epoch there, and how many records come before the next segment."""

    begin: int
    end: int
    epoch: int
    records_until: int


def _parts(stream: Stream, index: int) -> list[_Part]:
    log = stream.log(index)
    state = log.state()
    live = [segment for segment in log.segments() if segment.live]
    if not live:
        return []
    until = [segment.base_ordinal for segment in live[1:]] + [state.record_count]
    parts = [
        _Part(max(segment.base, state.start), min(segment.end, state.visible), segment.epoch, records)
        for segment, records in zip(live, until, strict=True)
    ]
    return [part for part in parts if part.begin < part.end]


def _describe(stream: Stream, index: int, part: _Part, damage: dict[str, int]) -> dict[str, Any]:
    """One damaged range: bytes, file, and the lowest and highest sequence number that may be lost in it."""
    after = damage["next_ordinal"] - 1 if damage["next_ordinal"] else part.records_until
    before_epoch, after_epoch = _epochs(stream.log(index), part, damage)
    return {
        "stream": stream.name,
        "shard_id": routing.shard_id(index),
        "begin": damage["begin"],
        "end": damage["end"],
        "bytes": damage["end"] - damage["begin"],
        "segment": damage["segment_ordinal"],
        "file_offset": damage["file_offset"],
        "first_sequence_number": native.sequence_number(before_epoch, damage["begin"], index),
        "last_sequence_number": native.sequence_number(after_epoch, max(damage["begin"], damage["end"] - 8), index),
        "records_before": damage["first_ordinal"],
        "records_lost": after - damage["first_ordinal"],
    }


def _epochs(log: native.Log, part: _Part, damage: dict[str, int]) -> tuple[int, int]:
    """The epochs of the records next to the damage, so that no number outside of it lies between first and last."""
    begin = log.seek(max(damage["begin"] - READ_CHUNK_SIZE, part.begin))
    before = log.read(begin, damage["begin"], READ_CHUNK_RECORDS, READ_CHUNK_SIZE)[0] if begin < damage["begin"] else []
    after = log.read(damage["end"], 0, 1, READ_CHUNK_SIZE)[0] if damage["end"] < part.end else []
    lowest = before[-1].epoch if before else part.epoch
    return lowest, max(lowest, after[0].epoch if after else part.epoch)


def _print(damage: list[dict[str, Any]], totals: dict[str, int]) -> None:
    size = size_text(totals["bytes"])
    checked = f"{totals['records']:,} records in {totals['frames']:,} frames, {size}, {totals['shards']} shards"
    if not damage:
        note(f"no damage: {checked} checked")
        return
    columns = (
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
    rows = [[each[column] for column in columns] for each in damage]
    print_table([column.replace("_", " ") for column in columns], rows)
    note(f"{len(damage)} damaged range(s); {checked} are good. Everything outside of these ranges can be read")
