"""`_hot` where memory runs out: each allocation of a call fails in turn; the answer is MemoryError or the right one."""

from __future__ import annotations

import copy
import gc
import importlib.util
import operator
import sys
from functools import partial

import fake_core
import msgpack
import pytest
from fake_core import APPEND, APPEND_TRY, EPOCH, FIRST, POISONED

import streamstore  # noqa: F401 - it binds the module below
from streamstore import _hot
from streamstore._core import ffi

_testcapi = pytest.importorskip("_testcapi")

pytestmark = pytest.mark.skipif(
    sys.version_info >= (3, 13),
    reason="where memory runs out, CPython 3.13 itself crashes: in a dict that grows, in a lambda",
)

MISSES = 12  # so many calls in a row with nothing to fail: there are no more allocations


@pytest.fixture(scope="module", autouse=True)
def nothing_old():
    """What is there before these tests is none of the collector's business: it would look at it each time."""
    gc.freeze()
    yield
    gc.unfreeze()


def starved(call, check=lambda got: True):
    """Fail the first, the second, the third ... allocation of a call; returns how many failures were told.

    One that is not told must leave the call with its right answer.
    """
    told = quiet = first = 0
    while quiet < MISSES:
        error = got = None
        gc.collect()  # also empties the interpreter's lists of free objects, which would be used first
        _testcapi.set_nomemory(first, first + 1)
        try:
            got = call()
        except MemoryError as caught:
            error = caught
        finally:
            _testcapi.remove_mem_hooks()
        if error is None:
            assert check(got), f"allocation {first}: {got!r}"
        told, quiet, first = told + (error is not None), 0 if error else quiet + 1, first + 1
    return told


@pytest.fixture
def records(fake, log):
    """Records of every form, as they were read."""
    entries = [(b"", None), (b"a", "k"), (b"b" * 100, "ключ", 1 << 127), (b"c", "k" * 200, 0), (b"d" * 5000, "x")]
    blocks = [None, b"\x81\xa1a\x01", None, b"\x80", b"\x81\xa1b\xa1c"]
    fake.put(log, *entries, attribute_blocks=blocks)
    return fake.records(log)


REDUCE = operator.methodcaller("__reduce__")

ENTRIES = [
    (b"a", "k", None),
    [bytearray(b"b" * 100), "ключ", 1 << 127],
    (memoryview(b"c-c-c")[::2], "m"),
    (b"", "x", 5),
]


def test_one_record_is_put(fake, log):
    """With a key, a hash key, attributes; into one shard and into one of several."""
    one, many = fake.target(log), fake.target(log, fake.log(), fake.log())
    for target in (one, many):
        assert starved(lambda put=target.put_record: put(b"data", "ключ", 1 << 100, b"\x80").position, bool) > 0
        assert starved(lambda put=target.put_record: put(b"data", "k", None, None, True), bool) > 0
        assert starved(lambda put=target.try_put_record: put(b"data", "k")) > 0
    assert starved(lambda: one.put_record(bytearray(b"data"), "k")) > 0


def test_many_records_are_put(fake, log):
    """By tuples and lists, from a list and from an iterator, over one shard and over several."""
    one, many = fake.target(log), fake.target(log, fake.log(), fake.log())
    for target in (one, many):
        put = target.put_records
        assert starved(partial(put, ENTRIES * 3), lambda got: len(got) == 12) > 0
        assert starved(partial(put, ENTRIES, [None, b"\x80", None, None], True), lambda got: len(got) == 4) > 0
        assert starved(lambda put=put: put(iter(ENTRIES * 40)), lambda got: len(got) == 160) > 0


def test_records_are_read(fake, log, records):
    """Read, got one by one, and looked at from every side."""
    count = len(records)
    assert (
        starved(lambda: fake.hot.read(log.address, 1, "s", FIRST, 0, 100, 1 << 16)[0], lambda got: len(got) == count)
        > 0
    )
    get, take, said = fake.hot.get, fake.hot.take, fake.log()
    assert starved(lambda: get(log.address, 1, "s", FIRST, EPOCH), bool) > 0
    plain = next(record for record in records if not record.attribute_block)
    place = (log.address, 1, "s", said.address, 0, plain.position, FIRST)
    assert starved(lambda: take(*place, 1, 2, 3), lambda got: got[0].data == plain.data) > 0
    assert starved(lambda: fake.hot.visible(log.address), bool) >= 0
    names = [name for name in dir(type(records[0])) if not name.startswith("_")]
    for record in records:
        for name in names:
            right = getattr(record, name)
            starved(partial(getattr, record, name), lambda got, right=right: got == right)
        for say in (repr, hash, copy.copy, REDUCE):
            starved(partial(say, record), bool)
        starved(partial(operator.eq, record, records[0]))


