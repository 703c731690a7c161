"""The values of `_hot`: sequence numbers, Record, PutResult and PutResults, over a core of memory."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from collections.abc import Sequence
from datetime import datetime, timezone

import fake_core
import msgpack
import pytest
from fake_core import EPOCH, FIRST, HEADER, Fake
from hypothesis import given
from hypothesis import strategies as st

EPOCHS = st.integers(0, (1 << 52) - 1)
POSITIONS = st.integers(0, (1 << 64) - 1)
SHARDS = st.integers(0, (1 << 32) - 1)
EDGES = [
    (0, 0, 0),
    ((1 << 52) - 1, (1 << 64) - 1, (1 << 32) - 1),
    (1, 1 << 63, 1),
    (1 << 51, 0, 1 << 31),
    (EPOCH, FIRST, 7),
]

HOT = fake_core.fresh_module()


@pytest.fixture
def record(fake):
    """A record with everything a record can have."""
    log = fake.log()
    block = msgpack.packb({"u": {"colour": "red"}, "t": EPOCH + 1, "s": {"stream": "x"}, "later": 5})
    fake.put(log, (b"first", "k"), (b"payload", "kéy", 1 << 127 | 5), attribute_blocks=[None, block])
    return fake.records(log)[1]


def number(epoch, position, shard):
    return 2 << 184 | epoch << 132 | position << 68 | shard << 4 | 2


# ---- Sequence numbers ----


@given(EPOCHS, POSITIONS, SHARDS)
def test_a_sequence_number_is_the_integer_of_its_layout(epoch, position, shard):
    """The digits are those of Python's own integer, and they are read back."""
    text = HOT.sequence_number(epoch, position, shard)
    assert text == str(number(epoch, position, shard))
    assert len(text) == 56
    assert HOT.parse_sequence_number(text) == (epoch, position, shard)


@pytest.mark.parametrize("parts", EDGES)
def test_a_sequence_number_holds_at_the_edges(parts):
    """The smallest and greatest parts go there and back."""
    text = HOT.sequence_number(*parts)
    assert text == str(number(*parts))
    assert HOT.parse_sequence_number(text) == parts


@given(st.integers(0, 10**57))
def test_any_integer_is_ours_or_refused(value):
    """A decimal number is accepted exactly if its fixed bits are ours and it is written without leading zeros."""
    ours = value >> 184 == 2 and value >> 36 & 0xFFFFFFFF == 0 and value & 15 == 2
    if ours:
        parts = (value >> 132 & (1 << 52) - 1, value >> 68 & (1 << 64) - 1, value >> 4 & (1 << 32) - 1)
        assert HOT.parse_sequence_number(str(value)) == parts
    else:
        with pytest.raises(ValueError, match="not a sequence number"):
            HOT.parse_sequence_number(str(value))


@pytest.mark.parametrize("bit", [0, 2, 3, 36, 67, 184, 185])
def test_a_wrong_fixed_bit_is_refused(bit):
    """Each of the fixed bits is looked at."""
    with pytest.raises(ValueError):
        HOT.parse_sequence_number(str(number(EPOCH, FIRST, 3) ^ 1 << bit))


@pytest.mark.parametrize(
    "text",
    ["", "0", "x" * 56, "-" + "4" * 55, " " * 56, "\0" * 56, "\ud800" * 56, "٤" * 56, "9" * 56, "9" * 100_000]
    + [
        str(number(EPOCH, FIRST, 3)) + "0",
        "0" + str(number(EPOCH, FIRST, 3)),
        str(number(EPOCH, FIRST, 3))[:-1] + "\n",
    ],
)
def test_what_is_no_sequence_number_is_refused(text):
    """Other digits, lengths and characters are a ValueError with a short message."""
    with pytest.raises(ValueError, match="not a sequence number") as caught:
        HOT.parse_sequence_number(text)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("value", [None, 5, b"4" * 56])
def test_a_sequence_number_is_a_str(value):
    """Other types are a TypeError."""
    with pytest.raises(TypeError):
        HOT.parse_sequence_number(value)


@pytest.mark.parametrize(
    "parts", [(1 << 52, 0, 0), (-1, 0, 0), (0, 1 << 64, 0), (0, -1, 0), (0, 0, 1 << 32), (0, 0, 1 << 999)]
)
def test_parts_beyond_their_bits_are_refused(parts):
    """No part spills into its neighbour."""
    with pytest.raises(ValueError, match="must be 0 to"):
        HOT.sequence_number(*parts)


