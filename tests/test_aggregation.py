"""Aggregates: packed and taken apart, held against the format and against whoever wrote it down first."""

from __future__ import annotations

import base64
import hashlib
import pickle
import random

import pytest

import streamstore
from streamstore import aggregation, routing

WHOLE = [(0, (1 << 128) - 1)]
QUARTERS = [(part << 126, ((part + 1) << 126) - 1) for part in range(4)]


def entries(count, seed=1, hashes=0.2):
    """Some records of all sizes, with few and many keys, some of them with an explicit hash key."""
    chance = random.Random(seed)
    found = []
    for number in range(count):
        data = chance.randbytes(chance.choice((0, 1, 5, 100, 127, 128, 300)))
        key = chance.choice((f"key-{number}", f"k{number % 3}", "schlüssel", "長" * 20))
        if chance.random() < hashes:
            found.append((data, key, chance.choice((0, 7, (1 << 128) - 1, chance.getrandbits(128)))))
        else:
            found.append((data, key))
    return found


def taken(record):
    """A user record as the entry it was."""
    entry = (record.data, record.partition_key)
    return entry if record.explicit_hash_key is None else (*entry, record.explicit_hash_key)


def place_of(entry):
    """The hash key of an entry."""
    return entry[2] if len(entry) == 3 else routing.hash_key(entry[1])


def varint(number):
    """A number as protobuf writes it."""
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def field(number, content):
    """A field of a protobuf message: bytes, or a number."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def message(content):
    """An aggregate around any message."""
    return b"\xf3\x89\x9a\xc2" + content + hashlib.md5(content).digest()


def test_an_aggregate_is_the_kpls_byte_for_byte():
    """Magic number, tables of keys, records that point into them, and the MD5, as the format's description has it."""
    made = aggregation.aggregate([(b"one", "a"), (b"two", "b", 5), (b"three", "a")])
    body = (
        field(1, b"a") + field(1, b"b") + field(2, b"5")
        + field(3, field(1, 0) + field(3, b"one"))
        + field(3, field(1, 1) + field(2, 0) + field(3, b"two"))
        + field(3, field(1, 0) + field(3, b"three"))
    )  # fmt: skip
    assert made == [(message(body), "a", routing.hash_key("a"))]


def test_the_outer_hash_key_is_the_first_records():
    """The outer key is the letter a and says nothing; the explicit hash key is that of the first record, always."""
    assert aggregation.aggregate([(b"", "x"), (b"", "y")])[0][1:] == ("a", routing.hash_key("x"))
    assert aggregation.aggregate([(b"", "x", 17), (b"", "y")])[0][1:] == ("a", 17)


def test_one_record_alone_stays_as_it_is():
    """There is no aggregate of one: the record goes raw, with its own key and explicit hash key."""
    assert aggregation.aggregate([(b"one", "key")]) == [(b"one", "key", None)]
    assert aggregation.aggregate([(bytearray(b"one"), "key", 9)]) == [(b"one", "key", 9)]
    assert aggregation.aggregate([]) == []


@pytest.mark.parametrize("seed", range(20))
def test_what_went_in_comes_out_in_order(seed):
    """All records, with their keys and explicit hash keys, come out as they went in."""
    given = entries(500, seed)
    made = aggregation.aggregate(given, size_max=5_000)
    assert len(made) > 10
    assert [taken(user) for each in made for user in aggregation.deaggregate(each.data)] == given


def test_no_kinesis_record_is_over_the_limits():
    """Data and outer key fit size_max, and no more than count_max records go together; a longer one goes raw."""
    given = [*entries(300), (b"x" * 2_000, "long"), *entries(50)]
    for size_max in (64, 100, 1_000, 51_200):
        for made in aggregation.aggregate(given, size_max=size_max, count_max=7):
            users = aggregation.deaggregate(made.data)
            assert len(users) <= 7
            assert len(made.data) + len(made.partition_key) <= size_max or len(users) == 1


def test_with_hash_ranges_no_aggregate_mixes_shards():
    """Every aggregate holds records of one range alone, its own hash key lies there too, and order within is kept."""
    given = entries(1_000)
    made = aggregation.aggregate(given, reversed(QUARTERS), size_max=10_000)
    seen = []
    for each in made:
        users = [taken(user) for user in aggregation.deaggregate(each.data)]
        if users[0][1] is None:
            users = [each]
        owners = {place_of(user) >> 126 for user in users}
        assert owners == {(each.explicit_hash_key if each.explicit_hash_key is not None else place_of(each[:2])) >> 126}
        seen += users
    assert seen == [each for part in range(4) for each in given if place_of(each) >> 126 == part]
    assert len(aggregation.aggregate(given, QUARTERS)) == 4


