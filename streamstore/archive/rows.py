"""One record on its way through a file, in whatever form: what every form must carry. Opens nothing."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import msgpack

from streamstore import clock
from streamstore.errors import InvalidArgumentError
from streamstore.native import Record
from streamstore.values import PutEntry

FORMS = ("archive", "jsonl", "parquet")


class Origin(NamedTuple):
    """Where the records of a file come from: the stream's token (store and number), and its name."""

    token: str
    stream: str


class Row(NamedTuple):
    """A record as a file holds it. `block` is the encoded attributes; hash keys are ints below 2**128."""

    shard_id: str
    sequence_number: str
    arrival_us: int
    partition_key: str | None
    explicit_hash_key: int | None
    block: bytes
    data: bytes


class Sink(Protocol):
    """A file being written, in one form."""

    def rows(self, rows: list[Row]) -> None: ...
    def end(self) -> None: ...


def from_record(record: Record) -> Row:
    return Row(
        record.shard_id,
        record.sequence_number,
        record.arrival_us,
        record.partition_key,
        record.explicit_hash_key,
        record.attribute_block,
        record.data,
    )


def source_of(row: Row, origin: Origin) -> dict[str, Any]:
    """What `record.source` of the imported record says."""
    return {
        "from": origin.token,
        "stream": origin.stream,
        "shard_id": row.shard_id,
        "sequence_number": row.sequence_number,
        "arrival_us": row.arrival_us,
    }


def to_entry(row: Row, origin: Origin) -> PutEntry:
    """The record to put: user attributes and event time as they were, its origin as the source.

    What the record itself came from, where it had a source, goes on as the source's `source`.
    """
    said = unpack_block(row.block)
    source = source_of(row, origin)
    if "s" in said:
        source["source"] = said["s"]
    event = clock.to_datetime(said["t"]) if "t" in said else None
    return PutEntry(row.data, row.partition_key, row.explicit_hash_key, said.get("u"), event, source)


def unpack_block(block: bytes) -> dict[str, Any]:
    if not block:
        return {}
    try:
        said = msgpack.unpackb(block, strict_map_key=False)
    except Exception as error:
        raise InvalidArgumentError(f"a record's attributes are no msgpack ({error})") from None
    if not isinstance(said, dict):
        raise InvalidArgumentError("a record's attributes are no map")
    return said
