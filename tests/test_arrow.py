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


def test_a_large_record_behind_an_epoch_frame(tmp_path):
    """The frame before it takes no room from it, in any kind of read."""
    for turn in range(3):
        with streamstore.open(tmp_path) as store:
            stream = store.stream("s") if turn else store.create_stream("s", max_record_size=1 << 22)
            shard = stream.shards()[0]
            ((result,), _) = shard.append([(bytes(3 << 20), "k")]), shard.append([(bytes(1 << 20), "k")])
            assert shard.read_arrow(at=result.sequence_number, limit=1).num_rows == 1
            assert len(all_records(shard)) == 2 * (turn + 1)
            assert len(in_batches(shard, 1)) == 2 * (turn + 1)


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


def in_batches(shard, limit):
    """All rows of a shard, by batches of at most `limit`, each of them valid."""
    found, start = [], "TRIM_HORIZON"
    while (batch := shard.read_arrow(start, limit)).num_rows:
        batch.validate(full=True)
        assert batch.num_rows <= limit
        found += batch.to_pylist()
        start = json.loads(batch.schema.metadata[b"next_position"])
    return found


def all_records(shard):
    found, start = [], "TRIM_HORIZON"
    while batch := shard.read(start):
        found += batch
        start = batch.next_position
    return found


@pytest.mark.parametrize("limit", [1, 7, 8, 9, 127, 128, 129, 1000, 5000])
def test_every_limit_cuts_the_same_rows(shard, limit):
    """Whatever lies at the borders of batches, of what is copied at once, and of segments; attributes come late."""
    count = 150 if limit < 7 else 1500
    for turn in range(count):
        record = {"data": bytes([turn % 256]) * (turn * 37 % 300), "partition_key": f"{turn}" if turn % 11 else None}
        if turn > 100 and turn % 13 == 0:
            record["attributes"] = {"n": turn}
        shard.append([record])
        if turn in (count // 3, count // 2):
            shard._log().roll()
    expected = rows(all_records(shard))
    assert len(expected) == count
    assert in_batches(shard, limit) == expected


@pytest.mark.parametrize("limit", [1, 10, 100_000])
def test_large_records_among_small_ones(shard, limit):
    """Frames around and above the size of what is copied at once come whole and in order."""
    sizes = [0, 12, 13, 65_400, 65_488, 65_536, 65_600, 5, 131_072, 1 << 20, 3 << 20, 1, 300_000, 300_000, 300_000, 7]
    shard.append([(bytes([turn]) * size, "k") for turn, size in enumerate(sizes)])
    shard._log().roll()
    shard.append([(b"z" * size, None) for size in sizes])
    assert in_batches(shard, limit) == rows(all_records(shard))


def test_damage_in_the_middle(tmp_path):
    """What stands before it comes first; then it is told, and the read goes on behind it."""
    with streamstore.open(tmp_path) as store:
        stream = store.create_stream("s", durability="sync")
        results = stream.put_records([(b"%03d" % turn * 100, f"key-{turn}") for turn in range(1000)])
        hurt = results[500].position
        (path,) = tmp_path.glob("streams/*/0/*.seg")
        with path.open("r+b") as file:
            file.seek(4096 + hurt - 64 + 100)
            file.write(b"!")
        shard = stream.shards()[0]
        before = shard.read_arrow()
        before.validate(full=True)
        assert before.column("position").to_pylist() == [result.position for result in results[:500]]
        with pytest.raises(errors.CorruptRangeError) as caught:
            shard.read_arrow(json.loads(before.schema.metadata[b"next_position"]))
        assert (caught.value.begin, caught.value.end) == (hurt, results[501].position)
        after = shard.read_arrow(caught.value.next_position)
        after.validate(full=True)
        assert after.column("position").to_pylist() == [result.position for result in results[501:]]
        with pytest.raises(errors.CorruptRangeError):
            shard.get(results[500].sequence_number)


@pytest.mark.parametrize(("limit", "kind"), [(0, errors.InvalidArgumentError), ("5", errors.InvalidTypeError)])
def test_wrong_limits_are_refused(shard, limit, kind):
    """A limit is a positive int."""
    with pytest.raises(kind):
        shard.read_arrow(limit=limit)