def test_results_are_looked_at(fake, log):
    """One result, and all of a batch."""
    results = fake.target(log).put_records(ENTRIES)
    result = results[1]
    for say in (repr, hash, copy.copy, REDUCE, *map(operator.attrgetter, ("sequence_number", "arrival_us"))):
        starved(partial(say, result), bool)
    for say in (repr, list, copy.copy, REDUCE, len, operator.itemgetter(2), operator.itemgetter(slice(1, 3))):
        starved(partial(say, results), bool)
    assert starved(lambda: results.index(result), lambda got: got == 1) >= 0
    assert starved(lambda: results.count(result), lambda got: got == 1) >= 0
    assert starved(lambda: results == fake.hot.make_put_results(tuple(results)), bool) > 0
    assert starved(lambda: fake.hot.make_put_result("s", 1, EPOCH, FIRST, 5), bool) > 0


def test_numbers_are_said_and_read(fake):
    """A sequence number both ways."""
    number = fake.hot.sequence_number(EPOCH, FIRST, 7)
    assert starved(lambda: fake.hot.sequence_number(EPOCH, FIRST, 7), lambda got: got == number) > 0
    assert starved(lambda: fake.hot.parse_sequence_number(number), lambda got: got == (EPOCH, FIRST, 7)) > 0

    def parse():
        try:
            return fake.hot.parse_sequence_number(chr(0x30C) * 56)  # a new one each time, without its UTF-8
        except fake_core.ArgumentError:
            return None

    assert starved(parse, lambda got: got is None) > 0


def test_records_are_made(fake):
    """A Record and a user record out of their parts."""
    make = partial(fake.hot.make_record, "s", 1, EPOCH, FIRST, FIRST + 64, 1, 5)
    assert starved(lambda: make(b"data", "ключ", 1 << 127, b"\x80", 3, 4), bool) > 0
    assert starved(lambda: make(b"data", None), bool) > 0

    class Name(str):
        __slots__ = ()

    name = Name("a shard's name that has to be copied")
    elsewhere = partial(fake.hot.make_record, name, 1, EPOCH, FIRST, FIRST + 64, 1, 5, b"data", "k")
    assert starved(elsewhere, lambda got: got.shard_id == name) > 0
    assert starved(lambda: fake.hot.make_user_record(b"data", "ключ", 1 << 127), bool) > 0
    user = fake.hot.make_user_record(b"data", "ключ", 1 << 127)
    for say in (repr, hash, copy.copy, REDUCE, *map(operator.attrgetter, ("data", "partition_key", "view"))):
        starved(partial(say, user), bool)
    again = fake.hot.make_user_record(b"data", "ключ", 1 << 127)
    assert starved(lambda: user == again, bool) > 0


def test_user_records_go_in_and_out():
    """Aggregates made of user records, and user records out of aggregates."""
    users = [(b"user %d" % n, f"ключ{n % 3}", None if n % 4 else 1 << n) for n in range(30)]
    aggregate = partial(_hot.aggregate, users, 0, 0, 50_000, 1000, 1 << 20)
    assert starved(aggregate, bool) > 0
    packed = aggregate()[0][0]
    assert starved(lambda: _hot.deaggregate(packed), lambda got: len(got) == 30) > 0
    many = [(b"%d" % n, "k", None) for n in range(800)]  # more than is decoded on the stack
    large = _hot.aggregate(many, 0, 0, 50_000, 1000, 1 << 20)[0][0]
    assert starved(lambda: _hot.deaggregate(large), lambda got: len(got) == 800) > 0
    assert starved(lambda: _hot.deaggregate(b"no aggregate"), lambda got: len(got) == 1) > 0
    changing = bytearray(packed)
    assert starved(lambda: _hot.deaggregate(changing), lambda got: len(got) == 30) > 0
    whole = [_hot.make_record("s", 1, EPOCH, FIRST, FIRST + 64, 1, 5, large, "a")]
    taken_apart = partial(_hot.deaggregate_records, whole, 0, 0, (1 << 128) - 1)
    assert starved(taken_apart, lambda got: len(got[0]) == 800) > 0
    one = [(bytearray(b"alone"), "k", 1 << 100)]
    assert starved(lambda: _hot.aggregate(one, 0, 0, 50_000, 1000, 1 << 20), lambda got: got[0][0] == b"alone") > 0
    starved(lambda: _hot.aggregate(iter(users[:2]), 0, 0, 50_000, 1000, 1 << 20), lambda got: len(got) == 1)
    record = _hot.make_record("s", 1, EPOCH, FIRST, FIRST + 64, 1, 5, packed, "a")
    for rule in (0, 1, 2):
        take = partial(_hot.deaggregate_records, [record], rule, 0, (1 << 128) - 1)
        starved(take, lambda got: len(got[0]) in (0, 1, 30))


