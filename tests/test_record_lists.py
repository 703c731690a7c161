"""What C says of many records at once, against the same in Python: their order, their times, how much data they are."""

from __future__ import annotations

from array import array
from itertools import accumulate
from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from streamstore import attributes
from streamstore.native import Record, data_size, make_record, merge_records, record_times
from streamstore.replay import feed

ARRIVALS = st.lists(st.lists(st.integers(1, 40) | st.integers(1, 4), max_size=60), max_size=6)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats() | st.binary() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3) | st.integers(0, 3), inner),
    max_leaves=8,
)
NUMBERS = st.integers(-(1 << 40), (1 << 64) - 1) | ANY
BLOCKS = st.fixed_dictionaries(
    {},
    optional={
        "u": ANY,
        "t": NUMBERS,
        "s": ANY | st.fixed_dictionaries({"a": ANY}, optional={"arrival_us": NUMBERS, "z": ANY}),
        "long key": ANY,
    },
)


def record(shard: int, at: int, arrival_us: int, block: bytes = b"", data: bytes = b"") -> Record:
    """A record with just what matters here."""
    where = (f"shardId-{shard:012}", shard, 1, 8 * at, 8 * at + 8, at, arrival_us)
    return make_record(*where, data, None, attribute_block=block)


def shards_of(arrivals: list[list[int]]) -> list[list[Record]]:
    """A list of records for each list of arrivals, in their order."""
    return [[record(shard, at, us) for at, us in enumerate(run)] for shard, run in enumerate(map(sorted, arrivals))]


@given(ARRIVALS)
def test_a_merge_is_a_stable_sort_by_arrival(arrivals):
    """By arrival, ties in the order of the parts, each part in its own order; empty parts do no harm."""
    parts = shards_of(arrivals)
    expected = sorted((item for part in parts for item in part), key=lambda item: item.arrival_us)
    found, times, ends = merge_records(parts, [0] * len(parts), [False] * len(parts))
    assert (found, times, ends) == (expected, b"", [len(part) for part in parts])


@given(ARRIVALS, st.sampled_from([0, (1 << 63) - 20, (1 << 64) - 41]))
def test_with_times_these_decide(arrivals, first):
    """The same by times that are given, which come out merged too; the arrivals fall the other way here."""
    parts = [[record(shard, at, 100 - at) for at in range(len(run))] for shard, run in enumerate(arrivals)]
    times = [array("Q", [first + us for us in sorted(run)]) for run in arrivals]
    pairs = [pair for part in zip(parts, times, strict=True) for pair in zip(*part, strict=True)]
    pairs.sort(key=lambda pair: pair[1])
    packed = [each.tobytes() for each in times]
    records, found, _ = merge_records(parts, [0] * len(parts), [False] * len(parts), packed)
    assert records == [item for item, _ in pairs]
    assert found == array("Q", [us for _, us in pairs]).tobytes()


@given(ARRIVALS, st.data())
def test_a_merge_goes_no_further_than_the_end_of_a_part_that_grows(arrivals, data):
    """From wherever each begins: what lies behind such an end may have to come behind what is not known yet."""
    parts = shards_of(arrivals)
    begins = [data.draw(st.integers(0, len(part))) for part in parts]
    grows = [data.draw(st.booleans()) for _ in parts]
    rest = [part[begin:] for part, begin in zip(parts, begins, strict=True)]
    expected = sorted((item for part in rest for item in part), key=lambda item: item.arrival_us)
    lasts = [part[-1] if part else None for part, more in zip(rest, grows, strict=True) if more]
    expected = [] if None in lasts else expected[: min((expected.index(last) + 1 for last in lasts), default=None)]
    found, _, ends = merge_records(parts, begins, grows)
    assert found == expected
    taken = [part[begin:end] for part, begin, end in zip(parts, begins, ends, strict=True)]
    assert sorted((item for part in taken for item in part), key=lambda item: item.arrival_us) == expected


