"""Records as Arrow columns, with no Python object per record. The extra `arrow`; imported when asked for.

The core decodes a chunk into an array of structures; each column of numbers is a strided slice of it. Data, keys
and attributes are items with gaps between them in one buffer of frames: the offsets [begin, end, begin, end, ...]
make both into one array, of which every second item is taken.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from streamstore import native

SCHEMA = pa.schema(
    [
        pa.field("data", pa.binary(), nullable=False),
        pa.field("partition_key", pa.string()),
        pa.field("epoch", pa.uint64(), nullable=False),
        pa.field("position", pa.uint64(), nullable=False),
        pa.field("shard", pa.uint32(), nullable=False),
        pa.field("ordinal", pa.uint64(), nullable=False),
        pa.field("arrival", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("attributes", pa.binary()),
    ]
)


def to_batch(columns: native.Columns) -> pa.RecordBatch:
    """The records of one decoded chunk as a RecordBatch of SCHEMA."""
    count = columns.count
    if count == 0:
        return pa.RecordBatch.from_pylist([], schema=SCHEMA)
    frames = pa.py_buffer(columns.buffer)
    every_second = pa.array(range(0, 2 * count, 2), pa.int32()) if count < 64 else _every_second(count)
    shards = pa.repeat(pa.scalar(columns.shard_index, pa.uint32()), count)
    return pa.RecordBatch.from_arrays(
        [
            _items(columns, "data", frames, pa.binary(), every_second, nullable=False),
            _items(columns, "key", frames, pa.string(), every_second, nullable=True),
            _numbers(columns, "epoch"),
            _numbers(columns, "position"),
            shards,
            _numbers(columns, "ordinal"),
            _numbers(columns, "arrival_us").view(SCHEMA.field("arrival").type),
            _items(columns, "attributes", frames, pa.binary(), every_second, nullable=True),
        ],
        schema=SCHEMA,
    )


def _every_second(count: int) -> pa.Array:
    return pc.multiply(pa.arange(0, count) if hasattr(pa, "arange") else pa.array(range(count)), 2)


def _numbers(columns: native.Columns, name: str) -> pa.Array:
    return pa.Array.from_buffers(pa.uint64(), columns.count, [None, pa.py_buffer(columns.u64(name).tobytes())])


def _items(
    columns: native.Columns, name: str, frames: Any, kind: pa.DataType, every_second: pa.Array, *, nullable: bool
) -> pa.Array:
    count = columns.count
    sizes = pa.Array.from_buffers(pa.int32(), count, [None, pa.py_buffer(columns.u32(f"{name}_size").tobytes())])
    begins = pa.Array.from_buffers(pa.int32(), count, [None, pa.py_buffer(columns.u32(f"{name}_offset").tobytes())])
    absent = None
    if nullable:
        present = pc.greater(sizes, 0)  # a key is never empty, and neither is a block
        if not pc.any(present).as_py():
            return pa.nulls(count, kind)
        absent = None if pc.all(present).as_py() else present
        sizes = pc.max_element_wise(sizes, pa.scalar(0, pa.int32()))  # a plain 0 would widen to int64
    ends = pc.add(begins, sizes)
    offsets = bytearray(4 * (2 * count + 1))
    view = memoryview(offsets).cast("I")
    view[0 : 2 * count : 2] = memoryview(begins.buffers()[1]).cast("B").cast("I")[:count]
    view[1 : 2 * count : 2] = memoryview(ends.buffers()[1]).cast("B").cast("I")[:count]
    view[2 * count] = view[2 * count - 1]
    gapped = pa.Array.from_buffers(kind, 2 * count, [None, pa.py_buffer(offsets), frames])
    taken = gapped.take(every_second)
    return taken if absent is None else pc.if_else(absent, taken, pa.scalar(None, kind))
