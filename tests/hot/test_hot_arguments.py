"""What Target of `_hot` refuses, and how it says so; over a core of memory."""

from __future__ import annotations

import pytest
from fake_core import ArgumentError, ArgumentTypeError, TooLargeError

REFUSED = [
    (("text", "k"), ArgumentTypeError, "data must be bytes, not str: encode it first"),
    ((None, "k"), ArgumentTypeError, "data must be bytes, bytearray or memoryview, not NoneType"),
    ((5, "k"), ArgumentTypeError, "not int"),
    (([1, 2], "k"), ArgumentTypeError, "not list"),
    ((b"x", b"k"), ArgumentTypeError, "partition_key must be str or None, not bytes"),
    ((b"x", 5), ArgumentTypeError, "partition_key must be str or None, not int"),
    ((b"x", ""), ArgumentError, "partition_key is empty: 1 to 256 characters"),
    ((b"x", "k" * 257), ArgumentError, "partition_key has 257 characters, over the limit of 256"),
    ((b"x", "a\ud800"), ArgumentError, "lone surrogate"),
    ((b"x", "k", -1), ArgumentError, r"explicit_hash_key must be 0 to 2\*\*128 - 1"),
    ((b"x", "k", 1 << 128), ArgumentError, r"explicit_hash_key must be 0 to 2\*\*128 - 1"),
    ((b"x", "k", -(1 << 200)), ArgumentError, "explicit_hash_key"),
    ((b"x", "k", 1 << 100_000), ArgumentError, "explicit_hash_key"),
    ((b"x", "k", "5"), ArgumentTypeError, "explicit_hash_key must be an int or None, not str"),
    ((b"x", "k", 5.0), ArgumentTypeError, "not float"),
    ((b"x", "k", None, "block"), ArgumentTypeError, "attribute_block must be bytes or None, not str"),
    ((b"x", "k", None, b"x" * 4097), TooLargeError, "attributes take 4097 bytes, over the limit of 4096"),
    (
        (b"x" * 90, "k" * 11),
        TooLargeError,
        r"record of 101 bytes \(data 90, partition key 11\) is over the limit of 100 bytes",
    ),
    ((b"x" * 101, None), TooLargeError, "record of 101 bytes"),
    ((bytearray(101), "k"), TooLargeError, r"data 101"),
    ((memoryview(bytearray(808)).cast("q"), "k"), TooLargeError, r"data 808"),
]


@pytest.mark.parametrize(("parts", "error", "message"), REFUSED)
def test_bad_parts_are_refused(log, put, parts, error, message):
    """A bad part raises its own error, which says the limit and what was given, and nothing is written."""
    with pytest.raises(error, match=message):
        put(*parts, record_size_max=100)
    assert log.count() == 0


def test_the_largest_record_fits(fake, log, put):
    """Data and key of exactly the limit are taken."""
    put(b"x" * 90, "k" * 10, record_size_max=100)
    assert fake.records(log)[0].size == 90


def test_a_released_view_is_refused(log, put):
    """A memoryview that was released is a bad argument."""
    view = memoryview(bytearray(5))
    view.release()
    with pytest.raises(ArgumentError, match="released"):
        put(view)


class Hostile:
    """An object whose every use raises."""

    def __index__(self):
        raise ZeroDivisionError

    def __bool__(self):
        raise ZeroDivisionError

    def __iter__(self):
        raise ZeroDivisionError


def test_errors_of_arguments_pass_through(fake, log):
    """What an argument itself raises comes out unchanged, and nothing is written."""
    target = fake.target(log)
    for call in (
        lambda: target.put_record(b"x", "k", Hostile()),
        lambda: target.put_record(b"x", "k", sync=Hostile()),
        lambda: target.put_records(Hostile()),
        lambda: target.put_records([], Hostile()),
    ):
        with pytest.raises(ZeroDivisionError):
            call()
    assert log.count() == 0