ONE = [record(0, 0, 1)]


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (([(1,)], [0], [False]), TypeError, "a part must be a list"),
        (((), [], []), TypeError, "parts must be a list"),
        (([], (), []), TypeError, "begins must be a list"),
        (([ONE], [0], [False], ()), TypeError, "times must be a list"),
        (([[1]], [0], [False]), TypeError, "a Record is wanted"),
        (([[*ONE, 1]], [0], [False]), TypeError, "a Record is wanted"),
        (([ONE], [], [False]), ValueError, "as many as parts"),
        (([ONE], [0], []), ValueError, "as many as parts"),
        (([ONE], [0], [False], []), ValueError, "as many as parts"),
        (([ONE], [2], [False]), ValueError, "begins"),
        (([ONE], [-1], [False]), ValueError, "begins"),
        (([ONE], ["0"], [False]), TypeError, "begins"),
        (([ONE], [0], [False], [b""]), ValueError, "8 bytes for each record"),
        (([ONE], [0], [False], [b"1234567"]), ValueError, "8 bytes for each record"),
        (([ONE], [0], [False], ["12345678"]), ValueError, "8 bytes for each record"),
    ],
)
def test_what_cannot_be_merged_is_refused(arguments, error, text):
    """Whatever comes in: an error that says what, and no crash."""
    with pytest.raises(error, match=text):
        merge_records(*arguments)


def rising(records: list[Record], by: str, latest: int) -> list[int]:
    """Their times as numbers."""
    return array("Q", feed.rising(records, by, latest)).tolist()


def time_in(block: dict[str, Any], by: str) -> int:
    """What a block says, as Python reads it; 0 for nothing that is a time."""
    source = block.get("s")
    found = block.get("t") if by == "event" else source.get("arrival_us") if isinstance(source, dict) else None
    return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else 0


@given(st.lists(BLOCKS, max_size=4), st.sampled_from(["event", "source"]), st.integers(0, 1 << 50))
@settings(suppress_health_check=[HealthCheck.too_slow])
@example([{"t": (1 << 64) - 1}, {}], "event", 0)
@example([{"t": 5}, {"t": -5}, {"t": 4}, {"t": 6}], "event", 0)
@example([{"s": {"arrival_us": 7, "x": {"arrival_us": 9}}}, {"s": [1]}, {"u": {"s": 1}}], "source", 6)
def test_times_are_those_that_the_blocks_say(blocks, by, latest):
    """Whatever else stands there; none before the one before it."""
    records = [record(0, at, 1, msgpack.packb(block) if block else b"") for at, block in enumerate(blocks)]
    expected = list(accumulate((time_in(block, by) for block in blocks), max, initial=latest))[1:]
    assert rising(records, by, latest) == expected


def test_numbers_of_every_width_are_read():
    """Also the signed forms that other writers may choose for a number above 0, and wide forms of small ones."""
    forms = [b"\x05", b"\xcc\x05", b"\xcd\0\x05", b"\xce\0\0\0\x05", b"\xcf" + bytes(7) + b"\x05"]
    forms += [b"\xd0\x05", b"\xd1\0\x05", b"\xd2\0\0\0\x05", b"\xd3" + bytes(7) + b"\x05"]
    for form in forms:
        for key in (b"\xa1t", b"\xd9\x01t", b"\xda\0\x01t", b"\xdb\0\0\0\x01t"):
            for head in (b"\x81", b"\xde\0\x01", b"\xdf\0\0\0\x01"):
                assert rising([record(0, 0, 1, head + key + form)], "event", 0) == [5]
    for form in (b"\xff", b"\xd0\xff", b"\xd1\xff\xff", b"\xd2" + b"\xff" * 4, b"\xd3" + b"\xff" * 8):
        assert rising([record(0, 0, 1, b"\x81\xa1t" + form)], "event", 3) == [3]


def test_of_equal_keys_the_first_one_counts():
    """What stands behind it is not looked at."""
    assert rising([record(0, 0, 1, b"\x83\xa1t\x05\xa1t\xc0\xa1t\x07")], "event", 0) == [5]
    assert rising([record(0, 0, 1, b"\x82\xa1t\xc0\xa1t\x05")], "event", 0) == [0]