# ---- Binding ----


def test_nothing_runs_before_bind():
    """An unbound module refuses to put and to read, instead of crashing."""
    hot = fake_core.fresh_module()
    target = hot.Target(0, [8], [0], ["s"], 100, False, None)
    for call in (
        lambda: target.put_record(b"", None),
        lambda: target.put_records([]),
        lambda: hot.read(8, 0, "s", 64, 0, 1, 1),
        lambda: hot.get(8, 0, "s", 64, 1),
    ):
        with pytest.raises(RuntimeError, match="bind"):
            call()


def test_a_core_of_another_build_is_refused(core):
    """Version and size of the table are checked before anything in it is used."""
    rest = (fake_core.raise_for, dict, dict, fake_core.partial_put, fake_core.ERRORS)
    for address in (0, core.fake_core_functions_of_another_build()):
        with pytest.raises(ImportError, match="different builds"):
            fake_core.fresh_module().bind(address, *rest)


@pytest.mark.parametrize("errors", [{}, {"argument": 5, "type": TypeError, "too_large": ValueError}])
def test_bind_wants_three_exception_classes(core, errors):
    """A missing class is found at import, not at the first bad argument."""
    with pytest.raises(TypeError, match="argument"):
        fake_core.fresh_module().bind(core.fake_core_functions(), print, dict, dict, print, errors)


def use_and_drop(core):
    """Make a module, drop it while a Record lives, drop that too; what the Record still said, and what the module was
    bound to.
    """

    def own(status, context):
        raise AssertionError

    made = Fake(core, raise_for=own)
    bound = weakref.ref(own)
    log = made.log()
    made.put(log, (b"x", "k"))
    (record,) = made.records(log)
    del made, own
    gc.collect()
    assert bound()
    return record.data, record.arrival_time, bound


def test_modules_and_their_types_are_collected(core):
    """A living Record keeps its module, and nothing else does."""
    data, arrival_time, bound = use_and_drop(core)
    assert (data, arrival_time) == (b"x", fake_core.make_time(EPOCH + 1))
    gc.collect()
    assert bound() is None


# ---- Record ----


def test_a_record_shows_what_was_put(record):
    """Every attribute of a record that has everything."""
    assert record.data == b"payload"
    assert record.size == 7
    assert record.partition_key == "kéy"
    assert record.explicit_hash_key == 1 << 127 | 5
    assert record.shard_id == "shard-0"
    assert record.position == FIRST + 56
    assert record.next_position - record.position == len(record.view.obj) - 56
    assert (record.epoch, record.ordinal) == (EPOCH, 2)
    assert record.sequence_number == str(number(EPOCH, FIRST + 56, 100))
    assert record.arrival_us == EPOCH + 2
    assert record.arrival_time == datetime(2023, 11, 14, 22, 13, 20, 2, tzinfo=timezone.utc)
    assert record.attributes == {"colour": "red"}
    assert record.event_us == EPOCH + 1
    assert record.event_time == fake_core.make_time(EPOCH + 1)
    assert record.source == {"stream": "x"}
    assert msgpack.unpackb(record.attribute_block)["later"] == 5


def test_what_a_record_lacks_is_none(fake):
    """A record without key and attributes says so, and its attributes are an empty dict."""
    log = fake.log()
    fake.put(log, (b"", None))
    (record,) = fake.records(log)
    assert (record.data, record.size, bytes(record.view)) == (b"", 0, b"")
    for name in ("partition_key", "explicit_hash_key", "event_us", "event_time", "source"):
        assert getattr(record, name) is None
    assert record.attributes == {}
    assert record.attribute_block == b""


def test_attributes_are_a_fresh_dict(record):
    """Changing what .attributes gave changes no record."""
    record.attributes["colour"] = "blue"
    assert record.attributes == {"colour": "red"}


@pytest.mark.parametrize("name", ["attributes", "event_us", "event_time", "source"])
@pytest.mark.parametrize("block", [msgpack.packb([1]), b"\xc1", b"\x81\xa1"])
def test_a_strange_attribute_block_is_an_error_and_no_crash(fake, name, block):
    """What cannot be decoded, or is no map, raises ValueError; data and the raw block are there all the same."""
    log = fake.log()
    fake.put(log, (b"x", "k"), attribute_blocks=[block])
    (record,) = fake.records(log)
    with pytest.raises(ValueError):
        getattr(record, name)
    assert (record.data, record.attribute_block) == (b"x", block)


