"""What of a source a stream has: a checkpoint in the catalog, and behind it the records themselves.

A checkpoint is (where the stream's tails were, what of the source was in by then), kept as an annotation of the stream
under the source's name. Whoever goes on reads the stream from there and learns from `record.source` what came in since:
so each record is taken once, whatever the capture died of. The order in which a checkpoint is made guards that: the
tails are noted when nothing is under way, all up to them is made durable, and then the annotation is written; a power
cut can take the annotation, never what it speaks of.
"""

from __future__ import annotations

from typing import Any

from streamstore.capture.source import Source
from streamstore.errors import InvalidArgumentError
from streamstore.native import Record
from streamstore.stream import Stream
from streamstore.values import Position

PREFIX = "capture/"
VERSION = 1


def resume(stream: Stream, source: Source) -> int:
    """Tell a source what the stream has of it; returns how many records that were behind the checkpoint."""
    # What a killed capture published and did not sync is shown to nobody yet: make it durable, so that it is found.
    stream.attachment.flush()
    kept = stream.annotation(PREFIX + source.id)
    if kept is not None and kept.get("v") != VERSION:
        raise InvalidArgumentError(f"{source.name} was captured by a later release: use that")
    source.restore(None if kept is None else kept["state"])
    start: Any = "TRIM_HORIZON" if kept is None else kept["position"]
    found = 0
    with stream.read(start, on_trimmed="skip") as reader:
        for batch in reader.batches():
            for record in batch:
                said = record.source if record.attribute_block else None
                if said is not None and said.get("from") == source.id:
                    source.seen(said, record)
                    found += 1
    return found


def checkpoint(stream: Stream, source: Source) -> None:
    """Note how far a source is in; to be called while nothing of it is under way. Durable at return."""
    position = _tails(stream)
    stream.attachment.flush()
    kept = {"v": VERSION, "name": source.name, "position": position, "state": source.state()}
    stream.annotate(PREFIX + source.id, lambda _: kept)


def _tails(stream: Stream) -> Position:
    with stream.read("LATEST") as reader:
        return reader.position


def captures(stream: Stream) -> dict[str, dict[str, Any]]:
    """What was captured into a stream as of its checkpoints: by the source's id its `name` and `state`; of a Kinesis
    stream the state has the shards with their hash ranges, parents, last numbers, and whether they have ended.
    """
    extra = stream.check().extra
    return {name.removeprefix(PREFIX): dict(kept) for name, kept in extra.items() if name.startswith(PREFIX)}


def numbers_of(record: Record) -> tuple[str, str] | None:
    """The shard and the sequence number that a record has where it was captured; None where it was not."""
    said = record.source if record.attribute_block else None
    if said is None or "from" not in said or "sequence_number" not in said:
        return None
    return str(said["shard_id"]), str(said["sequence_number"])