def test_records_are_merged():
    """Lists of records by their times, in order and out of it, with what can be a time and what cannot."""
    make = partial(_hot.make_record, "s", 1, EPOCH)
    records = [make(FIRST + 64 * n, FIRST + 64 * n + 64, n + 1, 5 + n, b"data", "k") for n in range(5)]
    size = _hot.data_size(records)
    starved(lambda: _hot.data_size(records), lambda got: got == size)
    starved(lambda: _hot.record_times(records, 0, 0), bool)
    times = [_hot.record_times(records, 0, 0)] * 2
    merged = _hot.merge_records([records, records[2:]], [0, 1], [True, False], [times[0], times[0][16:]])
    assert len(merged[0]) > 0
    right = _hot.merge_records([records, records], [0, 0], [False, False])
    starved(lambda: _hot.merge_records([records, records], [0, 0], [False, False]), lambda got: got == right)
    many = [make(FIRST + 64 * n, FIRST + 64 * n + 64, n + 1, 5 + n, b"", "k") for n in range(1100)]
    timed = partial(_hot.merge_records, [many, []], [0, 0], [False, False], [_hot.record_times(many, 0, 0), b""])
    right = timed()  # the times outgrow their first room, and an end is a number that is not there yet
    assert starved(timed, lambda got: got == right) > 3


def test_times_out_of_attributes():
    """Event time and the source's time, said by numbers and by what is none; also where there is no room to look."""
    make = partial(_hot.make_record, "s", 1, EPOCH)
    values = (
        5,
        -5,
        True,
        1.5,
        "x",
        None,
        (1 << 64) - 1,
        [1],
        {"arrival_us": 7},
        {"arrival_us": -1},
        {"arrival_us": "x"},
    )
    blocks = [msgpack.packb({key: value}) for key in "ts" for value in values]
    blocks += [msgpack.packb({1: 2, "t": 9, "s": {"arrival_us": 9, 2: 3}}), msgpack.packb({"t": 1, "x": {"t": 2}})]
    blocks += [b"\x82\xa1t\x01\xa1t\x02", msgpack.packb({"e": msgpack.ExtType(5, b"abc"), "t": 3})]
    for n, block in enumerate(blocks):
        record = make(FIRST + 64 * n, FIRST + 64 * n + 64, n + 1, 5 + n, b"data", "k", None, block)
        for by in (0, 1, 2):
            right = outcome(lambda record=record, by=by: _hot.record_times([record], by, 3))
            assert right is None or len(right) == 8
            starved(
                lambda record=record, by=by: outcome(lambda: _hot.record_times([record], by, 3)),
                lambda got, right=right: got == right,
            )


def outcome(call):
    """What a call gives; None where it raises anything but MemoryError."""
    try:
        return call()
    except MemoryError:
        raise
    except Exception:
        return None


def test_a_producers_intake():
    """User records wait for their sender."""

    class Future(_hot.UserPut):
        pass

    intake = _hot.Intake(Future, None, lambda: None, 1 << 30, 1 << 30, 1 << 40, 1 << 20)
    assert starved(lambda: intake.put(b"data", "k"), bool) > 0
    assert starved(lambda: intake.put_checked(b"data", "k", 1 << 100), bool) > 0
    assert intake.put(b"data", "k", 1 << 100) is None  # not plain: its checks are Python's
    starved(lambda: intake.take(1), lambda got: isinstance(got, list))
    puts = [intake.put(b"data", "k") for _ in range(3)]
    starved(lambda: _hot.settle(puts, "done"))
    puts[1]._callbacks = [print]
    assert starved(lambda: _hot.settle(puts, "done"), lambda got: got == (0, 0, [puts[1]])) > 1
    assert {put._outcome for put in puts} == {"done"}
    made = partial(_hot.Intake, Future, None, lambda: None, 1 << 30, 1 << 30, 1 << 40, 1 << 20)
    assert starved(made, lambda got: got.entries == []) > 1