@pytest.mark.parametrize("entry", [b"xy", "xy", None, 5, {"data": b"x", "partition_key": "k"}, {b"x", "k"}])
def test_an_entry_is_a_tuple_or_a_list(fake, log, entry):
    """Other kinds of entries are named by their index."""
    with pytest.raises(ArgumentTypeError, match="entry 1: must be a tuple"):
        fake.target(log).put_records([(b"x", "k"), entry])
    assert log.count() == 0


@pytest.mark.parametrize("entry", [(), (b"x",), (b"x", "k", None, None), [], [b"x"]])
def test_an_entry_has_two_or_three_items(fake, log, entry):
    """Longer and shorter entries are named by their index."""
    with pytest.raises(ArgumentError, match=rf"entry 2: has {len(entry)} items"):
        fake.target(log).put_records([(b"x", "k"), (b"x", "k"), entry])


def test_the_index_of_the_bad_entry_is_named(fake):
    """All entries are checked before one is written, in whatever shard."""
    logs = [fake.log() for _ in range(3)]
    entries = [(b"x", f"k{i}") for i in range(400)]
    entries[317] = (b"x", "")
    with pytest.raises(ArgumentError, match="entry 317: partition_key is empty"):
        fake.target(*logs).put_records(entries)
    assert [log.count() for log in logs] == [0, 0, 0]


@pytest.mark.parametrize("entries", [5, None, object()])
def test_a_batch_is_a_sequence(fake, log, entries):
    """What cannot be iterated is a bad type, as entries and as attribute blocks."""
    with pytest.raises(ArgumentTypeError, match="a sequence is wanted"):
        fake.target(log).put_records(entries)
    if entries is not None:
        with pytest.raises(ArgumentTypeError, match="a sequence is wanted"):
            fake.target(log).put_records([], entries)


@pytest.mark.parametrize("blocks", [[], [None], [None] * 3])
def test_there_is_a_block_for_each_entry(fake, log, blocks):
    """More or fewer attribute blocks than entries are refused."""
    with pytest.raises(ArgumentError, match=f"attribute_blocks has {len(blocks)} items for 2 entries"):
        fake.target(log).put_records([(b"x", "k"), (b"y", "k")], blocks)


def test_a_record_without_any_key_needs_one_shard(fake):
    """With several shards something must place the record."""
    target = fake.target(fake.log(), fake.log())
    with pytest.raises(ArgumentError, match="partition_key is None: give explicit_hash_key to place the record"):
        target.put_record(b"x", None)
    with pytest.raises(ArgumentError, match="entry 0: partition_key is None"):
        target.put_records([(b"x", None)])
    assert target.put_record(b"x", None, 1 << 64).shard_id == "shard-1"


@pytest.mark.parametrize(
    "change",
    [{"logs": []}, {"logs": [8, 8]}, {"shard_ids": ["a", "b"]}, {"shard_indexes": []}, {"logs": [0]}, {"logs": [-1]}]
    + [
        {"logs": ["8"]},
        {"shard_ids": [5]},
        {"record_size_max": -1},
        {"record_size_max": 1 << 64},
        {"shard_indexes": [1 << 32]},
    ]
    + [
        {"ranges": -1},
        {"ranges": None},
        {"logs": 5},
        {"logs": [8, 8], "shard_ids": ["a", "b"], "shard_indexes": [1, 2]},
    ],
)
def test_a_target_checks_what_it_is_made_of(fake, change):
    """Lists of different lengths, numbers out of range and several logs without ranges are refused."""
    good = {
        "ranges": 0,
        "logs": [8],
        "shard_indexes": [0],
        "shard_ids": ["a"],
        "record_size_max": 9,
        "sync": False,
        "keepalive": None,
    }
    fake.hot.Target(**good)
    with pytest.raises((TypeError, ValueError)):
        fake.hot.Target(**{**good, **change})


def test_a_route_beyond_the_logs_is_refused(fake):
    """A routing table that does not fit the target is our mistake, and no crash."""
    target = fake.target(fake.log(), fake.log(), broken=True)
    for call in (lambda: target.put_record(b"x", "k"), lambda: target.put_records([(b"x", "k", 5), (b"x", "k")])):
        with pytest.raises(SystemError, match="does not have"):
            call()
