"""`reshard`: split a shard, merge two, or make a number of equal ones, while others write and read."""

from __future__ import annotations

from pathlib import Path

import click

from streamstore.cli.arguments import directory_argument, json_option, open_to_write, stream_argument
from streamstore.cli.output import print_json, print_table
from streamstore.cli.progress import CountProgress
from streamstore.errors import InvalidArgumentError
from streamstore.shard import Shard
from streamstore.stream import Stream


@click.command()
@directory_argument
@stream_argument
@click.option("--count", type=click.IntRange(min=1), help="Make so many shards of equal range, in the fewest steps.")
@click.option("--split", metavar="SHARD", help="Split this shard in two.")
@click.option(
    "--at", type=int, metavar="KEY", help="With --split: the hash key at which the second begins.  [default: middle]"
)
@click.option("--merge", nargs=2, metavar="SHARD SHARD", help="Merge these two, whose hash keys adjoin.")
@click.option("--progress/--no-progress", default=None, help="Show how far it is, on stderr.  [default: on a terminal]")
@json_option
def reshard(
    directory: Path,
    stream: str,
    count: int | None,
    split: str | None,
    at: int | None,
    merge: tuple[str, str] | None,
    progress: bool | None,
    as_json: bool,
) -> None:
    """Change the shards of STREAM; prints those that are open then.

    Writers and readers in other processes go on without an error, each key in order. Closed shards stay readable until
    their records are past retention. Interrupted, it is simply called again. A shard is an id, or its number.

    \b
    Examples:
      streamstore reshard data/ clicks --count 8
      streamstore reshard data/ clicks --split shardId-000000000000
      streamstore reshard data/ clicks --merge 1 2
    """
    if sum(item is not None for item in (count, split, merge or None)) != 1:
        raise click.UsageError("give one of --count, --split and --merge")
    if at is not None and split is None:
        raise click.UsageError("--at goes with --split")
    with open_to_write(directory) as store:
        handle = store.stream(stream)
        if count is not None:
            with CountProgress("steps", progress) as bar:
                handle.update_shard_count(count, bar.update)
        elif split is not None:
            handle.split_shard(_shard_id(split), at)
        elif merge is not None:
            handle.merge_shards(_shard_id(merge[0]), _shard_id(merge[1]))
        shards = [_document(shard) for shard in _open_shards(handle)]
    if as_json:
        print_json({"stream": stream, "open_shards": shards})
    else:
        columns = ("shard_id", "hash_range_start", "hash_range_end", "parents")
        rows = [
            [", ".join(item) or None if isinstance(item, list) else item for item in shard.values()] for shard in shards
        ]
        print_table([column.replace("_", " ").upper() for column in columns], rows)


def _shard_id(text: str) -> str:
    if not text.isdecimal():
        return text
    if len(text) > 12:
        raise InvalidArgumentError(f"{text} is no shard: give its id or its number")
    return f"shardId-{int(text):012d}"


def _open_shards(stream: Stream) -> list[Shard]:
    return [stream.lazy_shard(index) for index in stream.check().lineage.open]


def _document(shard: Shard) -> dict[str, str | list[str]]:
    start, end = shard.hash_range
    return {
        "shard_id": shard.id,
        "hash_range_start": str(start),
        "hash_range_end": str(end),
        "parents": list(shard.parents),
    }
