"""Readers: order, ends, positions, merging, following, closing."""

from __future__ import annotations

import json
import threading
import time

import pytest

import streamstore
from streamstore import errors


@pytest.fixture
def stream(store):
    return store.create_stream("s", 4, durability="process")


def fill(stream, count, begin=0):
    for turn in range(begin, begin + count):
        stream.put_record(b"%d" % turn, f"key-{turn}")


def numbers(records):
    return [int(record.data) for record in records]


def test_every_record_once_and_in_order_within_its_shard(stream):
    """A plain read gives all shards to the ends they had at the call."""
    fill(stream, 500)
    reader = stream.read()
    fill(stream, 100, 500)
    records = list(reader)
    assert sorted(numbers(records)) == list(range(500))
    for shard in stream.shards():
        own = [record.position for record in records if record.shard_id == shard.id]
        assert own == sorted(own)


def test_merge_gives_arrival_order(stream):
    """Across shards, ties by shard."""
    fill(stream, 2000)
    stream.put_records([(b"%d" % turn, f"key-{turn}") for turn in range(2000, 5000)])
    records = list(stream.read(merge=True))
    keys = [(record.arrival_us, record.shard_id, record.position) for record in records]
    assert keys == sorted(keys)
    assert sorted(numbers(records)) == list(range(5000))


def test_merge_needs_little_memory_for_many_chunks(stream, monkeypatch):
    """Chunks far smaller than a shard's content give the same order."""
    monkeypatch.setattr(streamstore.limits, "MERGE_BUFFER_SIZE", 4 * 4096)
    stream.put_records([(b"%d" % turn, f"key-{turn % 7}") for turn in range(3000)])
    fill(stream, 500, 3000)
    keys = [(record.arrival_us, record.shard_id, record.position) for record in stream.read(merge=True)]
    assert len(keys) == 3500
    assert keys == sorted(keys)


@pytest.mark.parametrize("merge", [False, True])
def test_a_position_at_any_point_goes_on_exactly_there(stream, merge):
    """Stop after any record, save the position as JSON, read on: nothing is lost and nothing comes twice."""
    fill(stream, 60)
    for stop in range(0, 61, 7):
        reader = stream.read(merge=merge)
        first = [next(reader) for _ in range(stop)]
        saved = json.loads(json.dumps(reader.position))
        reader.close()
        assert reader.position == saved
        rest = list(stream.read(saved, merge=merge))
        assert sorted(numbers(first + rest)) == list(range(60))
    end = stream.read(saved)
    list(end)
    assert list(stream.read(end.position)) == []
    fill(stream, 5, 60)
    assert sorted(numbers(stream.read(end.position))) == list(range(60, 65))


def test_batches_are_the_same_records(stream):
    """As lists, and the position follows."""
    stream.put_records([(b"%d" % turn, f"key-{turn}") for turn in range(5000)])
    reader = stream.read()
    seen = []
    for batch in reader.batches():
        assert batch
        seen += batch
        if len(seen) > 2000:
            break
    seen += stream.read(reader.position)
    assert sorted(numbers(seen)) == list(range(5000))


@pytest.mark.parametrize("merge", [False, True])
def test_records_one_by_one_and_then_in_batches(stream, merge):
    """What was left of a batch comes first, and the position stays right."""
    fill(stream, 60)
    reader = stream.read(merge=merge)
    seen = [next(reader) for _ in range(7)]
    batches = reader.batches()
    seen += next(batches)
    assert sorted(numbers(seen + list(stream.read(reader.position)))) == list(range(60))
    seen += [record for batch in batches for record in batch]
    assert sorted(numbers(seen)) == list(range(60))
    assert list(stream.read(reader.position)) == []


def test_an_iterator_can_be_left_and_taken_up(stream):
    """next() and for share one iteration."""
    fill(stream, 20)
    reader = stream.read()
    seen = [next(reader)]
    for record in reader:
        seen.append(record)
        if len(seen) == 10:
            break
    seen += reader
    assert sorted(numbers(seen)) == list(range(20))
    assert next(reader, None) is None


def test_latest_and_time_as_start_and_end(stream):
    """A window is what arrived in it."""
    fill(stream, 10)
    time.sleep(0.002)
    begin = time.time()
    fill(stream, 10, 10)
    time.sleep(0.002)
    end = time.time()
    latest = stream.read("LATEST", follow=True, timeout=0)
    fill(stream, 10, 20)
    assert sorted(numbers(stream.read(begin, end=end))) == list(range(10, 20))
    assert sorted(numbers(stream.read(end))) == list(range(20, 30))
    assert sorted(numbers(stream.read(end=begin, follow=True))) == list(range(10))
    assert sorted(numbers(latest)) == list(range(20, 30))
    middle = stream.read(end=begin)
    list(middle)
    assert sorted(numbers(stream.read(end=middle.position))) == list(range(10))
    assert list(stream.read("LATEST")) == []
    assert list(stream.read(end="TRIM_HORIZON")) == []


def test_following_until_a_time_to_come(stream):
    """An end in the future ends a reader that follows, by the records' own arrival."""
    fill(stream, 5)
    started = time.monotonic()
    with stream.read(follow=True, end=time.time() + 0.3) as reader:
        assert len(list(reader)) == 5
    assert time.monotonic() - started > 0.2


def test_a_timeout_ends_a_follower(stream):
    """After so many seconds without a record."""
    fill(stream, 3)
    started = time.monotonic()
    assert len(list(stream.read(follow=True, timeout=0.2))) == 3
    assert time.monotonic() - started >= 0.2


