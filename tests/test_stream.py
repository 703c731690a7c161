"""A stream: routing, wrong input, the newest records, clearing, deletion seen from elsewhere."""

from __future__ import annotations

import pickle
from datetime import datetime, timezone

import pytest

import streamstore
from streamstore import errors, routing

NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001 - the point


@pytest.fixture
def stream(store):
    return store.create_stream("s", 4, durability="process")


def test_a_record_lands_in_the_shard_that_owns_its_key(stream):
    """One by one or batched, by key or by explicit hash key, as MD5 and the ranges say."""
    ranges = routing.uniform_ranges(4)
    entries = [(b"%d" % turn, f"key-{turn}") for turn in range(200)]
    for entry, result in zip(entries, stream.put_records(entries), strict=True):
        index = routing.route(ranges, routing.hash_key(entry[1]))
        assert result.shard_id == stream.put_record(*entry).shard_id == routing.shard_id(index)
    for index, (start, end) in enumerate(ranges):
        assert stream.put_record(b"", "k", explicit_hash_key=start).shard_id == routing.shard_id(index)
        assert stream.put_records([(b"", "k", end)])[0].shard_id == routing.shard_id(index)


def test_all_that_can_be_said_about_a_record_comes_back(stream):
    """Attributes, event time and explicit hash key, from put_record, a dict and a PutEntry."""
    when = datetime(2026, 5, 1, 12, tzinfo=timezone.utc)
    stream.put_record(b"a", "k", explicit_hash_key=5, attributes={"n": [1, None]}, event_time=when)
    stream.put_records(
        [
            {
                "data": b"b",
                "partition_key": "k",
                "explicit_hash_key": 5,
                "attributes": {"n": [1, None]},
                "event_time": when,
            },
            streamstore.PutEntry(b"c", "k", 5, {"n": [1, None]}, when.timestamp(), {"file": "x"}),
            (b"d", "k", 5),
        ]
    )
    records = list(stream.read())
    assert [record.data for record in records] == [b"a", b"b", b"c", b"d"]
    assert [record.attributes for record in records] == [{"n": [1, None]}] * 3 + [{}]
    assert [record.event_time for record in records] == [when] * 3 + [None]
    assert [record.source for record in records] == [None, None, {"file": "x"}, None]
    assert {record.explicit_hash_key for record in records} == {5}


@pytest.mark.parametrize(
    ("arguments", "options", "kind"),
    [
        (("str", "k"), {}, errors.InvalidTypeError),
        ((b"x", b"k"), {}, errors.InvalidTypeError),
        ((b"x", ""), {}, errors.InvalidArgumentError),
        ((b"x", "k" * 257), {}, errors.InvalidArgumentError),
        ((b"x",), {}, errors.InvalidArgumentError),
        ((bytes((1 << 20) + 1), "k"), {}, errors.RecordTooLargeError),
        ((b"x", "k"), {"explicit_hash_key": 1 << 128}, errors.InvalidArgumentError),
        ((b"x", "k"), {"explicit_hash_key": -1}, errors.InvalidArgumentError),
        ((b"x", "k"), {"explicit_hash_key": "1"}, errors.InvalidTypeError),
        ((b"x", "k"), {"attributes": {"a": "x" * 4096}}, errors.RecordTooLargeError),
        ((b"x", "k"), {"attributes": [1]}, errors.InvalidTypeError),
        ((b"x", "k"), {"event_time": NAIVE}, errors.InvalidArgumentError),
    ],
)
def test_wrong_input_is_refused_before_a_byte_moves(stream, arguments, options, kind):
    """Alone or in the middle of a batch: the specific error, and nothing is written."""
    with pytest.raises(kind):
        stream.put_record(*arguments, **options)
    names = ("data", "partition_key")
    bad = {**dict(zip(names, arguments, strict=False)), **options}
    with pytest.raises(kind):
        stream.put_records([(b"good", "k"), bad, (b"good", "k")])
    assert list(stream.read()) == []


@pytest.mark.parametrize("entries", ["abc", b"abc", 5, {"data": b"x"}, None])
def test_entries_are_a_sequence_of_entries(stream, entries):
    """A string, a single dict and a number are none."""
    with pytest.raises(errors.InvalidTypeError):
        stream.put_records(entries)


def test_entries_may_come_from_a_generator(stream):
    """Any iterable will do."""
    assert len(stream.put_records((b"%d" % turn, "k") for turn in range(5))) == 5
    assert len(stream.put_records([])) == 0