def test_aggregates_are_entries_of_put_records(store):
    """What aggregate gives goes straight into put_records, and each aggregate lands in the shard that it is for."""
    stream = store.create_stream("s", shard_count=4)
    given = entries(400)
    stream.put_records(aggregation.aggregate(given, [shard.hash_range for shard in stream.shards()], size_max=9_000))
    for index, shard in enumerate(stream.shards()):
        records = [
            taken(user) for record in shard.read("TRIM_HORIZON") for user in aggregation.deaggregate(record.data)
        ]
        assert records == [each for each in given if place_of(each) >> 126 == index]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"plain",
        b"\xf3\x89\x9a\xc2",
        b"\xf3\x89\x9a\xc2" + bytes(17),
        message(b""),
        message(field(1, b"k")),
        message(b"\xff" * 30),
        message(field(1, b"k") + field(3, field(1, 1) + field(3, b"x"))),
        message(field(1, b"k") + field(3, field(1, 0) + field(2, 0) + field(3, b"x"))),
        message(field(1, b"k") + field(2, b"x") + field(3, field(1, 0) + field(2, 0) + field(3, b"x"))),
        message(field(1, b"k") + field(3, field(3, b"x"))),
        aggregation.aggregate([(b"1", "k"), (b"2", "k")])[0].data[:-1],
        aggregation.aggregate([(b"1", "k"), (b"2", "k")])[0].data + b"\n",
    ],
)
def test_what_is_no_aggregate_is_one_plain_record(data):
    """Damaged, foreign and half-made bytes come back whole, as one record without a key, and never as an exception."""
    for form in (data, bytearray(data), memoryview(data)):
        users = aggregation.deaggregate(form)
        assert [(user.data, user.partition_key, user.explicit_hash_key) for user in users] == [(data, None, None)]


def test_what_other_writers_may_do():
    """Tables behind the records, tags, unknown fields, unused keys and keys that are no UTF-8 are all legal."""
    record = field(3, field(1, 1) + field(3, b"x") + field(4, field(1, b"tag")))
    users = aggregation.deaggregate(message(record + field(1, b"unused") + field(1, b"\xff") + field(9, b"new")))
    assert [(user.data, user.partition_key) for user in users] == [(b"x", "\udcff")]


def test_a_user_record_is_a_value():
    """It compares, hashes and pickles by what it holds, and its view costs no copy."""
    made = aggregation.aggregate([(b"one", "k", 3), (b"two", "k")])[0]
    first, second = aggregation.deaggregate(made.data)
    assert first == aggregation.deaggregate(made.data)[0] != second
    assert len({first, second, aggregation.deaggregate(made.data)[0]}) == 2
    for each in (first, second, aggregation.deaggregate(b"plain")[0]):
        assert pickle.loads(pickle.dumps(each)) == each
    assert first.view.obj is not first.data
    assert bytes(first.view) == b"one"
    assert repr(first) == "<UserRecord key='k', 3 bytes>"
    with pytest.raises(AttributeError):
        first.data = b""


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: aggregation.aggregate([("text", "k")]), TypeError, "data must be bytes"),
        (lambda: aggregation.aggregate([(b"", None)]), ValueError, "entry 0: only records with a partition key"),
        (lambda: aggregation.aggregate([(b"", None, 5)]), ValueError, "entry 0: only records with a partition key"),
        (lambda: aggregation.aggregate([(b"", "k"), (b"", "")]), ValueError, "entry 1: partition_key is empty"),
        (lambda: aggregation.aggregate([(b"", "k", 1 << 128)]), ValueError, "explicit_hash_key"),
        (lambda: aggregation.aggregate([(b"", "k", 1, 2)]), ValueError, "has 4 items"),
        (lambda: aggregation.aggregate([5]), TypeError, "must be a tuple"),
        (lambda: aggregation.aggregate(5), TypeError, "sequence"),
        (lambda: aggregation.aggregate([], size_max=63), ValueError, "size_max is 64 to 10485760"),
        (lambda: aggregation.aggregate([], size_max=64.0), TypeError, "ints"),
        (lambda: aggregation.aggregate([], count_max=0), ValueError, "count_max"),
        (lambda: aggregation.aggregate([], [(0, 5), (7, 9)]), ValueError, "gap or overlap at 6"),
        (lambda: aggregation.aggregate([], QUARTERS[:3]), ValueError, "all open shards"),
        (lambda: aggregation.aggregate([], []), ValueError, "all open shards"),
        (lambda: aggregation.aggregate([], [5]), TypeError, "pairs of ints"),
        (lambda: aggregation.deaggregate("text"), TypeError, "bytes"),
        (lambda: aggregation.deaggregate_records([], rule="kcl"), ValueError, "'kcl'"),
    ],
)
def test_bad_arguments_are_told(call, error, text):
    """A wrong argument raises one of our errors, which is also the usual one, and says what is wrong."""
    with pytest.raises(error, match=text) as raised:
        call()
    assert isinstance(raised.value, streamstore.StreamStoreError)


