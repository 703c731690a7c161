"""Target of `_hot`: what is put where, and what is told when the core fails; over a core of memory."""

from __future__ import annotations

import fake_core
import pytest
from fake_core import (
    APPEND,
    APPEND_TRY,
    FULL,
    POISONED,
    SHARD_CLOSED,
    SYNC,
    WOULD_BLOCK,
    PartialError,
    StatusError,
)

LONG_KEY = "ß" * 256


# ---- What is put ----


@pytest.mark.parametrize(
    "data", [b"", b"bytes", bytearray(b"array"), memoryview(b"view")[1:], memoryview(b"a-b-c")[::2]]
)
def test_data_may_be_any_kind_of_bytes(fake, log, put, data):
    """Bytes, bytearray and memoryview, also one with gaps, arrive as the same bytes."""
    put(data)
    assert fake.records(log)[0].data == bytes(data)


@pytest.mark.parametrize("key", ["k", "ключ", "🔑" * 256, LONG_KEY, None, type("Text", (str,), {})("sub")])
def test_keys_arrive_as_they_were(fake, log, put, key):
    """A key of up to 256 characters, of up to four bytes each, or none."""
    put(b"x", key)
    assert fake.records(log)[0].partition_key == key


@pytest.mark.parametrize("hash_key", [None, 0, 1, (1 << 64) - 1, 1 << 64, (1 << 128) - 1, True])
def test_explicit_hash_keys_arrive(fake, log, put, hash_key):
    """All 128 bits are kept, and no hash key is not 0."""
    put(b"x", "k", hash_key)
    assert fake.records(log)[0].explicit_hash_key == hash_key


def test_an_attribute_block_arrives(fake, log, put):
    """The block is kept byte for byte, up to 4 KiB."""
    put(b"x", "k", None, b"\x80" * 4096)
    assert fake.records(log)[0].attribute_block == b"\x80" * 4096


def test_put_record_takes_keywords(fake, log):
    """All parameters have names."""
    target = fake.target(log)
    target.put_record(data=b"x", partition_key="k", explicit_hash_key=5, attribute_block=b"\x80", sync=True)
    target.put_records(entries=[(b"y", "k")], attribute_blocks=[None], sync=True)
    assert [record.data for record in fake.records(log)] == [b"x", b"y"]
    assert log.calls(SYNC) == 2


@pytest.mark.parametrize(
    ("args", "keywords"),
    [((), {}), ((b"",), {}), ((b"", "k", None, None, False, 1), {}), ((b"",), {"data": b"", "partition_key": "k"})]
    + [((b"", "k"), {"colour": 1})],
)
def test_wrong_parameters_are_a_type_error(fake, log, args, keywords):
    """Too few, too many, doubled and unknown arguments."""
    with pytest.raises(TypeError, match="put_record"):
        fake.target(log).put_record(*args, **keywords)


@pytest.mark.parametrize("count", [0, 1, 2, 50, 51, 300, 5000])
@pytest.mark.parametrize("shards", [1, 2, 16])
def test_a_batch_is_spread_by_key_in_order(fake, count, shards):
    """Each record lands in the shard of its key, in the batch's order; results come in the order of the entries."""
    logs = [fake.log() for _ in range(shards)]
    entries = [
        (b"%d" % i, f"key{i % 97}", (i << 64) + i) if i % 3 == 0 else (b"%d" % i, f"key{i % 97}") for i in range(count)
    ]
    results = fake.target(*logs).put_records(entries)
    routes = [fake_core.route(entry[-1], shards) for entry in entries]
    assert [result.shard_id for result in results] == [f"shard-{route}" for route in routes]
    for shard, log in enumerate(logs):
        expected = [(*entry, None)[:3] for entry, route in zip(entries, routes, strict=True) if route == shard]
        records = fake.records(log, limit=count + 1, buffer_size=1 << 20)
        assert [(record.data, record.partition_key, record.explicit_hash_key) for record in records] == expected
        assert [record.position for record in records] == [
            result.position for result in results if result.shard_id == f"shard-{shard}"
        ]
        assert log.calls(APPEND_TRY) == (1 if expected else 0)
        assert {fake.hot.parse_sequence_number(result.sequence_number)[2] for result in results} <= set(
            range(100, 100 + shards)
        )


def test_a_single_record_is_routed_as_in_a_batch(fake):
    """put_record and put_records agree on the shard."""
    logs = [fake.log() for _ in range(5)]
    target = fake.target(*logs)
    assert fake_core.route("b", 5) != fake_core.route(7, 5)
    for key, hash_key in [("a", None), ("b", None), ("c", 3 << 64), (None, 4 << 64), ("b", 7)]:
        expected = f"shard-{fake_core.route(key if hash_key is None else hash_key, 5)}"
        assert target.put_record(b"x", key, hash_key).shard_id == expected
        assert target.put_records([(b"x", key, hash_key)])[0].shard_id == expected


@pytest.mark.parametrize(
    "make", [list, tuple, iter, lambda items: (item for item in items), lambda items: dict.fromkeys(items)]
)
def test_a_batch_may_be_any_iterable(fake, log, make):
    """Lists, tuples, iterators and generators of entries."""
    fake.target(log).put_records(make([(b"a", "k"), (b"b", "k", 5)]))
    assert [record.data for record in fake.records(log)] == [b"a", b"b"]


