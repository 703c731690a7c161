"""Reading user records out of aggregates: by readers, consumers and the command line, and going on between them."""

from __future__ import annotations

import asyncio
import json
import pickle
import random

import command_line
import pytest

import streamstore
from streamstore import aggregation, errors


@pytest.fixture
def store(tmp_path):
    with streamstore.open(tmp_path / "s", durability="process") as made:
        yield made


def bundled(stream, entries, size_max=300):
    """Put entries as the shards' own aggregates."""
    ranges = [shard.hash_range for shard in stream.shards() if not shard.is_closed]
    stream.put_records(aggregation.aggregate(entries, ranges, size_max=size_max))


def numbered(count, first=0):
    """Entries that say where they stood."""
    return [(b"%d" % number, f"key-{number % 7}") for number in range(first, first + count)]


def data(records):
    """What the records hold."""
    return [record.data for record in records]


def test_a_read_gives_the_user_records(store):
    """Aggregates and plain records come in one order, each user record with its own key and its place."""
    stream = store.create_stream("s")
    bundled(stream, [(b"one", "x", 5), (b"two", "y")])
    stream.put_record(b"plain", "z")
    first, second, plain = stream.read(deaggregate=True)
    assert (first.data, first.partition_key, first.explicit_hash_key, first.sub_sequence_number) == (b"one", "x", 5, 0)
    assert (second.data, second.partition_key, second.explicit_hash_key) == (b"two", "y", None)
    assert (second.sub_sequence_number, second.user_record_count) == (1, 2)
    assert (plain.data, plain.sub_sequence_number, plain.user_record_count) == (b"plain", 0, 0)
    whole = next(iter(stream.read()))
    assert first.sequence_number == second.sequence_number == whole.sequence_number
    assert first.arrival_us == whole.arrival_us
    assert (whole.user_record_count, whole.partition_key) == (0, "a")
    assert bytes(second.view) == b"two"


def test_user_records_differ_and_pickle(store):
    """Two of one aggregate share a sequence number, and still neither compare nor hash as one."""
    stream = store.create_stream("s")
    bundled(stream, [(b"same", "k"), (b"same", "k")])
    first, second = stream.read(deaggregate=True)
    assert first != second
    assert len({first, second}) == 2
    for each in (first, second):
        again = pickle.loads(pickle.dumps(each))
        assert again == each
        assert (again.sub_sequence_number, again.user_record_count) == (each.sub_sequence_number, 2)


@pytest.mark.parametrize("merge", [False, True])
@pytest.mark.parametrize("shards", [1, 3])
def test_a_position_stands_between_user_records(store, shards, merge):
    """Wherever a reader is left, another goes on with the very next user record: none comes twice, none is left out."""
    stream = store.create_stream("s", shard_count=shards)
    bundled(stream, numbered(60))
    stream.put_record(b"plain", "p")
    bundled(stream, numbered(60, 60))
    whole = data(stream.read(deaggregate=True, merge=merge))
    assert sorted(whole) == sorted([b"%d" % number for number in range(120)] + [b"plain"])
    for cut in range(len(whole) + 1):
        with stream.read(deaggregate=True, merge=merge) as reader:
            begun = [next(reader).data for _ in range(cut)]
            position = json.loads(json.dumps(reader.position))
        rest = data(stream.read(position, deaggregate=True, merge=merge))
        assert sorted(begun + rest) == sorted(whole)
        if shards == 1:
            assert begun + rest == whole
        # Who knows no aggregates gets the one that was begun as a whole.
        raw = stream.read(position)
        assert {each for record in raw for each in data(aggregation.deaggregate(record.data))} >= set(rest)


def test_a_position_in_the_middle_of_nothing_is_refused_or_sought(store):
    """A position that was made up is no way to a wrong read."""
    stream = store.create_stream("s")
    bundled(stream, numbered(20))
    with stream.read(deaggregate=True) as reader:
        next(reader)
        position = reader.position
    shard_id, place = next(iter(position["shards"].items()))
    assert place[2] == 1
    for bad in ([*place[:2], -1], [*place, 1], [*place[:2], "1"]):
        with pytest.raises(errors.InvalidArgumentError):
            stream.read({**position, "shards": {shard_id: bad}})
    for shift in range(8, 200, 8):
        shifted = {**position, "shards": {shard_id: [place[0] + shift, *place[1:]]}}
        assert set(data(stream.read(shifted, deaggregate=True))) < set(data(stream.read(deaggregate=True)))
    beyond = {**position, "shards": {shard_id: [*place[:2], 1000]}}
    assert data(stream.read(beyond, deaggregate=True)) == data(
        [each for each in stream.read(deaggregate=True) if each.position != place[0]]
    )