@pytest.mark.parametrize("shard_count", [1, 4])
@pytest.mark.parametrize("durability", ["process", "sync"])
def test_a_follower_sees_every_record_once(store, shard_count, durability):
    """While another thread writes, in order per key."""
    stream = store.create_stream("f", shard_count, durability=durability)
    count = 300

    def write():
        for turn in range(count):
            stream.put_record(b"%d" % turn, f"key-{turn % 5}")

    reader = stream.read(follow=True, timeout=20)
    thread = threading.Thread(target=write)
    thread.start()
    seen = []
    for record in reader:
        seen.append((record.partition_key, int(record.data)))
        if len(seen) == count:
            break
    thread.join()
    assert sorted(number for _, number in seen) == list(range(count))
    for key in {key for key, _ in seen}:
        own = [number for name, number in seen if name == key]
        assert own == sorted(own)


@pytest.mark.parametrize("shard_count", [1, 4])
def test_close_wakes_a_waiting_reader(store, shard_count):
    """From another thread, at once, and iteration just ends."""
    stream = store.create_stream("w", shard_count, durability="process")
    stream.put_record(b"1", "k")
    reader = stream.read(follow=True)
    seen = []
    thread = threading.Thread(target=lambda: seen.extend(reader))
    thread.start()
    while not seen:
        time.sleep(0.001)
    time.sleep(0.05)
    reader.close()
    thread.join(60)
    assert not thread.is_alive()
    assert len(seen) == 1
    assert sorted(numbers(stream.read(reader.position))) == []


@pytest.mark.parametrize("shard_count", [1, 4])
def test_closing_the_store_ends_a_waiting_reader(tmp_path, shard_count):
    """With ClosedError."""
    store = streamstore.open(tmp_path)
    reader = store.create_stream("w", shard_count).read(follow=True)
    caught = []

    def wait():
        try:
            list(reader)
        except errors.StreamStoreError as error:
            caught.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.05)
    store.close()
    thread.join(10)
    assert [type(error) for error in caught] == [errors.ClosedError]


def test_deleting_the_stream_ends_a_waiting_reader(tmp_path):
    """With StreamNotFoundError, also when another handle deleted it."""
    with streamstore.open(tmp_path) as one, streamstore.open(tmp_path) as two:
        one.create_stream("w")
        reader = two.stream("w").read(follow=True)
        deleter = threading.Timer(0.05, one.delete_stream, ["w"])
        deleter.start()
        with pytest.raises(errors.StreamNotFoundError):
            next(reader)
        deleter.join()  # the reader is told before the files are gone: the store must stay open until they are


def test_a_closed_reader_stops_in_the_middle_of_a_batch(stream):
    """No record comes after close, and the position is that of the last one that came."""
    fill(stream, 50)
    seen = []
    with stream.read() as reader:
        for record in reader:
            seen.append(record)
            if len(seen) == 5:
                reader.close()
    assert len(seen) == 5
    assert sorted(numbers(seen + list(stream.read(reader.position)))) == list(range(50))


def test_trimmed_positions_raise_or_skip(stream):
    """on_trimmed says which; a skip goes on with the oldest record there is."""
    fill(stream, 20)
    careful, easy, unread = (stream.read(on_trimmed=how, follow=True, timeout=0) for how in ("raise", "skip", "raise"))
    for reader in (careful, easy):
        assert len([next(reader) for _ in range(20)]) == 20
    fill(stream, 20, 20)
    stream.clear()
    fill(stream, 20, 40)
    with pytest.raises(errors.TrimmedError) as caught:
        list(careful)
    assert sorted(numbers(easy)) == list(range(40, 60))
    assert sorted(numbers(unread)) == list(range(40, 60))  # it began with the oldest there is, whatever that is now
    assert caught.value.shard_id.startswith("shardId-")
    assert len(list(stream.read(caught.value.next_position, on_trimmed="skip"))) == 20


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"start": "NEWEST"}, errors.InvalidArgumentError),
        ({"start": None}, errors.InvalidTypeError),
        ({"end": "later"}, errors.InvalidArgumentError),
        ({"timeout": -1}, errors.InvalidArgumentError),
        ({"timeout": "1"}, errors.InvalidTypeError),
        ({"on_trimmed": "ignore"}, errors.InvalidArgumentError),
    ],
)
def test_wrong_options_are_refused_at_the_call(stream, options, kind):
    """Not when the first record is asked for."""
    with pytest.raises(kind):
        stream.read(**options)


def test_a_position_of_another_stream_is_refused(store, stream):
    """Also when the other stream is in another store."""
    other = store.create_stream("other", 4)
    with pytest.raises(errors.InvalidArgumentError, match="another stream"):
        stream.read(other.read().position)
    with streamstore.temporary() as elsewhere:
        twin = elsewhere.create_stream("s", 4)
        with pytest.raises(errors.InvalidArgumentError, match="another stream"):
            stream.read(twin.read().position)


def test_many_shards(store):
    """A stream of a thousand shards with a record in each is read whole, merged or not."""
    stream = store.create_stream("wide", 1000, durability="process")
    width = (1 << 128) // 1000
    stream.put_records([(b"%d" % index, "k", index * width + 1) for index in range(1000)])
    assert sorted(numbers(stream.read())) == list(range(1000))
    assert len(list(stream.read(merge=True))) == 1000
    assert len(stream.last(10)) == 10
