"""`_hot` called wrongly: each argument of each call replaced by what it cannot be, too few and too many of them.

What is asked: an exception that says so or an answer, never a crash, and no reference is lost or kept.
"""

from __future__ import annotations

import ctypes
import gc
import itertools
import sys
from functools import partial

import fake_core
import msgpack
import pytest
from fake_core import EPOCH, FIRST

import streamstore  # noqa: F401 - it binds the module below
from streamstore import _hot
from streamstore.native.entries import range_table
from streamstore.values import HashRange

WRONG = (
    object(),
    None,
    -1,
    1 << 200,
    1.5,
    "text",
    "\ud800",
    b"",
    (),
    [],
    [None],
    (1, 2),
    memoryview(b"a-a")[::2],
    True,
)
COUNTED = [each for each in WRONG if type(each) in (object, list, memoryview)]


class Unequal(str):
    """A key that takes a dict's look-up down with it."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other):
        raise KeyError("never equal")


def misuse(call, *right, spare=1):
    """Call with everything wrong that there is a name for; returns how often that was refused."""
    refused = 0
    before = [sys.getrefcount(each) for each in COUNTED]
    attempts = [right[:count] for count in range(len(right))] + [right + (None,) * (spare + 1)]
    attempts += [right[:at] + (wrong,) + right[at + 1 :] for at in range(len(right)) for wrong in WRONG]
    for arguments in attempts:
        try:
            call(*arguments)
        except Exception as error:
            refused += 1 + 1000 * isinstance(error, SystemError)
    with pytest.raises(TypeError):
        call(*right, no_such_argument=1)
    del attempts, arguments
    gc.collect()
    assert [sys.getrefcount(each) for each in COUNTED] == before
    assert refused < 1000, "a SystemError is an accident of ours"
    return refused


def test_makers_are_misused():
    """What makes Records, results and numbers out of their parts."""
    record = ("s", 1, EPOCH, FIRST, FIRST + 64, 1, 5, b"data", "k", 1 << 127, b"\x80", 3, 4)
    assert misuse(_hot.make_record, *record) > 60
    assert misuse(_hot.make_user_record, b"data", "k", 1) > 10
    assert misuse(_hot.make_put_result, "s", 1, EPOCH, FIRST, 5) > 20
    assert misuse(_hot.sequence_number, EPOCH, FIRST, 1) > 10
    for wrong in (*WRONG, "12", "5" * 400, "49" + "0" * 54):
        for call in (_hot.parse_sequence_number, _hot.make_put_results, _hot.deaggregate, _hot.data_size):
            try:
                answer = call(wrong)
            except (TypeError, ValueError):
                continue
            assert wrong in ((), [], b"") or isinstance(wrong, memoryview), (call, wrong, answer)


def test_aggregates_are_misused():
    """What makes aggregates, and what takes them apart."""
    users = [(b"a", "k", None), (b"b", "l", 5)]
    aggregate = partial(_hot.aggregate, users, 0)
    assert misuse(aggregate, 0, 50_000, 1000, 1 << 20) > 20
    for wrong in WRONG:
        with pytest.raises((TypeError, ValueError)):
            _hot.aggregate([(b"a", "k"), wrong], 0, 0, 50_000, 1000, 1 << 20)
    with pytest.raises(TypeError, match="ranges"):
        _hot.aggregate(users, "ranges", 2, 50_000, 1000, 1 << 20)
    assert _hot.aggregate([[b"one", "k"]], 0, 0, 50_000, 1000, 1 << 20)[0][:3] == (b"one", "k", None)
    assert [made[0] for made in _hot.aggregate(users, 0, 0, 50_000, 0, 1 << 20)] == [b"a", b"b"]  # none at a time: one
    ends = (0, 1 << 126, 1 << 127, 1 << 128)
    address, _table = range_table([HashRange(begin, end - 1) for begin, end in itertools.pairwise(ends)])
    high = [(b"a", "k", 0), (b"b", "k", (1 << 128) - 1)]
    assert [made[3] for made in _hot.aggregate(high, address, 3, 50_000, 1000, 1 << 20)] == [0, 2]
    with pytest.raises(SystemError, match="ranges"):  # of three it is said that they are two
        _hot.aggregate(high, address, 2, 50_000, 1000, 1 << 20)
    packed = _hot.aggregate(users, 0, 0, 50_000, 1000, 1 << 20)[0][0]
    record = _hot.make_record("s", 1, EPOCH, FIRST, FIRST + 64, 1, 5, packed, "a")
    assert misuse(_hot.deaggregate_records, [record], 1, 0, 5) > 20
    for records in ([record, object()], [None], [packed]):
        with pytest.raises((TypeError, ValueError)):
            _hot.deaggregate_records(records, 1, 0, 5)
    assert misuse(_hot.sealed_parts, record, 1) > 5
    assert misuse(_hot.open_record, record, b"plain") > 5


def test_reads_are_misused(fake):
    """Reads, gets and appends: an address cannot be anything, so that is not tried."""
    log = fake.log()
    fake.put(log, (b"a", "k"))
    hot, address = fake.hot, log.address
    assert misuse(lambda *args, **more: hot.read(address, *args, **more), 1, "s", FIRST, 0, 10, 1 << 16) > 30
    assert misuse(lambda *args, **more: hot.get(address, *args, **more), 1, "s", FIRST, EPOCH) > 20
    events = fake.log()  # kept, for its address is all that is passed on
    said = events.address
    assert misuse(lambda *args: hot.take(address, *args[:2], said, *args[2:]), 1, "s", 0, FIRST, FIRST, 1, 2, 3) > 30
    assert misuse(lambda *args, **more: hot.append(address, *args, **more), b"data", FIRST, False) > 5

    class Neither:
        def __bool__(self):
            raise KeyError("neither")

    with pytest.raises(KeyError):
        hot.append(address, b"", FIRST, Neither())
    for arguments in ((0, b"", FIRST, False), (address, b"", 0, False), (None, b"", FIRST, False)):
        with pytest.raises((TypeError, ValueError)):
            hot.append(*arguments)
    log.script(fake_core.APPEND, fake_core.POISONED, 1)
    log.script(fake_core.APPEND_TRY, 10, 1)  # overtaken
    assert hot.append(address, b"", FIRST, True) == 0
    log.script(fake_core.APPEND_TRY, fake_core.POISONED, 1)
    with pytest.raises(fake_core.StatusError):
        hot.append(address, b"", FIRST, True)
    with pytest.raises(KeyError):
        fake.target(log).put_records([(b"a", "k")], None, Neither())
    for call, rest in ((hot.read, (1, "s", FIRST, 0, 10, 1 << 16)), (hot.get, (1, "s", FIRST, EPOCH))):
        for wrong in (None, "text", -1, 1 << 200, 0):
            with pytest.raises((TypeError, ValueError, OverflowError)):
                call(wrong, *rest)


def test_puts_are_misused(fake):
    """One record, and many; a target of nothing."""
    target = fake.target(fake.log(), fake.log())
    assert misuse(target.put_record, b"data", "k", 1, b"\x80", False) > 20
    assert misuse(target.try_put_record, b"data", "k", 1) > 10
    assert misuse(target.put_records, [(b"data", "k", 1)], [None], False) > 10
    for entry in WRONG:
        with pytest.raises((TypeError, ValueError)):
            target.put_records([(b"data", "k"), entry])
    lost = fake.target(fake.log(), fake.log(), broken=True)  # its ranges name a shard that it does not have
    for call in (lost.put_record, lost.try_put_record):
        with pytest.raises(SystemError, match="ranges"):
            call(b"data", "k")
    kept = fake.log()
    misuse(fake.hot.Target, 0, [kept.address], [1], ["s"], 1 << 20, False, None)
    with pytest.raises(ValueError, match="at least 1"):
        fake.hot.Target(0, [], [], [], 1 << 20, False, None)


def test_producers_parts_are_misused():
    """Where user records wait, and what settles them."""

    class Future(_hot.UserPut):
        pass

    right = (Future, None, lambda: None, 1 << 30, 1 << 30, 1 << 40, 1 << 20)
    assert misuse(_hot.Intake, *right) > 40
    with pytest.raises(TypeError):
        _hot.Intake(int, *right[1:])
    intake = _hot.Intake(*right)
    for call in (intake.put_checked, intake.forget, lambda *args, **more: intake.take(*args, **more)):
        for arguments in ((), (object(), object()), ("text", 5), (1, 2, 3, 4)):
            with pytest.raises(TypeError):
                call(*arguments)
    for call in (
        lambda: intake.take("text"),
        lambda: intake.put_checked(b"a", 5),
        lambda: intake.put_checked("a", "k"),
    ):
        with pytest.raises(TypeError):
            call()
    misuse(_hot.settle, [intake.put(b"a", "k")], "done")
    assert misuse(lambda *args, **more: intake.put(*args, **more), b"a", "k", 1) > 0

    def no():
        raise KeyboardInterrupt

    raising = _hot.Intake(Future, None, no, 1 << 30, 1 << 30, 1 << 40, 1 << 20)
    with pytest.raises(KeyboardInterrupt):  # a signal's exception; the record is in all the same
        raising.put(b"a", "k")
    assert len(raising.take(-1)) == 1


def test_a_module_that_is_not_bound_says_so(core):
    """Everything that needs the core, before there is one; and binding to nonsense."""
    unbound = fake_core.fresh_module()
    gc.collect()  # walks what is not there yet
    target = unbound.Target(0, [1], [1], ["s"], 1, False, None)

    class Future(unbound.UserPut):
        pass

    intake = unbound.Intake(Future, None, lambda: None, 1 << 30, 1 << 30, 1 << 40, 1 << 20)
    record = unbound.make_record("s", 1, EPOCH, FIRST, FIRST + 64, 1, 5, b"", None, None, b"\x80")
    for call in (
        lambda: unbound.deaggregate(b""), lambda: unbound.aggregate([], 0, 0, 1, 1, 1),
        lambda: unbound.read(1, 1, "s", 64, 0, 1, 64), lambda: unbound.get(1, 1, "s", 64, 0),
        lambda: unbound.take(1, 1, "s", 1, 0, 64, 64, 1, 1, 1), lambda: unbound.append(1, b"", 64, False),
        lambda: unbound.visible(1),
        lambda: intake.put(b"a", "k"), lambda: record.attributes, lambda: record.arrival_time,
        lambda: unbound.deaggregate_records([], 0, 0, 0), lambda: target.put_record(b"", "k"),
        lambda: target.put_records([(b"", "k")]), lambda: target.try_put_record(b"", "k"),
    ):  # fmt: skip
        with pytest.raises((RuntimeError, SystemError, TypeError, ValueError), match=r"bind|bound|Target"):
            call()
    errors = dict(fake_core.ERRORS)
    for arguments in ((), ("x", len, len, len, len, errors), (core.fake_core_functions(), len, len, len, len, 5)):
        with pytest.raises(TypeError):
            unbound.bind(*arguments)
    for wrong in ({}, {**errors, "argument": 5}, {"argument": ValueError}, {**errors, "type": int}):
        with pytest.raises(TypeError, match="must be an exception class"):
            unbound.bind(core.fake_core_functions(), len, len, len, len, wrong)
    with pytest.raises(KeyError, match="never equal"):
        unbound.bind(core.fake_core_functions(), len, len, len, len, {Unequal("argument"): ValueError})
    with pytest.raises(ValueError, match="sequence number") as told:
        unbound.parse_sequence_number("5")
    assert told.type is ValueError, "all errors or none"
    table = ctypes.create_string_buffer(ctypes.string_at(core.fake_core_functions(), 64), 64)
    size = bytes(table).index(bytes(table)[4:8], 4)  # the version, then the size
    table[size] = bytes([table[size][0] ^ 8])
    with pytest.raises(ImportError, match="different builds"):
        unbound.bind(ctypes.addressof(table), len, len, len, len, errors)


def test_the_collector_sees_into_everything(fake):
    """Who refers to what is found, whatever is asked for; and nothing is said to be where it is not."""
    home, outcome, keepalive = [1], [2], [3]

    class Future(_hot.UserPut):
        pass

    wake = lambda: None  # noqa: E731
    intake = _hot.Intake(Future, home, wake, 1 << 30, 1 << 30, 1 << 40, 1 << 20)
    future = intake.put(b"a", "k")
    future._outcome, future._tries, future._callbacks = outcome, [4], [5]
    entries = intake.entries
    log = fake.log()
    target = fake.hot.Target(0, [log.address], [1], ["s"], 1 << 20, False, keepalive)
    for referred, owner in (
        (home, intake), (wake, intake), (entries, intake), (Future, intake), (type(intake), intake), (home, future),
        (outcome, future), (future._tries, future), (future._callbacks, future), (Future, future),
        (keepalive, target), (fake.hot.Target, target),
    ):  # fmt: skip
        assert any(owner is each for each in gc.get_referrers(referred)), (referred, owner)
    for name in ("Record", "PutResult", "PutResults", "Target", "UserRecord", "UserPut", "Intake"):
        assert any(fake.hot is each for each in gc.get_referrers(getattr(fake.hot, name)))
    bound_to = (fake_core.raise_for, msgpack.unpackb, fake_core.make_time, fake_core.partial_put)
    for bound in (*bound_to, *fake_core.ERRORS.values()):
        assert any(fake.hot is each for each in gc.get_referrers(bound))
    del future, entries, intake
    gc.collect()


def test_what_is_compared_with_something_else():
    """Records and results are equal to their like, ordered with nothing."""
    record = _hot.make_record("s", 1, EPOCH, FIRST, FIRST + 64, 1, 5, b"data", "k")
    user, result = _hot.make_user_record(b"data", "k"), _hot.make_put_result("s", 1, EPOCH, FIRST, 5)
    results = _hot.make_put_results((result,))
    for one in (record, user, result, results):
        assert one == one
        assert one != 5
        for compare in ("__lt__", "__ge__"):
            assert getattr(one, compare)(one) is NotImplemented
    assert results[-1] == result
    parts = [_hot.make_record("s", 1, EPOCH, FIRST, FIRST + 64, 1, 5, b"data", "k", None, b"", 1, n) for n in (2, 3)]
    assert parts[0] != parts[1]
    for at in (5, -5):
        with pytest.raises(IndexError):
            results[at]
    for at in ("text", 1 << 200, None):
        with pytest.raises((TypeError, IndexError)):
            results[at]
    with pytest.raises(ValueError, match=r"."):
        results.index(5)
    assert results.count(5) == 0


def test_lists_of_records_are_misused(fake):
    """Too few arguments, lists of other lengths, truths that are none; a list that shrinks while it is looked at."""
    make = partial(fake.hot.make_record, "s", 1, EPOCH, FIRST, FIRST + 64, 1)
    records = [make(5 + n, b"data", "k") for n in range(3)]
    merged = fake.hot.merge_records([records], [0], [False], None)
    assert merged == (records, b"", [3])
    for call, arguments in (
        (fake.hot.merge_records, ([records],)), (fake.hot.record_times, (records,)), (fake.hot.record_times, ()),
        (fake.hot.merge_records, ([records], [4], [False])), (fake.hot.merge_records, ([records], ["0"], [False])),
        (fake.hot.merge_records, ([records], [0], [1])), (fake.hot.merge_records, ([records], [0], [[]])),
        (fake.hot.merge_records, ([records], [0], [False], [b"short"])), (fake.hot.merge_records, ([records], [], [])),
        (fake.hot.merge_records, ([None], [0], [False])), (fake.hot.merge_records, ([[None]], [0], [False])),
    ):  # fmt: skip
        with pytest.raises((TypeError, ValueError)):
            call(*arguments)
    shrinking = [make(5, b"data", "k", None, b"\x81\xa1t\xc7\x01\x05a") for _ in range(3)]

    def unpack(block):
        del shrinking[1:]
        return {"t": 7}

    fake.hot.bind(fake.core.fake_core_functions(), len, unpack, len, len, fake_core.ERRORS)
    with pytest.raises(IndexError):
        fake.hot.record_times(shrinking, 1, 0)


def test_user_records_out_of_their_shard_are_left_out():
    """Below where it starts as well as above where it ends; of an encrypted one nobody knows."""
    users = [(b"low", "k", 5), (b"in", "k", 15), (b"high", "k", 25)]
    packed = _hot.aggregate(users, 0, 0, 50_000, 1000, 1 << 20)[0][0]
    record = _hot.make_record("s", 1, EPOCH, FIRST, FIRST + 64, 1, 5, packed, "a")
    kept, dropped = _hot.deaggregate_records([record], 2, 10, 20)
    assert ([each.data for each in kept], dropped) == ([b"in"], 2)
    assert _hot.deaggregate_records([record], 1, 10, 20) == ([], 3)
    assert len(_hot.deaggregate_records([record], 0, 10, 20)[0]) == 3


def test_attributes_that_cannot_be_looked_up_raise_what_they_raise(fake, log):
    """Whatever the bound function makes of a block."""
    fake.put(log, (b"data", "k"), attribute_blocks=[b"\x80"])
    (record,) = fake.records(log)
    made = {Unequal("t"): 1, Unequal("s"): 2}
    fake.hot.bind(fake.core.fake_core_functions(), len, lambda block: made, len, len, fake_core.ERRORS)
    for name in ("event_us", "event_time", "source"):
        with pytest.raises(KeyError, match="never equal"):
            getattr(record, name)
