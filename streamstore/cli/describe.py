"""`describe`: the facts on one stream and its shards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from streamstore.cli.arguments import directory_argument, json_option, open_to_read, stream_argument
from streamstore.cli.output import iso_us, print_facts, print_json, print_table, size_text
from streamstore.shard import Shard
from streamstore.stream import Stream


@click.command()
@directory_argument
@stream_argument
@json_option
def describe(directory: Path, stream: str, as_json: bool) -> None:
    """Show what STREAM is: its settings, and its shards with their hash ranges and records.

    \b
    Example:
      streamstore describe data/ clicks --json | jq '.shards[].records'
    """
    with open_to_read(directory) as store:
        handle = store.stream(stream)
        document = stream_document(handle)
        document["shards"] = [_shard_document(shard) for shard in handle.shards()]
    if as_json:
        print_json(document)
        return
    print_facts((name, _text(name, value)) for name, value in document.items() if name != "shards")
    print()
    columns = ("shard_id", "closed", "records", "hash_range_start", "hash_range_end", "parents", "children")
    rows = [[_cell(shard[column]) for column in columns] for shard in document["shards"]]
    print_table([column.replace("_", " ").upper() for column in columns], rows, right=("RECORDS",))


def stream_document(stream: Stream) -> dict[str, Any]:
    """A stream's settings and totals."""
    shards = list(stream.shards())
    return {
        "name": stream.name,
        "arn": stream.arn,
        "durability": stream.durability,
        "retention_hours": stream.retention_hours,
        "max_record_size": stream.info.max_record_size,
        "encrypted": stream.encryption.enabled,
        "created": iso_us(stream.info.created_us),
        "open_shards": sum(not shard.is_closed for shard in shards),
        "records": sum(shard.record_count for shard in shards),
    }


def _shard_document(shard: Shard) -> dict[str, Any]:
    first, last = shard.sequence_range
    return {
        "shard_id": shard.id,
        "closed": shard.is_closed,
        "records": shard.record_count,
        "hash_range_start": str(shard.hash_range.start),
        "hash_range_end": str(shard.hash_range.end),
        "parents": list(shard.parents),
        "children": list(shard.children),
        "first_sequence_number": first,
        "last_sequence_number": last,
    }


def _text(name: str, value: Any) -> str:
    if name == "max_record_size":
        return size_text(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) or None if isinstance(value, list) else value