def test_a_record_is_taken_and_said(fake, log):
    """What fails before the event is said leaves none; only the answer itself may fail behind it."""
    said, place = fake.log(), fake.put(log, (b"data", "k"))[0].position
    fake.put(said, (bytes(500), None))  # its end is no number that is there already
    take = partial(fake.hot.take, log.address, 1, "s", said.address, 0, place, FIRST, 1, 2, 3)
    for first in range(2):  # the chunk, then the Record
        told = None
        _testcapi.set_nomemory(first, first + 1)
        try:
            take()
        except MemoryError as error:
            told = error
        finally:
            _testcapi.remove_mem_hooks()
        assert told is not None
        assert said.count() == 1
    assert starved(take, lambda got: got[0].data == b"data") > 2
    assert said.count() > 3


def test_encrypted_records_are_looked_into(fake, log):
    """Their parts, and the records that they are in plain."""
    fake.put(log, (bytes(range(64)), "k", 1 << 100))
    log.seal()
    (record,) = fake.records(log)
    parts = fake.hot.sealed_parts(record, 1)
    assert starved(lambda: fake.hot.sealed_parts(record, 1), lambda got: got == parts) > 3
    opened = partial(fake.hot.open_record, record, b"k" + bytes(64))
    assert starved(opened, lambda got: got.data == bytes(64)) > 0


def test_failures_are_told(fake, log):
    """A batch of which one part failed, and a put that failed: by what is bound, or as a lack of memory."""
    whole, broken = fake.log(), fake.log()
    for call in (APPEND_TRY, APPEND):
        broken.script(call, POISONED, 1 << 30)
    fails, fails_in_part = divmod, [].index  # both raise, and are no functions of Python, whose calls take memory
    fake.hot.bind(fake.core.fake_core_functions(), fails, len, len, fails_in_part, fake_core.ERRORS)
    target, alone = fake.target(whole, broken), fake.target(broken)
    entries = [(b"x", f"key {n}") for n in range(8)]

    def partly():
        try:
            return target.put_records(entries)
        except ValueError as error:
            return str(error)

    def at_all():
        try:
            return alone.put_record(b"x", "k")
        except TypeError as error:
            return str(error)

    def of_no_type():
        try:
            return alone.put_record(5.5, "k")
        except fake_core.ArgumentTypeError as error:
            return str(error)

    assert starved(of_no_type, lambda got: got == "data must be bytes, bytearray or memoryview, not float") > 2
    # "": where the message itself was what failed
    assert starved(partly, lambda got: not got or ("PutResult" in got and f" {POISONED}," in got)) > 3
    assert starved(at_all, lambda got: "'int' and 'str'" in got) > 0


def test_a_chunk_grows_to_a_long_record(fake, log):
    """Where the buffer that was asked for is too small."""
    fake.put(log, (bytes(5000), "k"))
    read = partial(fake.read, log, buffer_size=100)
    assert starved(read, lambda got: got[0][0].data == bytes(5000)) > 1


def test_memory_is_owned():
    """An owner that is not there frees nothing."""
    freed = []
    callback = ffi.callback("void(void *)", lambda memory: freed.append(memory))
    address = int(ffi.cast("uintptr_t", callback))
    made = partial(_hot.own, 64, address)
    assert starved(made, lambda got: got is not None) > 0
    assert len(freed) == MISSES


def test_a_module_is_made_and_bound(core):
    """At import: where it has all that it needs, or says that memory is lacking."""
    errors, functions = dict(fake_core.ERRORS), core.fake_core_functions()
    hot = fake_core.fresh_module()
    bind = partial(hot.bind, functions, fake_core.raise_for, len, len, fake_core.partial_put, errors)
    assert starved(bind, lambda got: got is None) > 1
    spec = importlib.util.find_spec("streamstore._hot")
    modules = [importlib.util.module_from_spec(spec) for _ in range(2000)]

    def run():
        module = modules.pop()
        try:
            spec.loader.exec_module(module)
        except SystemError:  # making a type out of its description does not always say why it failed
            raise MemoryError from None
        return module

    assert starved(run, lambda got: got.make_put_result("s", 1, EPOCH, FIRST, 5).position == FIRST) > 50
