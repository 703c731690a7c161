"""A captured stream read by the numbers of its source: one checkpoint works there and here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from streamstore.capture.ledger import captures, numbers_of
from streamstore.native import Record
from streamstore.stream import Stream


def read_from(stream: Stream, checkpoint: Mapping[str, str], **options: Any) -> Iterator[Record]:
    """The records that a reader of the source has not seen, by its checkpoint: of each shard the last number it did.

    Shards of the source that others in the checkpoint came from are done with; of shards it does not name otherwise all
    records come, and so do records that were not captured. Reads the stream from its beginning; options as for
    `stream.read`.
    """
    done = _ancestors(stream, checkpoint)
    last = {shard_id: int(number) for shard_id, number in checkpoint.items()}
    with stream.read(**options) as reader:
        for record in reader:
            there = numbers_of(record)
            if there is None or (there[0] not in done and int(there[1]) > last.get(there[0], -1)):
                yield record


def _ancestors(stream: Stream, checkpoint: Mapping[str, str]) -> set[str]:
    """The shards of the source that those of a checkpoint came from."""
    parents: dict[str, list[str]] = {}
    for kept in captures(stream).values():
        shards = kept["state"].get("shards", {})
        parents.update({shard_id: shard["parents"] for shard_id, shard in shards.items()})
    found: set[str] = set()
    waiting = [parent for shard_id in checkpoint for parent in parents.get(shard_id, ())]
    while waiting:
        shard_id = waiting.pop()
        if shard_id not in found and shard_id not in checkpoint:
            found.add(shard_id)
            waiting += parents.get(shard_id, ())
    return found
