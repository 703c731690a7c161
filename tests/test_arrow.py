"""Arrow export: every column says what the Records say."""

from __future__ import annotations

import json

import pytest

import streamstore
from streamstore import errors

pyarrow = pytest.importorskip("pyarrow")


@pytest.fixture
def shard(store):
    return store.create_stream("s", durability="process", max_record_size=1 << 22).shards()[0]


def rows(records):
    return [
        {
            "data": record.data,
            "partition_key": record.partition_key,
            "epoch": record.epoch,
            "position": record.position,
            "shard": 0,
            "ordinal": record.ordinal,
            "arrival": record.arrival_time,
            "attributes": record.attribute_block or None,
        }
        for record in records
    ]


@pytest.mark.parametrize("count", [1, 2, 63, 64, 500])
def test_columns_hold_what_records_hold(shard, count):
    """Data of any size, keys or none, attributes or none."""
    shard.append(
        [
            {
                "data": bytes([turn % 256]) * (turn * 7 % 50),
                "partition_key": None if turn % 5 == 4 else f"kéy-{turn}",
                "attributes": {"n": turn} if turn % 3 == 2 else None,
            }
            for turn in range(count)
        ]
    )
    batch = shard.read_arrow()
    batch.validate(full=True)
    assert batch.to_pylist() == rows(shard.read())


def test_an_empty_shard_is_an_empty_batch(shard):
    """With the same schema."""
    empty = shard.read_arrow()
    shard.append([(b"x", "k")])
    assert empty.num_rows == 0
    assert empty.schema.equals(shard.read_arrow().schema)


def test_reading_on_from_a_batch(shard):
    """The schema's metadata says where."""
    shard.append([(b"%d" % turn, "k") for turn in range(1000)])
    seen, start = [], "TRIM_HORIZON"
    while (batch := shard.read_arrow(start, 300)).num_rows:
        seen += batch.column("data").to_pylist()
        start = json.loads(batch.schema.metadata[b"next_position"])
    assert seen == [b"%d" % turn for turn in range(1000)]


def test_sequence_numbers_can_start_a_read(shard):
    """As for read()."""
    results = shard.append([(b"a", "k"), (b"b", "k"), (b"c", "k")])
    assert shard.read_arrow(after=results[0].sequence_number).column("data").to_pylist() == [b"b", b"c"]
    assert shard.read_arrow(at=results[2].sequence_number).column("data").to_pylist() == [b"c"]


def test_a_record_larger_than_any_buffer(shard):
    """Comes whole."""
    shard.append([(bytes(3 << 20), "k"), (b"x", "k")])
    assert [len(data) for data in shard.read_arrow(limit=1).column("data").to_pylist()] == [3 << 20]
    shard.append([(b"y", "k"), (bytes(100_000), "k"), (b"z", "k")])
    sizes, start = [], "TRIM_HORIZON"
    while (batch := shard.read_arrow(start)).num_rows:
        sizes += [len(data) for data in batch.column("data").to_pylist()]
        start = json.loads(batch.schema.metadata[b"next_position"])
    assert sizes == [3 << 20, 1, 1, 100_000, 1]


def test_a_batch_outlives_its_store(tmp_path):
    """Its memory is its own."""
    with streamstore.open(tmp_path) as store:
        stream = store.create_stream("s")
        stream.put_records([(b"%d" % turn * 20, f"a key longer than twelve bytes {turn}") for turn in range(100)])
        batch = stream.shards()[0].read_arrow()
        expected = rows(stream.read())
        stream.clear()
    batch.validate(full=True)
    assert batch.to_pylist() == expected


@pytest.mark.parametrize(("limit", "kind"), [(0, errors.InvalidArgumentError), ("5", errors.InvalidTypeError)])
def test_wrong_limits_are_refused(shard, limit, kind):
    """A limit is a positive int."""
    with pytest.raises(kind):
        shard.read_arrow(limit=limit)