def test_a_stream_of_one_shard_needs_no_key(store):
    """There is only one place for a record."""
    stream = store.create_stream("one", durability="process")
    assert stream.put_record(b"x").shard_id == "shardId-000000000000"
    stream.put_records([(b"y", None)])
    assert [record.partition_key for record in stream.read()] == [None, None]


def test_the_limits_are_inclusive(store):
    """Exactly the limit passes."""
    stream = store.create_stream("one", durability="process", max_record_size=1000)
    stream.put_record(bytes(999), "k")
    stream.put_record(b"x", "ü" * 256)
    with pytest.raises(errors.RecordTooLargeError):
        stream.put_record(bytes(1000), "k")


def test_large_records(store):
    """A record may be larger than any buffer and any segment."""
    stream = store.create_stream("big", durability="process", max_record_size=1 << 30, segment_size=1 << 20)
    data = bytes(range(256)) * (20 << 12)
    result = stream.put_record(data, "k")
    stream.put_record(b"after", "k")
    assert [record.data for record in stream.read()] == [data, b"after"]
    assert stream.shard(result.shard_id).get(result.sequence_number).data == data


def test_the_newest_records(stream):
    """last(n) is the end of the stream in arrival order, across shards."""
    for turn in range(30):
        stream.put_record(b"%d" % turn, f"k{turn}")
    assert stream.last(7) == list(stream.read(merge=True))[-7:]
    assert len(stream.last(100)) == 30
    assert stream.last(0) == []
    with pytest.raises(errors.InvalidArgumentError):
        stream.last(-1)


def test_clear_removes_everything_and_numbers_go_on(stream):
    """After it only what was put since is there, also after a reopen, and every number is new."""
    before = [result.sequence_number for result in stream.put_records([(b"old", f"k{turn}") for turn in range(50)])]
    reader = stream.read(follow=True, timeout=0)
    assert len([next(reader) for _ in before]) == 50
    stream.put_records([(b"old", f"k{turn}") for turn in range(50)])
    stream.clear()
    assert list(stream.read()) == []
    assert stream.last(5) == []
    with pytest.raises(errors.TrimmedError):
        next(reader)
    after = stream.put_records([(b"new", f"k{turn}") for turn in range(50)])
    highest = {}
    for number in before:
        index = streamstore.native.parse_sequence_number(number)[2]
        highest[index] = max(highest.get(index, 0), int(number))
    for result in after:
        assert (
            int(result.sequence_number) > highest[streamstore.native.parse_sequence_number(result.sequence_number)[2]]
        )
    path = stream.attachment.path
    with streamstore.open(path) as again:
        assert {record.data for record in again.stream("s").read()} == {b"new"}
        assert sum(shard.record_count for shard in again.stream("s").shards()) == 50


def test_clear_survives_a_reopen(tmp_path):
    """The start positions are in the catalog."""
    with streamstore.open(tmp_path) as store:
        stream = store.create_stream("s", 3)
        stream.put_records([(b"old", f"k{turn}") for turn in range(20)])
        stream.clear()
    with streamstore.open(tmp_path) as store:
        assert list(store.stream("s").read()) == []
        store.stream("s").put_record(b"new", "k")
        assert [record.data for record in store.stream("s").read()] == [b"new"]


def test_a_deleted_stream_is_gone_for_whoever_has_it(tmp_path):
    """Every call on it, through any handle, says that it was deleted."""
    with streamstore.open(tmp_path) as one, streamstore.open(tmp_path) as two:
        mine, theirs = one.create_stream("s", 2, durability="process"), two.stream("s")
        theirs.put_record(b"x", "k")
        shard = theirs.shards()[0]
        reader = theirs.read(follow=True)
        one.delete_stream("s")
        calls = [
            lambda: mine.put_record(b"x", "k"),
            lambda: theirs.put_record(b"x", "k"),
            lambda: theirs.put_records([(b"x", "k"), (b"y", "q")]),
            lambda: theirs.put_records([{"data": b"x", "partition_key": "k"}, (b"y", "q")]),
            lambda: theirs.read(),
            lambda: theirs.last(1),
            lambda: theirs.clear(),
            lambda: theirs.shards(),
            lambda: shard.read(),
            lambda: shard.append([(b"x", "k")]),
            lambda: list(reader),
            lambda: two.stream("s"),
            lambda: one.delete_stream("s"),
        ]
        for call in calls:
            with pytest.raises(errors.StreamNotFoundError):
                call()
        assert not (tmp_path / "streams" / "1").exists()


