"""One shard: batches, single records, compare-and-append, facts."""

from __future__ import annotations

import json
import pickle
import time

import pytest

import streamstore
from streamstore import errors


@pytest.fixture
def stream(store):
    return store.create_stream("s", 2, durability="process")


@pytest.fixture
def shard(stream):
    return stream.shards()[0]


def test_a_batch_is_a_sequence_that_says_how_to_go_on(shard):
    """Reading on from next_position gives every record once, in order."""
    shard.append([(b"%d" % turn, "k") for turn in range(25)])
    seen, start = [], "TRIM_HORIZON"
    while batch := shard.read(start, limit=10):
        assert len(batch) <= 10
        assert batch[0] == next(iter(batch))
        assert batch[:2] == list(batch)[:2]
        seen += [record.data for record in batch]
        start = json.loads(json.dumps(batch.next_position))
    assert seen == [b"%d" % turn for turn in range(25)]
    assert (batch.millis_behind_latest, batch.end_of_shard, batch.child_shards) == (0, False, ())


def test_a_reader_that_is_behind_is_told_so(shard):
    """millis_behind_latest is the age of the newest record read while there is more."""
    shard.append([(b"old", "k")])
    time.sleep(0.02)
    shard.append([(b"new", "k")])
    assert shard.read(limit=1).millis_behind_latest >= 10
    assert shard.read(limit=2).millis_behind_latest == 0


def test_after_and_at_a_sequence_number(shard):
    """`at` begins with the record of that number, `after` with the next."""
    results = shard.append([(b"a", "k"), (b"b", "k"), (b"c", "k")])
    assert [record.data for record in shard.read(at=results[1].sequence_number)] == [b"b", b"c"]
    assert [record.data for record in shard.read(after=results[1].sequence_number)] == [b"c"]
    assert list(shard.read(after=results[2].sequence_number)) == []
    shard.append([(b"d", "k")])
    assert [record.data for record in shard.read(after=results[2].sequence_number)] == [b"d"]


def test_latest_and_time(shard):
    """LATEST begins behind what is there, a time at the first record that arrived then or later."""
    shard.append([(b"a", "k")])
    latest = shard.read("LATEST").next_position
    time.sleep(0.002)
    middle = time.time()
    shard.append([(b"b", "k")])
    assert [record.data for record in shard.read(middle)] == [b"b"]
    assert [record.data for record in shard.read(latest)] == [b"b"]
    assert [record.data for record in shard.read(shard.seek_time(0))] == [b"a", b"b"]


def test_get_finds_every_record_by_its_number(shard):
    """And nothing else."""
    results = shard.append([(b"%d" % turn * turn, f"k{turn}") for turn in range(50)])
    for turn, result in enumerate(results):
        record = shard.get(result.sequence_number)
        assert record.data == b"%d" % turn * turn
        assert record.sequence_number == result.sequence_number


def test_wrong_numbers_are_refused(stream, shard):
    """A number of another shard, of nobody, or no number at all."""
    result = stream.shards()[1].append([(b"x", "k")])[0]
    with pytest.raises(errors.InvalidArgumentError, match="belongs to shard index 1"):
        shard.get(result.sequence_number)
    shard.append([(b"x", "k")])
    missing = streamstore.native.sequence_number(5, 128, 0)
    with pytest.raises(errors.InvalidArgumentError, match="no record"):
        shard.get(missing)
    for wrong in ("", "abc", "1" * 56):
        with pytest.raises(errors.InvalidArgumentError):
            shard.read(after=wrong)
    with pytest.raises(errors.InvalidTypeError):
        shard.get(5)


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"limit": 0}, errors.InvalidArgumentError),
        ({"limit": 10_001}, errors.InvalidArgumentError),
        ({"limit": 1.5}, errors.InvalidTypeError),
        ({"start": "LATEST", "after": "5"}, errors.InvalidArgumentError),
        ({"start": "NOW"}, errors.InvalidArgumentError),
    ],
)
def test_wrong_reads_are_refused(shard, options, kind):
    """Limits are 1 to 10,000, and a read has one start."""
    with pytest.raises(kind):
        shard.read(**options)


def test_a_position_of_another_shard_or_stream_is_refused(store, stream, shard):
    """A position is where it was made, nowhere else."""
    other = stream.shards()[1]
    other.append([(b"x", "k")])
    with pytest.raises(errors.InvalidArgumentError, match="other shards"):
        shard.read(other.read().next_position)
    twin = store.create_stream("t", durability="process").shards()[0]
    with pytest.raises(errors.InvalidArgumentError, match="another stream"):
        shard.read(twin.tail)
    with pytest.raises(errors.InvalidArgumentError, match="another stream"):
        shard.append([(b"x", "k")], expected_tail=twin.tail)