def strays(stream):
    """Into shard 0 of two: two aggregates of its own, and between them one with a stray."""
    own, stray = 1, 1 << 127
    for entries in (
        [(b"a", "k", own), (b"b", "k", own)],
        [(b"c", "k", own), (b"STRAY", "k", stray), (b"d", "k", own)],
        [(b"e", "k", own), (b"f", "k", own)],
    ):
        stream.put_records(aggregation.aggregate(entries))


@pytest.mark.parametrize(
    ("rule", "expected", "left_out"),
    [
        (True, b"a b c STRAY d e f", 0),
        ("all", b"a b c STRAY d e f", 0),
        ("strict", b"a b e f", 3),
        ("keep-in-range", b"a b c d e f", 1),
    ],
)
def test_the_range_rule(store, rule, expected, left_out):
    """Of an aggregate with strays come all, none (as from the KCL), or the shard's own; what is left out is counted."""
    stream = store.create_stream("s", shard_count=2)
    strays(stream)
    with stream.read(deaggregate=rule) as reader:
        assert data(reader) == expected.split()
        assert reader.stray_count == left_out
    with stream.consumer("c", deaggregate=rule) as consumer:
        found = []
        while (record := consumer.next(0)) is not None:
            found.append(record.data)
        assert (found, consumer.stray_count) == (expected.split(), left_out)
    assert data(stream.last(3, deaggregate=rule)) == expected.split()[-3:]


def test_aggregates_that_are_left_out_end_nothing(store):
    """A read goes on behind any number of aggregates of which nothing is left, and its position too."""
    stream = store.create_stream("s", shard_count=2)
    mixed = aggregation.aggregate([(b"x" * 900, "k", 1), (b"y", "k", 1 << 127)])
    for _ in range(3):
        stream.put_records(mixed * 500)  # more than one read takes at once
    stream.put_record(b"last", "k", explicit_hash_key=1)
    with stream.read(deaggregate="strict") as reader:
        assert data(reader) == [b"last"]
        assert reader.stray_count == 3_000
        assert data(stream.read(reader.position, deaggregate=True)) == []
    stream.put_records(mixed)
    with stream.read(deaggregate="strict", follow=True, timeout=0.05) as reader:
        assert data(reader) == [b"last"]
        assert data(stream.read(reader.position)) == []
    with stream.consumer("c", deaggregate="strict") as consumer:
        assert consumer.next(0).data == b"last"


def test_a_consumer_commits_between_user_records(store):
    """A commit may stand in the middle of an aggregate; a shard that was split is done only with its last one."""
    stream = store.create_stream("s")
    bundled(stream, numbered(9), size_max=10_000)
    stream.split_shard("shardId-000000000000")
    bundled(stream, numbered(5, 9))
    seen = []
    while True:
        with stream.consumer("c", deaggregate=True) as consumer:
            record = consumer.next(0)
            if record is None:
                break
            seen.append(int(record.data))
            assert consumer.lag().records > 0
            consumer.commit()
    assert seen[:9] == list(range(9))
    assert sorted(seen[9:]) == list(range(9, 14))
    with stream.consumer("c") as consumer:
        assert consumer.lag().records == 0


def test_a_follower_and_an_async_reader_see_user_records(store):
    """What is put while they wait comes apart too."""
    stream = store.create_stream("s")
    with stream.read(follow=True, timeout=0.05, deaggregate=True) as reader:
        bundled(stream, numbered(5))
        assert data(reader) == [b"%d" % number for number in range(5)]

    async def follow():
        async with streamstore.aio.open(store.path) as twin:
            handle = await twin.stream("s")
            assert data(await handle.last(2, deaggregate=True)) == [b"3", b"4"]
            reader = handle.read(deaggregate="keep-in-range")
            return [record.data async for record in reader], reader.stray_count

    assert asyncio.run(follow()) == ([b"%d" % number for number in range(5)], 0)