def test_mutated_aggregates_never_raise(store):
    """Aggregates that were bitten into and given a right digest again, alone and read from a stream: every one comes
    apart or stays whole, within its own bytes.
    """
    chance = random.Random(11)
    stream = store.create_stream("s")
    made = aggregation.aggregate(entries(8, hashes=0.5))[0].data
    given = []
    for _ in range(2_000):
        body = bytearray(made[4:-16])
        for _ in range(chance.randrange(1, 5)):
            body[chance.randrange(len(body))] = chance.choice((chance.randrange(256), 0x0A, 0x12, 0x1A, 0x08, 0xFF))
        given.append(message(bytes(body[: chance.randrange(len(body)) if chance.random() < 0.1 else None])))
    stream.put_records([(each, "k") for each in given])
    taken_apart = [users for each in given if len(users := aggregation.deaggregate(each)) > 1]
    assert 100 < len(taken_apart) < 1_900
    for rule in ("all", "strict", "keep-in-range"):
        read = [(each.data, each.partition_key) for each in stream.read(deaggregate=rule) if each.user_record_count > 1]
        assert read == [(user.data, user.partition_key) for users in taken_apart for user in users]


def wire_record(data, number="1"):
    """A record as boto3's get_records gives it."""
    return {"SequenceNumber": number, "Data": data, "PartitionKey": "outer"}


def test_boto3_records_are_taken_apart():
    """Each user record has its Kinesis record's number, its own data and keys, and its place; others stay."""
    made = aggregation.aggregate([(b"one", "x", 5), (b"two", "y")])[0]
    assert list(aggregation.deaggregate_records([wire_record(b"raw"), wire_record(made.data, "2")])) == [
        wire_record(b"raw"),
        {"SequenceNumber": "2", "Data": b"one", "PartitionKey": "x", "ExplicitHashKey": "5", "SubSequenceNumber": 0},
        {"SequenceNumber": "2", "Data": b"two", "PartitionKey": "y", "SubSequenceNumber": 1},
    ]


def test_the_range_rule_of_boto3_records():
    """Of an aggregate with strays the strict rule drops all, as the KCL does, and the other one the strays alone."""
    mixed = wire_record(aggregation.aggregate([(b"low", "k", 1), (b"high", "k", 1 << 127), (b"edge", "k", 9)])[0].data)

    def kept(rule):
        return [each["Data"] for each in aggregation.deaggregate_records([mixed], (1, 9), rule)]

    assert kept("strict") == []
    assert kept("keep-in-range") == [b"low", b"edge"]
    assert kept("all") == [b"low", b"high", b"edge"]
    within = aggregation.deaggregate_records([mixed], (1, 9), "keep-in-range")
    assert [each["SubSequenceNumber"] for each in within] == [0, 2]


# What theirs wants to find in a record beside its data.
AROUND = {
    "kinesisSchemaVersion": "1.0", "partitionKey": "a", "sequenceNumber": "1", "approximateArrivalTimestamp": 1.0,
}  # fmt: skip


def test_10_000_random_cases_both_ways_with_aws_kinesis_agg():
    """Both make the same bytes of the same records, and each takes apart what the other made."""
    pytest.importorskip("aws_kinesis_agg")
    from aws_kinesis_agg import aggregator, deaggregator

    chance = random.Random(5)
    for case in range(10_000):
        given = [
            (chance.randbytes(chance.randrange(40)), f"key-{chance.randrange(6)}", chance.getrandbits(128))
            for _ in range(chance.randrange(2, 12))
        ]
        if case % 2:
            given = [entry[:2] for entry in given]
        theirs = aggregator.RecordAggregator()
        for entry in given:
            assert theirs.add_user_record(entry[1], entry[0], *map(str, entry[2:])) is None
        _, _, data = theirs.clear_and_get().get_contents()
        assert [taken(user) for user in aggregation.deaggregate(data)] == given
        made = aggregation.aggregate(given)[0]
        assert made == (data, "a", place_of(given[0]))
        event = {"kinesis": dict(AROUND, data=base64.b64encode(made.data))}
        found = deaggregator.iter_deaggregate_records([event])
        assert [(base64.b64decode(each["kinesis"]["data"]), each["kinesis"]["partitionKey"]) for each in found] == [
            entry[:2] for entry in given
        ]
