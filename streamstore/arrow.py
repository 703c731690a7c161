"""Records as Arrow columns, with no Python object per record. The extra `arrow`; imported when asked for.

Data, keys and attributes are views into one buffer of frames, as the core verified them there: nothing is copied again.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from streamstore import limits, native
from streamstore.errors import KeyUnavailableError

SCHEMA = pa.schema(
    [
        pa.field("data", pa.binary_view(), nullable=False),
        pa.field("partition_key", pa.string_view()),
        pa.field("epoch", pa.uint64(), nullable=False),
        pa.field("position", pa.uint64(), nullable=False),
        pa.field("shard", pa.uint32(), nullable=False),
        pa.field("ordinal", pa.uint64(), nullable=False),
        pa.field("arrival", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("attributes", pa.binary_view()),
    ]
)


class OpenedRecords:
    """What Columns gives, of records that had to be decrypted one by one."""

    def __init__(self, log: native.Log, position: int, limit: int, size: int) -> None:
        self.records: list[native.Record] = []
        self.shard_index = log.shard_index
        self.next_position = position
        self.status, self.damage = 0, (0, 0)
        while not self.status and len(self.records) < limit and size > 0:
            wanted = min(limit - len(self.records), limits.READ_CHUNK_RECORDS)
            room = max(4 * limits.KIB, min(size, limits.READ_CHUNK_SIZE))  # what is left may be less than any frame
            try:
                found, after, *_, status, begin, end = log.read(self.next_position, 0, wanted, room)
            except KeyUnavailableError:
                if self.records:
                    break  # told by the next read
                raise
            if status and self.records and not found:
                break
            self.status, self.damage = status, (begin, end)
            self.records += found
            size -= after - self.next_position
            if after == self.next_position:
                break
            self.next_position = begin if status & 0xFF == native.CORRUPT else after

    @property
    def count(self) -> int:
        return len(self.records)


def read(log: native.Log, position: int, limit: int) -> native.Columns | OpenedRecords:
    """Up to `limit` records from `position`, decoded into Arrow's memory. Raises KeyUnavailableError."""
    state = log.state()
    count = max(1, state.record_count - state.start_record_count)
    # Room for as many records as were asked for, if they are as large as the average.
    wanted = limit * ((state.tail - state.start) // count + 64) + 64 * limits.KIB
    size = min(max(state.visible - position, 4 * limits.KIB), wanted, limits.ARROW_BUFFER_SIZE)
    columns = native.Columns(log, position, limit, size, pa.allocate_buffer)
    return OpenedRecords(log, position, limit, size) if columns.sealed else columns


def to_batch(columns: native.Columns | OpenedRecords) -> pa.RecordBatch:
    """The records of a stretch of a log as a RecordBatch of SCHEMA."""
    return _from_records(columns) if isinstance(columns, OpenedRecords) else _from_columns(columns)


def _from_records(opened: OpenedRecords) -> pa.RecordBatch:
    records = opened.records
    return pa.RecordBatch.from_arrays(
        [
            pa.array([record.data for record in records], pa.binary_view()),
            pa.array([record.partition_key for record in records], pa.string_view()),
            pa.array([record.epoch for record in records], pa.uint64()),
            pa.array([record.position for record in records], pa.uint64()),
            pa.repeat(pa.scalar(opened.shard_index, pa.uint32()), len(records)),
            pa.array([record.ordinal for record in records], pa.uint64()),
            pa.array([record.arrival_us for record in records], pa.int64()).cast(SCHEMA.field("arrival").type),
            pa.array([record.attribute_block or None for record in records], pa.binary_view()),
        ],
        schema=SCHEMA,
    )


def _from_columns(columns: native.Columns) -> pa.RecordBatch:
    count, buffers = columns.count, columns.buffers

    def numbers(name: str, kind: pa.DataType) -> pa.Array:
        return pa.Array.from_buffers(kind, count, [None, buffers[name]])

    def views(name: str, kind: pa.DataType, present: Any, present_count: int) -> pa.Array:
        if present_count == 0 and count:
            return pa.nulls(count, kind)
        validity = present if present_count < count else None
        return pa.Array.from_buffers(kind, count, [validity, buffers[name], columns.frames], count - present_count)

    return pa.RecordBatch.from_arrays(
        [
            views("data", pa.binary_view(), None, count),
            views("key", pa.string_view(), buffers["key_present"], columns.key_count),
            numbers("epoch", pa.uint64()),
            numbers("position", pa.uint64()),
            pa.repeat(pa.scalar(columns.shard_index, pa.uint32()), count),
            numbers("ordinal", pa.uint64()),
            numbers("arrival_us", SCHEMA.field("arrival").type),
            views("attributes", pa.binary_view(), buffers["attributes_present"], columns.attributes_count),
        ],
        schema=SCHEMA,
    )
