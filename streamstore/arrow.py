"""Records as Arrow columns, with no Python object per record. The extra `arrow`; imported when asked for.

Data, keys and attributes are views into one buffer of frames, as the core verified them there: nothing is copied again.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from streamstore import limits, native

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


def read(log: native.Log, position: int, limit: int) -> native.Columns:
    """Up to `limit` records from `position`, decoded into Arrow's memory."""
    state = log.state()
    count = max(1, state.record_count - state.start_record_count)
    # Room for as many records as were asked for, if they are as large as the average.
    wanted = limit * ((state.tail - state.start) // count + 64) + 64 * limits.KIB
    size = min(max(state.visible - position, 4 * limits.KIB), wanted, limits.ARROW_BUFFER_SIZE)
    return native.Columns(log, position, limit, size, pa.allocate_buffer)


def to_batch(columns: native.Columns) -> pa.RecordBatch:
    """The records of a stretch of a log as a RecordBatch of SCHEMA."""
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