def test_a_view_is_no_copy(fake):
    """Views of records read together share the bytes that were read, and outlive the record."""
    log = fake.log()
    fake.put(log, (b"one", "k"), (b"two", "k"))
    one, two = fake.records(log)
    view = one.view
    assert view.obj is two.view.obj
    assert view.readonly
    del one
    assert (bytes(view), two.view.tobytes()) == (b"one", b"two")


def test_a_record_is_immutable(record):
    """No attribute can be set, added or deleted, no subclass made, no weak reference, no empty Record."""
    for name in ("data", "shard_id", "position", "colour"):
        with pytest.raises(AttributeError):
            setattr(record, name, 1)
    with pytest.raises(AttributeError):
        del record.shard_id
    with pytest.raises(TypeError):
        type(record).colour = 1
    with pytest.raises(TypeError):
        type("Sub", (type(record),), {})
    with pytest.raises(TypeError):
        type(record)()
    assert not hasattr(record, "__dict__")
    assert not hasattr(record, "__weakref__")


def test_the_garbage_collector_need_not_look(fake, record):
    """Records and results refer to nothing that could refer back, so they cost the collector nothing."""
    results = fake.put(fake.log(), (b"x", "k"))
    assert [gc.is_tracked(item) for item in (record, results, results[0])] == [False] * 3


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_record_comes_back_from_pickle(fake, record, protocol):
    """A pickled record equals the one before, in every attribute."""
    back = pickle.loads(pickle.dumps(record, protocol))
    assert back == record
    assert hash(back) == hash(record)
    names = [name for name in dir(record) if not name.startswith("_") and name != "view"]
    assert {name: getattr(back, name) for name in names} == {name: getattr(record, name) for name in names}
    assert len(back.view.obj) < len(record.view.obj)  # it brought its own bytes only
    assert copy.copy(record) == copy.deepcopy(record) == record


BASE = {
    "shard_id": "s",
    "shard_index": 1,
    "epoch": 2,
    "position": 64,
    "next_position": 128,
    "ordinal": 1,
    "arrival_us": 3,
    "data": b"d",
    "partition_key": "k",
    "explicit_hash_key": 5,
    "attribute_block": b"\x80",
}


@pytest.mark.parametrize(
    "change",
    [{"shard_id": "t"}, {"shard_index": 2}, {"epoch": 3}, {"position": 72}, {"arrival_us": 4}, {"data": b"e"}]
    + [{"data": b"dd"}, {"partition_key": "l"}, {"partition_key": None}, {"explicit_hash_key": None}]
    + [{"explicit_hash_key": 5 + (1 << 64)}, {"explicit_hash_key": 6}, {"attribute_block": b""}],
)
def test_records_differ_in_any_part(change):
    """Equality looks at everything a record says of itself."""
    one, other = HOT.make_record(**BASE), HOT.make_record(**{**BASE, **change})
    assert one == HOT.make_record(**BASE)
    assert one != other
    assert (one == other) is False


def test_records_compare_only_with_records(record):
    """Another type is unequal, and there is no order."""
    assert record != 5
    assert record != record.data
    with pytest.raises(TypeError):
        _ = record < record
    assert len({record, pickle.loads(pickle.dumps(record))}) == 1


def test_the_repr_of_a_record_is_short(record):
    """It names shard, sequence number and key, and the size instead of the data."""
    assert repr(record) == f"<Record shard-0 {record.sequence_number} key='kéy', 7 bytes>"


@pytest.mark.parametrize(
    "change",
    [{"shard_id": 5}, {"data": "text"}, {"partition_key": b"k"}, {"attribute_block": None}, {"explicit_hash_key": "5"}]
    + [
        {"explicit_hash_key": -1},
        {"explicit_hash_key": 1 << 128},
        {"position": -1},
        {"next_position": 63},
        {"epoch": 1 << 52},
    ]
    + [
        {"next_position": 64 + (1 << 32)},
        {"shard_index": 1 << 32},
        {"ordinal": 1.5},
        {"colour": 1},
        {"partition_key": "\ud800"},
    ],
)
def test_make_record_checks_its_parts(change):
    """A part of the wrong type or size raises TypeError or ValueError."""
    with pytest.raises((TypeError, ValueError)):
        HOT.make_record(**{**BASE, **change})


