"""The least and the most of everything that a public call takes, and what lies beside them; and positions far out.

The same over the Kinesis API is in kinesis/test_wire_boundaries.py, of the core in c/test_boundaries.c; clocks that are
wrong are in test_false_clocks.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import pytest

import streamstore
from streamstore import clock, errors, settings
from streamstore.errors import InvalidArgumentError, RecordTooLargeError

MIB, GIB = 1 << 20, 1 << 30
YEAR_S = 365 * 86_400


class Bound(NamedTuple):
    """A call with a size or number, and the least and the most of it; a `low` of None has nothing below it."""

    call: Callable[[streamstore.Store, Any], Any]
    low: float | None
    high: float | None
    step: float = 1
    error: type[Exception] = InvalidArgumentError


_fresh = map("new{}".format, itertools.count())


def new(store: streamstore.Store, **options: Any) -> streamstore.Stream:
    return store.create_stream(next(_fresh), **options)


def split(store: streamstore.Store, at: int) -> None:
    """Split where that key belongs, or would."""
    stream = store.stream("s")
    left = [shard for shard in stream.shards() if not shard.is_closed and shard.hash_range.start <= max(0, at)]
    stream.split_shard(max(left, key=lambda shard: shard.hash_range.start).id, at)


def put(**more: Any) -> Callable[[streamstore.Store, Any], Any]:
    """A put to which each of `more` adds what the number says."""
    return lambda store, n: store.stream("s").put_record(
        **{"data": b"x", "partition_key": "k", **{what: make(n) for what, make in more.items()}}
    )


def queue(**options: str) -> Callable[[streamstore.Store, Any], Any]:
    return lambda store, n: store.queue(next(_fresh), **dict.fromkeys(options, n))


def held(settle: Callable[[Any, Any], Any]) -> Callable[[streamstore.Store, Any], Any]:
    """What is done with a message that was received."""
    return lambda store, n: settle(store.queue("q").get(block=False), n)


STREAMS = {
    "a stream's name": Bound(lambda store, n: store.create_stream("n" * n), 1, 128),
    "shards": Bound(lambda store, n: new(store, shard_count=n), 1, 65_536),
    "hours of retention": Bound(lambda store, n: new(store, retention_hours=n), 24, 8760),
    "hours of retention, later": Bound(lambda store, n: store.stream("s").set_retention(hours=n), 24, 8760),
    "a largest record": Bound(lambda store, n: new(store, max_record_size=n), 1, GIB),
    "a segment": Bound(lambda store, n: new(store, segment_size=n), 128 << 10, 3 * GIB, 64 << 10),
    "seconds until compaction": Bound(lambda store, n: new(store, compact_after=n), 0, YEAR_S, 0.001),
    "bytes to keep": Bound(lambda store, n: new(store, max_bytes=n), MIB, 1 << 60),
    "bytes to keep, later": Bound(lambda store, n: store.stream("s").set_limit(n), MIB, 1 << 60),
    "a hash key to split at": Bound(split, 1, (1 << 128) - 1),
    "shards, later": Bound(lambda store, n: store.stream("s").update_shard_count(n), 1, None),
}
RECORDS = {
    "data": Bound(put(data=bytes), None, MIB - 1, error=RecordTooLargeError),
    "data beside a long key": Bound(
        put(data=bytes, partition_key=lambda n: "k" * 256), None, MIB - 256, error=RecordTooLargeError
    ),
    "a partition key": Bound(put(partition_key=lambda n: "k" * n), 1, 256),
    "a partition key of four bytes each": Bound(put(partition_key=lambda n: "\U0001f600" * n), 1, 256),
    "a hash key": Bound(put(explicit_hash_key=int), 0, (1 << 128) - 1),
    "attributes": Bound(
        put(attributes=lambda n: {"a": bytes(n)}),
        None,
        4096 - len(b"\x81\xa1u\x81\xa1a\xc5  "),
        error=RecordTooLargeError,
    ),
    "an event time": Bound(put(event_time=float), 0, clock.LAST_US // 1_000_000),
    "records of a batch": Bound(lambda store, n: store.stream("s").put_records([(b"", "k")] * n), None, None),
}
READS = {
    "records of a read": Bound(lambda store, n: store.stream("s").shards()[0].read(limit=n), 1, 10_000),
    "newest records": Bound(lambda store, n: store.stream("s").last(n), 0, None),
    "a time to read from": Bound(lambda store, n: store.stream("s").read(n).close(), 0, clock.LAST_US // 1_000_000),
    "a timeout": Bound(lambda store, n: list(store.stream("s").read(follow=True, timeout=n)), 0, None),
    "a consumer's name": Bound(lambda store, n: store.stream("s").consumer("c" * n).close(), 1, 128),
}
QUEUES = {
    "a queue's name": Bound(lambda store, n: store.queue("q" * n), 1, 128),
    "visibility": Bound(queue(visibility="n"), 0, 43_200),
    "receives": Bound(queue(max_receive_count="n"), 0, 1000),
    "a dedup window": Bound(queue(dedup_window="n"), 0, 604_800),
    "messages of a queue": Bound(queue(max_records="n"), 0, 1 << 62),
    "bytes of a queue": Bound(queue(max_bytes="n"), 0, 1 << 62),
    "a delay": Bound(lambda store, n: store.queue("q").put(b"", delay=n), 0, 43_200),
    "a message's key": Bound(lambda store, n: store.queue("q").put(b"", key="k" * n), 1, 256),
    "a message's id": Bound(
        lambda store, n: store.queue("q").put(b"", id="i" * n),
        None,
        4096 - 10,
        error=RecordTooLargeError,
    ),
    "messages of a receive": Bound(lambda store, n: store.queue("q").get_many(n, timeout=0), 1, 10_000),
    "a longer visibility": Bound(held(lambda message, n: message.extend(n)), 0, 43_200),
    "a delay of what is given back": Bound(held(lambda message, n: message.nack(n)), 0, 43_200),
}
BOUNDS = STREAMS | RECORDS | READS | QUEUES


@pytest.fixture
def store(tmp_path):
    """A store with a stream, and a queue that holds a few messages."""
    with streamstore.open(tmp_path / "store", durability="process", maintenance=False) as opened:
        opened.create_stream("s")
        opened.queue("q", codec="bytes").put_many([b""] * 20)
        yield opened


@pytest.mark.parametrize("name", BOUNDS)
def test_the_bounds_of_a_call(store, name):
    """Both are taken; what lies beside them is refused by its name, before a byte moves."""
    bound = BOUNDS[name]
    before = store.list_streams(), store.list_queues()
    for number in (bound.low and bound.low - bound.step, bound.high and bound.high + bound.step):
        if bound.low == 0 and number == 0:
            number = -bound.step
        if number is not None:
            with pytest.raises(bound.error):
                bound.call(store, number)
    assert (store.list_streams(), store.list_queues()) == before
    assert not list(store.stream("s").read())
    bound.call(store, bound.low or 0)
    if bound.high is not None:
        bound.call(store, bound.high)


@pytest.mark.parametrize("interval", [0.001, 3600])
def test_the_interval_of_syncs(tmp_path, interval):
    """From a millisecond to an hour."""
    streamstore.open(tmp_path / "a", sync_interval=interval).close()


@pytest.mark.parametrize("border", [1 << 31, 1 << 32, 1 << 53, 1 << 60], ids=["2^31", "2^32", "2^53", "2^60"])
@pytest.mark.parametrize("durability", ["sync", "process"])
def test_positions_past_4_gib(tmp_path, border, durability):
    """A shard whose older records were trimmed goes on anywhere, and everything works across there."""
    wanted = settings.new_stream(("000000000000", "us-east-1", "s"), durability=durability, segment_size=128 << 10)
    path = tmp_path / "store"
    with streamstore.open(path) as store:
        store.catalog.create(replace(wanted, starts={0: border - 150_000 // 8 * 8}), exist_ok=False)
        stream = store.stream("s")
        stream.read("LATEST").close()
        results = [stream.put_record(b"%d" % n, "k") for n in range(3)]
        results += list(stream.put_records([(bytes(n * 50), str(n), n) for n in range(150)]))
    with streamstore.open(path) as store:
        stream, data = store.stream("s"), [b"0", b"1", b"2", *(bytes(n * 50) for n in range(150))]
        records = list(stream.read())
        assert [record.data for record in records] == data
        assert [record.sequence_number for record in records] == [result.sequence_number for result in results]
        assert records[0].position < border < records[-1].position
        (shard,) = stream.shards()
        for record in records[::10]:
            assert shard.get(record.sequence_number).data == record.data
            assert (
                shard.read(after=record.sequence_number, limit=1)[0].position > record.position or record is records[-1]
            )
        assert [record.data for record in stream.last(5)] == data[-5:]
        reader = stream.read()
        for _ in range(120):
            next(reader)
        assert [record.data for record in stream.read(reader.position)] == data[120:]
        stream.split_shard(shard.id)
        assert [record.data for record in stream.read()] == data
        assert streamstore.verify(path).damage == []


def test_an_event_time_that_no_datetime_has_is_refused(store):
    """It was once taken, and looking at it then failed for good."""
    with pytest.raises(InvalidArgumentError, match="event_time"):
        store.stream("s").put_record(b"", "k", event_time=clock.LAST_US // 1_000_000 + 1)
    with pytest.raises(errors.InvalidArgumentError, match="event_time"):
        store.stream("s").put_records([streamstore.PutEntry(b"", "k", event_time=1e12)])
    assert not list(store.stream("s").read())
    store.stream("s").put_record(b"", "k", event_time=clock.to_datetime(clock.LAST_US))
    (record,) = store.stream("s").read()
    assert clock.to_us(record.event_time) == record.event_us == clock.LAST_US
