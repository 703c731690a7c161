"""streamstore.replay over many batches of many shards: one order, one position, times that belong to their records."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import pytest

import streamstore
from streamstore import PutEntry
from streamstore.replay import Replay

BEGIN = 1_431_857_103


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A read gives a few records at a time."""
    monkeypatch.setattr("streamstore.limits.READ_CHUNK_RECORDS", 16)


@pytest.fixture
def stream() -> Iterator[Any]:
    """A thousand numbered records on four shards, five of one event time each, ten milliseconds apart."""
    with streamstore.temporary(durability="process") as store:
        made = store.create_stream("s", shard_count=4)
        made.put_records([PutEntry(b"%d" % n, f"user-{n % 17}", event_time=BEGIN + n // 5 * 0.01) for n in range(1000)])
        yield made


def numbers(items: Any) -> list[int]:
    """What the records say they are."""
    return [int(item.data) for item in items]


def in_order(stream: Any) -> list[int]:
    """All numbers by event time, those of one time by shard and place."""
    records = sorted(stream.read(), key=lambda each: (each.event_us, each.shard_id, each.position))
    return numbers(records)


def test_all_shards_come_in_the_order_of_event_time(stream):
    """However many batches that takes, and in many of them."""
    batches = list(Replay(stream, by="event", speed=math.inf).batches())
    assert [number for batch in batches for number in numbers(batch)] == in_order(stream)
    assert len(batches) > 20


def test_a_position_in_the_middle_goes_on_with_just_the_rest(stream):
    """Of every shard from its own place."""
    with Replay(stream, by="event", speed=math.inf) as replay:
        seen: list[int] = []
        for batch in replay.batches():
            seen += numbers(batch)
            if len(seen) > 300:
                break
        rest = numbers(Replay(stream, replay.position, by="event", speed=math.inf))
    assert seen + rest == in_order(stream)


def test_a_replay_that_was_flat_out_goes_on_from_what_it_sent(stream):
    """At a speed of 1 from there, it stands at the last record."""
    with Replay(stream, by="event", speed=math.inf) as replay:
        batch = next(replay.batches())
        replay.set_speed(1)
        assert replay.now_us >= batch[-1].event_us


def test_a_filter_keeps_each_records_own_time(stream):
    """Of two that pass, the second comes when it would have."""
    began = time.monotonic()
    found = numbers(Replay(stream, by="event", speed=4, where=lambda record: record.data in (b"0", b"999")))
    assert found == [0, 999]
    assert time.monotonic() - began >= 1.99 / 4


def test_an_end_without_a_start(stream):
    """Times are event times; the end is not in it."""
    end = datetime.fromtimestamp(BEGIN + 0.1, timezone.utc)
    assert sorted(numbers(Replay(stream, end=end, by="event", speed=math.inf))) == list(range(50))


def test_hash_keys_and_what_is_found_anywhere():
    """Both ends are in; a hash key of the record's own counts, not that of its partition key."""
    with streamstore.temporary(durability="process") as store:
        made = store.create_stream("s")
        made.put_records([PutEntry(b"a%db" % n, "user", n) for n in range(4, 9)])
        assert [each.data for each in Replay(made, speed=math.inf, hash_keys=(5, 7))] == [b"a5b", b"a6b", b"a7b"]
        assert [each.data for each in Replay(made, speed=math.inf, match="6b")] == [b"a6b"]


def test_following_keeps_the_gaps_of_event_time():
    """Of what arrived at once."""
    with streamstore.temporary(durability="process") as store:
        made = store.create_stream("s")
        made.put_records([PutEntry(b"%d" % n, "k", event_time=BEGIN + n * 0.3) for n in range(2)])
        began = time.monotonic()
        assert numbers(Replay(made, by="event", follow=True, timeout=0)) == [0, 1]
        assert time.monotonic() - began >= 0.3


def test_a_cancelled_task_closes_the_replay(stream):
    """So that nobody waits for it in a thread."""

    async def cancelled(replay: Replay) -> None:
        async def play() -> None:
            async for _ in replay:
                pass

        task = asyncio.create_task(play())
        while not replay.records:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    replay = Replay(stream, by="event", speed=1e-9)
    asyncio.run(cancelled(replay))
    with pytest.raises(streamstore.ClosedError):
        replay.seek("TRIM_HORIZON")