def test_compare_and_append(shard):
    """Of two who decide from the same tail, one gets in."""
    tail = shard.tail
    shard.append([(b"mine", "k")], expected_tail=tail)
    with pytest.raises(errors.TailMismatchError):
        shard.append([(b"late", "k")], expected_tail=tail)
    shard.append([(b"then", "k")], expected_tail=json.loads(json.dumps(shard.tail)))
    assert [record.data for record in shard.read()] == [b"mine", b"then"]


def test_append_takes_what_put_records_takes_and_refuses_it_whole(shard):
    """Attributes and explicit hash keys are kept; one bad entry and nothing is written."""
    entry = streamstore.PutEntry(b"d", "k", 7, {"a": 1}, 12.5, {"from": "x"})
    shard.append([entry, {"data": b"e"}, (b"f",)])
    first, second, third = shard.read()
    assert (first.explicit_hash_key, first.attributes, first.event_us, first.source) == (
        7,
        {"a": 1},
        12_500_000,
        {"from": "x"},
    )
    assert (second.partition_key, second.attributes, third.data) == (None, {}, b"f")
    with pytest.raises(errors.InvalidTypeError, match="entry 1"):
        shard.append([(b"ok", "k"), ("str", "k")])
    with pytest.raises(errors.RecordTooLargeError, match="entry 0"):
        shard.append([(bytes((1 << 20) + 1),)])
    assert shard.record_count == 3
    assert shard.append([]) == []


def test_facts(stream, shard):
    """A shard knows what it owns, what it holds and that it is open."""
    results = shard.append([(b"a", "k"), (b"b", "k")])
    assert shard.id == "shardId-000000000000"
    assert shard.hash_range == (0, (1 << 127) - 1)
    assert stream.shards()[1].hash_range == (1 << 127, (1 << 128) - 1)
    assert (shard.parents, shard.is_closed, shard.record_count) == ((), False, 2)
    start, end = shard.sequence_range
    assert end is None
    assert int(start) < int(results[0].sequence_number)


def test_a_shard_pickles(shard):
    """A copy reads what the original wrote."""
    shard.append([(b"a", "k")])
    copy = pickle.loads(pickle.dumps(shard))
    assert [record.data for record in copy.read()] == [b"a"]
    copy.append([(b"b", "k")])
    assert shard.record_count == 2


def test_records_survive_their_store(tmp_path):
    """A record is valid after trim and close, and so is its view."""
    store = streamstore.open(tmp_path)
    stream = store.create_stream("s")
    stream.put_record(b"payload", "k", attributes={"a": 1})
    record = stream.shards()[0].read()[0]
    view = record.view
    stream.clear()
    store.close()
    assert (record.data, bytes(view), record.attributes) == (b"payload", b"payload", {"a": 1})
    assert pickle.loads(pickle.dumps(record)) == record


def test_reads_are_bounded_in_bytes(store):
    """A batch of large records stops near 10 MiB, and goes on where it stopped."""
    shard = store.create_stream("big", durability="process").shards()[0]
    for _ in range(30):
        shard.append([(bytes(1 << 20 >> 1), "k")])
    first = shard.read()
    assert 15 <= len(first) < 30
    assert len(first) + len(shard.read(first.next_position)) == 30


def test_damage_is_reported_with_its_range(tmp_path):
    """What is before the damage is delivered, the damage raises, and reading goes on behind it."""
    with streamstore.open(tmp_path) as store:
        shard = store.create_stream("s").shards()[0]
        results = shard.append([(b"record %d" % turn * 10, "k") for turn in range(9)])
        path = next((tmp_path / "streams" / "1" / "0").iterdir())
        base = shard.segments()[0].base
    raw = bytearray(path.read_bytes())
    place = raw.index(b"record 4" * 2)
    raw[place + 3] ^= 0xFF
    path.write_bytes(raw)
    with streamstore.open(tmp_path) as store:
        shard = store.stream("s").shards()[0]
        batch = shard.read()
        assert [record.data[:8] for record in batch] == [b"record %d" % turn for turn in range(4)]
        with pytest.raises(errors.CorruptRangeError) as caught:
            shard.read(batch.next_position)
        error = pickle.loads(pickle.dumps(caught.value))
        assert error.shard_id == shard.id
        assert error.first == results[4].sequence_number
        assert (error.begin, base <= error.begin) == (results[4].position, True)
        assert int(error.last) < int(results[5].sequence_number)
        assert [record.data[:8] for record in shard.read(error.next_position)] == [
            b"record %d" % turn for turn in range(5, 9)
        ]
        with pytest.raises(errors.CorruptRangeError):
            shard.get(results[4].sequence_number)
        damage, totals = shard.verify()
        assert [item["begin"] for item in damage] == [results[4].position]
        assert totals["records"] == 8
        reader = store.stream("s").read()
        got = []
        with pytest.raises(errors.CorruptRangeError) as caught:
            got.extend(reader)
        got += store.stream("s").read(caught.value.next_position)
        assert len(got) >= 4