def test_a_foreign_key_survives():
    """A partition key that is no UTF-8 is shown with surrogate escapes, as it was stored."""
    record = HOT.make_record(**{**BASE, "partition_key": "a\udcff"})
    assert record.partition_key == "a\udcff"
    assert record == HOT.make_record(*record.__reduce__()[1])


# ---- PutResult, PutResults ----


@pytest.fixture
def results(fake):
    log, other = fake.log(), fake.log()
    return fake.target(log, other).put_records([(b"x" * i, f"k{i}") for i in range(10)])


def test_a_result_says_where_the_record_went(fake):
    """Shard, sequence number, position, epoch and arrival are those of the record."""
    log = fake.log()
    result = fake.target(log).put_record(b"x", "k")
    (record,) = fake.records(log)
    for name in ("shard_id", "sequence_number", "position", "epoch", "arrival_us"):
        assert getattr(result, name) == getattr(record, name)
    assert repr(result) == f"PutResult(shard_id='shard-0', sequence_number='{record.sequence_number}')"


def test_a_result_is_a_value(fake, results):
    """Immutable, hashable, equal to its copy and to nothing else, and never made from nothing."""
    one, other = results[0], results[1]
    assert pickle.loads(pickle.dumps(one)) == one == results[0]
    assert one != other
    assert one != 5
    assert len({one, results[0], other}) == 2
    with pytest.raises(AttributeError):
        one.position = 5
    for kind in (type(one), type(results)):
        with pytest.raises(TypeError):
            kind()


@pytest.mark.parametrize("place", range(5))
def test_results_differ_in_any_part(place):
    """Shard, shard index, epoch, position and arrival all count."""
    parts = ["s", 1, 2, 3, 4]
    one = HOT.make_put_result(*parts)
    assert one == HOT.make_put_result(*parts)
    parts[place] = "t" if place == 0 else 9
    other = HOT.make_put_result(*parts)
    assert one != other
    assert HOT.make_put_results((one,)) != HOT.make_put_results((other,))
    assert HOT.make_put_results((one,)) == HOT.make_put_results((one,))


def test_results_are_a_sequence(results):
    """Length, index, slice, iteration, membership, search and reversal are those of a list."""
    items = list(results)
    assert isinstance(results, Sequence)
    assert len(results) == len(items) == 10
    assert results[3] == results[-7] == items[3]
    for cut in (slice(None), slice(2, 5), slice(None, None, -1), slice(8, 99, 2), slice(5, 2)):
        assert results[cut] == items[cut]
    assert list(reversed(results)) == items[::-1]
    assert items[4] in results
    assert 5 not in results
    assert (results.index(items[4]), results.count(items[4])) == (4, 1)
    assert repr(results) == "<PutResults of 10 records>"


@pytest.mark.parametrize("index", [10, -11, 1 << 70, -(1 << 70)])
def test_results_end_where_they_end(results, index):
    """An index beyond either end is an IndexError."""
    with pytest.raises(IndexError):
        results[index]


def test_results_refuse_other_indexes(results):
    """A str is no index, and a zero step no slice."""
    with pytest.raises(TypeError):
        results["0"]
    with pytest.raises(ValueError):
        results[::0]
    with pytest.raises(ValueError):
        results.index(5)


def test_results_come_back_from_pickle(fake, results):
    """Pickled results equal the ones before; a result more or less makes them unequal."""
    back = pickle.loads(pickle.dumps(results))
    assert back == results
    assert list(back) == list(results)
    assert fake.hot.make_put_results(tuple(results[1:])) != results
    assert fake.hot.make_put_results((*results[1:], results[0])) != results
    assert (results == list(results)) is False
    with pytest.raises(TypeError):
        hash(results)


@pytest.mark.parametrize("items", [[], (5,), None])
def test_make_put_results_wants_results(items):
    """Anything but a tuple of PutResult is a TypeError."""
    with pytest.raises(TypeError):
        HOT.make_put_results(items)


def test_the_frame_of_the_fake_is_as_these_tests_assume(fake):
    """A small record takes its header, key and data, padded to 8."""
    log = fake.log()
    assert fake.target(log).put_record(b"first", "k").position == FIRST
    assert fake.records(log)[0].next_position == FIRST + HEADER + 8