@example(b"\xa0")
@example(b"\x90")
@given(st.binary(min_size=1, max_size=40) | st.builds(lambda tail: b"\x82\xa1t" + tail, st.binary(max_size=12)))
def test_hostile_blocks_give_a_time_or_an_error(block):
    """Of a sound block what it says; of any other the error of a look at it, or what stands before the fault."""
    item = record(0, 0, 1, block)
    try:
        said = msgpack.unpackb(block, strict_map_key=False, object_pairs_hook=tuple)
        if not isinstance(said, tuple):  # "" and [] hold as little as {}
            raise ValueError("no map")
        expected = [time_in(dict(reversed(said)), "event")]  # of equal keys the first one counts
    except Exception as error:
        try:
            assert rising([item], "event", 0) >= [0]
        except (type(error), ValueError):
            return
    else:
        assert rising([item], "event", 0) == expected


@pytest.mark.parametrize(
    "block",
    [
        b"\x81\xa1t",
        b"\x81\xa1t\xcf\0\0\0",
        b"\xdf\xff\xff\xff\xff\xa1t\x05",
        b"\x82\xa1x\xdd\xff\xff\xff\xff\xa1t\x05",
        b"\x82\xa1x\xdb\xff\xff\xff\xff\xa1t\x05",
        b"\x82\xa1x\xc6\xff\xff\xff\xff\xa1t\x05",
        b"\x82\xa1x\xc1\xa1t\x05",
        b"\x81\xa1x\xd1\0",
        b"\x82\xa1x\x92\x01",
        b"\xa1t",
        b"\x93\xa1t\x05\x05",
    ],
)
def test_what_is_cut_off_or_no_map_is_an_error(block):
    """As a look at the record's own time is."""
    for by in ("event", "source"):
        with pytest.raises(ValueError):
            rising([record(0, 0, 1, block)], by, 0)


def test_times_of_arrival_are_the_records_own():
    """And the bytes of data of all of them add up."""
    records = [record(0, at, us, b"", b"x" * at) for at, us in enumerate([3, 5, 5, 9])]
    assert rising(records, "arrival", 0) == [3, 5, 5, 9]
    assert data_size(records) == 6
    assert data_size([]) == 0
    assert rising([], "arrival", 0) == []
    block = attributes.encode(None, 1.5, {"arrival_us": 7})
    assert rising([record(0, 0, 3, block or b"")], "event", 0) == [1_500_000]
    assert rising([record(0, 0, 3, block or b"")], "source", 0) == [7]


@pytest.mark.parametrize(
    ("said", "time"),
    [
        (5, 5),
        (0, 0),
        (-1, 0),
        (-(1 << 63), 0),
        ((1 << 64) - 1, (1 << 64) - 1),
        (True, 0),
        (None, 0),
        ("5", 0),
        (5.0, 0),
    ],
)
def test_a_time_is_the_same_by_objects_and_without(said, time):
    """An extension in front of it is left to those who make objects; a float of either width says no time."""
    strange = msgpack.ExtType(5, b"abc")
    for key, by in (("t", "event"), ("s", "source")):
        value = said if key == "t" else {"arrival_us": said}
        for block in ({key: value}, {"x": strange, key: value}, {"x": [strange], key: value}):
            for narrow in (False, True):
                packed = msgpack.packb(block, use_single_float=narrow)
                assert rising([record(0, 0, 9, packed)], by, 0) == [time], block


@pytest.mark.parametrize("arguments", [((), 0, 0), ([], 3, 0), ([], 0, -1), ([1], 0, 0), ([None], 1, 0)])
def test_times_of_what_is_no_list_of_records_are_refused(arguments):
    """With an error, and no crash."""
    with pytest.raises((TypeError, ValueError)):
        record_times(*arguments)
    if arguments[0] != []:
        with pytest.raises(TypeError):
            data_size(arguments[0])