def test_attribute_blocks_go_with_their_entries(fake):
    """Each entry gets its own block, whatever its shard."""
    logs = [fake.log(), fake.log()]
    blocks = [bytes([0x80 + i]) if i % 2 else None for i in range(100)]
    fake.target(*logs).put_records([(b"%d" % i, f"k{i}") for i in range(100)], blocks)
    found = {int(record.data): record.attribute_block or None for log in logs for record in fake.records(log)}
    assert [found[i] for i in range(100)] == blocks


# ---- Failures of the core ----


def test_a_failed_put_record_raises_its_status(fake, log):
    """The status, with its errno, and the shard go to raise_for."""
    log.script(APPEND_TRY, FULL | 28 << 8, 1)
    with pytest.raises(StatusError) as caught:
        fake.target(log).put_record(b"x", "k")
    assert caught.value.args == (FULL | 28 << 8, "put_record to shard-0")


def test_a_failed_sync_raises_its_status(fake, log):
    """A record that could not be made durable is no success."""
    log.script(SYNC, POISONED, 1)
    with pytest.raises(StatusError) as caught:
        fake.target(log, sync=True).put_record(b"x", "k")
    assert caught.value.args[0] == POISONED


def failing_batch(fake, *, call, status):
    """Put 30 records over three shards of which the second fails; the results and the routes."""
    logs = [fake.log() for _ in range(3)]
    logs[1].script(call, status, 1)
    entries = [(b"%d" % i, f"k{i}") for i in range(30)]
    with pytest.raises(PartialError) as caught:
        fake.target(*logs).put_records(entries, None, True)
    return caught.value.args[0], [fake_core.route(key, 3) for _, key in entries], logs


@pytest.mark.parametrize(
    ("call", "status"), [(APPEND_TRY, SHARD_CLOSED), (APPEND_TRY, FULL | 28 << 8), (SYNC, POISONED)]
)
def test_a_shard_that_fails_fails_alone(fake, call, status):
    """Entries of the failed shard get its status, all others their result, and those are durable."""
    results, routes, logs = failing_batch(fake, call=call, status=status)
    assert len(results) == 30
    for result, route in zip(results, routes, strict=True):
        if route == 1:
            assert result == status
        else:
            assert result.shard_id == f"shard-{route}"
    assert logs[0].synced() > 0
    assert logs[2].synced() > 0
    assert logs[1].count() == (routes.count(1) if call == SYNC else 0)


def test_a_single_shard_that_fails_fails_for_all(fake, log):
    """With one shard every entry gets the status."""
    log.script(APPEND_TRY, SHARD_CLOSED, 1)
    with pytest.raises(PartialError) as caught:
        fake.target(log).put_records([(b"x", "k")] * 3)
    assert caught.value.args[0] == [SHARD_CLOSED] * 3


def test_bound_functions_that_do_not_raise_are_found_out(fake, log):
    """A failure never passes for a success."""
    fake.hot.bind(fake.core.fake_core_functions(), lambda *_: None, dict, dict, lambda _: None, fake_core.ERRORS)
    log.close()
    with pytest.raises(SystemError, match="instead of raising"):
        fake.target(log).put_record(b"x", "k")
    with pytest.raises(SystemError, match="instead of raising"):
        fake.target(log).put_records([(b"x", "k")])


def test_what_is_synced_is_what_was_appended(fake, put, log):
    """The target or the call asks for durability; the sync goes to the end of the batch."""
    put(b"x")
    assert (log.calls(SYNC), log.synced()) == (0, 0)
    put(b"y", sync=True)
    assert log.synced() == fake.read(log)[2]
    fake.target(log, sync=True).put_record(b"z", "k")
    assert log.synced() == fake.read(log)[2]


def test_a_put_that_must_not_wait_appends_once_or_not_at_all(fake):
    """By the same routes as others; never a call that may sleep, and None for whatever stands in the way."""
    logs = [fake.log() for _ in range(3)]
    target = fake.target(*logs)
    results = [target.try_put_record(b"%d" % number, f"k{number}") for number in range(20)]
    routes = [fake_core.route(f"k{number}", 3) for number in range(20)]
    assert [result.shard_id for result in results] == [f"shard-{place}" for place in routes]
    hash_key = 2 << 64
    assert target.try_put_record(b"x", "k", hash_key).shard_id == f"shard-{fake_core.route(hash_key, 3)}"
    assert sum(log.calls(APPEND) + log.calls(SYNC) for log in logs) == 0
    log = logs[0]
    alone, before = fake.target(log), len(fake.records(log))
    for status in (WOULD_BLOCK, SHARD_CLOSED, FULL, POISONED):
        log.script(APPEND_TRY, status, 1)
        assert alone.try_put_record(b"x", "k") is None
    assert alone.try_put_record(bytes((64 << 10) + 1), "k") is None  # the copy alone would take too long
    assert fake.target(log, sync=True).try_put_record(b"x", "k") is None
    assert len(fake.records(log)) == before
    assert log.calls(APPEND) == 0


def test_a_put_that_must_not_wait_refuses_bad_arguments(fake, log):
    """As the other one does."""
    target = fake.target(log, record_size_max=10)
    with pytest.raises(fake_core.ArgumentError):
        target.try_put_record(b"x", "")
    with pytest.raises(fake_core.TooLargeError):
        target.try_put_record(bytes(11), "k")
    with pytest.raises(TypeError, match="try_put_record"):
        target.try_put_record(b"x")
    log.close()
    assert target.try_put_record(b"x", "k") is None