def test_a_message_holds_the_user_records_of_its_aggregate(store):
    """A queue over a stream delivers an aggregate as one message, whose user records are acknowledged as one."""
    stream = store.create_stream("s", shard_count=2)
    strays(stream)
    stream.put_record(b"plain", "k", explicit_hash_key=1)
    queue = store.create_queue("q", stream="s", start="TRIM_HORIZON", codec="bytes")
    found = {True: [], "strict": [], "keep-in-range": [], False: []}
    for _ in range(4):
        with queue.get(timeout=5) as message:
            for rule, seen in found.items():
                seen += message.user_records(rule)
    assert data(found[True]) == b"a b c STRAY d e f plain".split()
    assert data(found["strict"]) == b"a b e f plain".split()
    assert data(found["keep-in-range"]) == b"a b c d e f plain".split()
    assert [each.partition_key for each in found[False]] == ["a", "a", "a", "k"]


def test_the_async_twin_of_a_message_holds_the_same(store):
    """What is in it is had without waiting."""
    bundled(store.queue("q", codec="bytes").stream, numbered(3))

    async def receive():
        async with streamstore.aio.open(store.path) as twin:
            async with await (await twin.queue("q")).get(timeout=5) as message:
                return message.user_records(), message.user_records(False), message.inner.record

    users, whole, record = asyncio.run(receive())
    assert data(users) == [b"0", b"1", b"2"]
    assert whole == [record]


def test_the_command_line_shows_user_records(store):
    """`read` and `tail` take aggregates apart with --deaggregate, by --range-rule."""
    stream = store.create_stream("s", shard_count=2)
    strays(stream)
    path = store.path
    assert command_line.run("read", path, "s", "--raw", "--deaggregate").out == b"a\nb\nc\nSTRAY\nd\ne\nf\n"
    assert command_line.run("read", path, "s", "--raw", "--range-rule", "strict").out == b"a\nb\ne\nf\n"
    assert command_line.run("tail", path, "s", "-n3", "--raw", "--range-rule", "keep-in-range").out == b"d\ne\nf\n"
    documents = command_line.run("read", path, "s", "--json", "--deaggregate").json_lines
    assert [each["sub_sequence_number"] for each in documents] == [0, 1, 0, 1, 2, 0, 1]
    assert command_line.run("read", path, "s", "--range-rule", "kcl").code == 2


@pytest.mark.parametrize("value", ["kcl", "", 1, None, b"strict"])
def test_another_rule_is_refused(store, value):
    """deaggregate is a bool or a rule; anything else is told before anything is read."""
    stream = store.create_stream("s")
    for call in (stream.read, lambda deaggregate: stream.last(1, deaggregate=deaggregate)):
        with pytest.raises((errors.InvalidArgumentError, errors.InvalidTypeError), match="deaggregate is"):
            call(deaggregate=value)


def test_records_of_an_encrypted_stream_come_apart(tmp_path):
    """What is sealed on disk is opened first."""
    pytest.importorskip("cryptography")
    ring = streamstore.CallableKeyRing(lambda plain, key: plain[::-1], lambda wrapped, key: wrapped[::-1], "k")
    with streamstore.open(tmp_path / "e", key_ring=ring) as store:
        stream = store.create_stream("s")
        stream.start_encryption()
        bundled(stream, numbered(30))
        assert data(stream.read(deaggregate=True)) == [b"%d" % number for number in range(30)]


def test_random_streams_read_the_same_both_ways(store):
    """Records of every kind, in random batches over splits: per key, user records come in the order of their puts."""
    chance = random.Random(3)
    stream = store.create_stream("s", shard_count=2)
    put = []
    for _ in range(40):
        entries = [(b"%d" % len(put), f"k{chance.randrange(9)}") for _ in range(chance.randrange(1, 30))]
        entries = [(b"%d" % (len(put) + place), entry[1]) for place, entry in enumerate(entries)]
        put += entries
        if chance.random() < 0.3:
            stream.put_records(entries)
        else:
            bundled(stream, entries, size_max=chance.choice((64, 200, 5_000)))
        if chance.random() < 0.1:
            stream.split_shard(next(shard.id for shard in stream.shards() if not shard.is_closed))
    for rule in (True, "strict", "keep-in-range"):
        found = [(record.data, record.partition_key) for record in stream.read(deaggregate=rule)]
        assert len(found) == len(put)
        for key in {key for _, key in put}:
            assert [entry for entry in found if entry[1] == key] == [entry for entry in put if entry[1] == key]
