"""`verify`: every frame's checks, from the files, and where they do not hold, exactly what is hit. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import click

from streamstore import errors, native
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
from streamstore.cli.segment_file import damaged_headers
from streamstore.limits import CATALOG_RECORD_SIZE_MAX, READ_CHUNK_RECORDS, READ_CHUNK_SIZE
from streamstore.values import LogOptions

_CATALOG = LogOptions("sync", 0, CATALOG_RECORD_SIZE_MAX, 0, 0, b"")


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
        # The catalog first: where it is damaged, nobody knows the streams.
        catalog = store.attachment.log(0, 0, "catalog", _CATALOG)
        damage += damaged_headers(directory / "catalog", "catalog", "catalog")
        _check([("catalog", catalog)], damage, dict.fromkeys(totals, 0), RunProgress("", None, wanted=False))
        if not damage:
            handles = streams_of(store, stream)
            logs = [(handle.name, handle.log(shard.index)) for handle in handles for shard in handle.shards()]
            for handle in handles:
                for shard in handle.shards():
                    place = Path(store.attachment.stream_directory(handle.info.id)) / str(shard.index)
                    damage += damaged_headers(place, handle.name, shard.id)
            size = sum(part.end - part.begin for _, log in logs for part in _parts(log))
            with RunProgress("verifying", size, progress) as bar:
                _check(logs, damage, totals, bar)
    if as_json:
        print_json({"damage": damage, **totals})
    else:
        _print(damage, totals)
    return DAMAGED if damage else OK


def _check(
    logs: Iterable[tuple[str, native.Log]], damage: list[dict[str, Any]], totals: dict[str, int], bar: RunProgress
) -> None:
    """Check every frame of the logs; adds what is damaged and what was looked at."""
    for name, log in logs:
        totals["shards"] += 1
        for part in _parts(log):
            found, counted = log.verify(part.begin, part.end)
            for key in ("frames", "records", "bytes"):
                totals[key] += counted[key]
            damage += [_describe(name, log, part, each) for each in found]
            bar.update(totals["bytes"], totals["records"])


class _Part(NamedTuple):
    """What one segment holds of a log, the epoch there, and how many records come before its end; None if unknown."""

    begin: int
    end: int
    epoch: int
    records_until: int | None


def _parts(log: native.Log) -> list[_Part]:
    state = log.state()
    live = [segment for segment in log.segments() if segment.live]
    # Behind the last segment nothing says how many records there should be.
    until: list[int | None] = [*[segment.base_ordinal for segment in live[1:]], None][: len(live)]
    parts = [
        _Part(max(segment.base, state.start), min(segment.end, state.visible), segment.epoch, records)
        for segment, records in zip(live, until, strict=True)
    ]
    return [part for part in parts if part.begin < part.end]


def _describe(name: str, log: native.Log, part: _Part, damage: dict[str, int]) -> dict[str, Any]:
    """One damaged range: bytes, file, and the lowest and highest sequence number that may be lost in it."""
    after = damage["next_ordinal"] - 1 if damage["next_ordinal"] else part.records_until
    before_epoch, after_epoch = _epochs(log, part, damage)
    index = log.shard_index
    return {
        "stream": name,
        "shard_id": log.shard_id,
        "begin": damage["begin"],
        "end": damage["end"],
        "bytes": damage["end"] - damage["begin"],
        "segment": damage["segment_ordinal"],
        "file_offset": damage["file_offset"],
        "first_sequence_number": native.sequence_number(before_epoch, damage["begin"], index),
        "last_sequence_number": native.sequence_number(after_epoch, max(damage["begin"], damage["end"] - 8), index),
        "records_before": damage["first_ordinal"],
        "records_lost": None if after is None else after - damage["first_ordinal"],
    }


def _epochs(log: native.Log, part: _Part, damage: dict[str, int]) -> tuple[int, int]:
    """The epochs of the records next to the damage, so that no number outside of it lies between first and last."""
    before = after = part.epoch
    try:
        begin = log.seek(max(damage["begin"] - READ_CHUNK_SIZE, part.begin))
        records = log.read(begin, damage["begin"], READ_CHUNK_RECORDS, READ_CHUNK_SIZE)[0]
        before = records[-1].epoch if records else before
        records = log.read(damage["end"], 0, 1, READ_CHUNK_SIZE)[0] if damage["end"] < part.end else []
        after = records[0].epoch if records else after
    except errors.CorruptRangeError:
        pass  # more damage close by: the segment's own epoch bounds it too
    return before, max(before, after)


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
    good = (
        f"{checked} are good" if totals["shards"] else "the streams were not checked, because the catalog does not read"
    )
    note(f"{len(damage)} damaged range(s); {good}")