def test_a_stream_made_again_is_another_one(tmp_path):
    """It is empty, an old handle does not become it, and its numbers are greater than all before."""
    with streamstore.open(tmp_path) as store:
        old = store.create_stream("s")
        last = old.put_record(b"old", "k")
        position = old.read().position
        store.delete_stream("s")
        new = store.create_stream("s")
        assert list(new.read()) == []
        assert int(new.put_record(b"new", "k").sequence_number) > int(last.sequence_number)
        with pytest.raises(errors.StreamNotFoundError):
            old.put_record(b"x", "k")
        with pytest.raises(errors.InvalidArgumentError, match="another stream"):
            new.read(position)
    with streamstore.open(tmp_path) as store:
        assert [record.data for record in store.stream("s").read()] == [b"new"]


@pytest.mark.parametrize("how", ["clear", "delete"])
def test_epochs_that_went_are_never_given_again(store, how):
    """The store's counter and the catalog both keep the highest, whatever the clock will say."""
    stream = store.create_stream("s", 2)
    stream.put_records([(b"x", f"k{turn}") for turn in range(9)])
    epoch = max(record.epoch for record in stream.read())
    store.attachment.raise_epoch(epoch - 1)
    stream.clear() if how == "clear" else store.delete_stream("s")
    assert store.attachment.epoch_counter() >= epoch
    assert store.catalog.refresh().epoch_floor >= epoch
    assert how == "clear" or store.create_stream("s").info.epoch_floor >= epoch


def test_a_stream_pickles_as_path_and_name(stream):
    """The copy is opened at first use and works on the same records."""
    copy = pickle.loads(pickle.dumps(stream))
    copy.put_record(b"from the copy", "k")
    assert [record.data for record in stream.read()] == [b"from the copy"]
    assert pickle.loads(pickle.dumps(copy))._home is copy._home


def test_shards_by_name(stream):
    """Only those there are."""
    assert [shard.id for shard in stream.shards()] == [routing.shard_id(index) for index in range(4)]
    assert stream.shard("shardId-000000000003").hash_range.end == (1 << 128) - 1
    for wrong in ("shardId-000000000004", "3", ""):
        with pytest.raises(errors.InvalidArgumentError):
            stream.shard(wrong)


@pytest.mark.parametrize("durability", ["sync", "interval", "process"])
def test_every_durability_stores(store, durability):
    """And a call may ask for more than its stream."""
    stream = store.create_stream(durability, 2, durability=durability)
    stream.put_record(b"a", "k")
    stream.put_record(b"b", "k", sync=True)
    stream.put_records([(b"c", "k")], sync=True)
    assert [record.data for record in stream.read()] == [b"a", b"b", b"c"]
    state = stream.log(0).state(), stream.log(1).state()
    assert all(each.durable == each.tail for each in state if each.record_count)
    assert stream.durability == durability


def test_a_read_only_stream_takes_nothing(tmp_path):
    """Writing raises ReadOnlyError, reading works."""
    with streamstore.open(tmp_path) as store:
        store.create_stream("s").put_record(b"x", "k")
    with streamstore.open(tmp_path, read_only=True) as store:
        stream = store.stream("s")
        assert [record.data for record in stream.read()] == [b"x"]
        for put in (
            lambda: stream.put_record(b"y", "k"),
            lambda: stream.put_records([(b"y", "k")]),
            lambda: stream.shards()[0].append([(b"y", "k")]),
        ):
            with pytest.raises(errors.ReadOnlyError):
                put()


def test_a_closed_store_says_so_everywhere(tmp_path):
    """Every call on every object of a closed store raises ClosedError."""
    store = streamstore.open(tmp_path)
    stream = store.create_stream("s")
    stream.put_record(b"x", "k")
    shard = stream.shards()[0]
    reader = stream.read(follow=True)
    store.close()
    for call in (
        lambda: stream.put_record(b"x", "k"),
        lambda: stream.put_records([(b"x", "k")]),
        lambda: stream.read(),
        lambda: stream.last(1),
        lambda: shard.read(),
        lambda: shard.tail,
        lambda: list(reader),
        store.list_streams,
        store.flush,
        lambda: store.create_stream("t"),
        lambda: store.stream("s"),
        stream.clear,
    ):
        with pytest.raises(errors.ClosedError):
            call()
