"""streamstore.replay: what comes, in which order, and never before it is due."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import pytest

import streamstore
from streamstore import InvalidArgumentError, InvalidTypeError, PutEntry
from streamstore.replay import Plan, Replay
from streamstore.replay.pacing import Pace

BEGIN = 1_431_857_103  # 2015-05-17 10:05:03 UTC


@pytest.fixture
def store() -> Iterator[Any]:
    """An empty store."""
    with streamstore.temporary(durability="process") as store:
        yield store


def fill(store: Any, count: int = 200, shards: int = 4, gap: float = 0.01, **options: Any) -> Any:
    """A stream of numbered records with event times `gap` apart, on several shards, put in batches."""
    stream = store.create_stream("s", shard_count=shards, **options)
    entries = [
        PutEntry(b"%d" % number, f"user-{number % 7}", event_time=BEGIN + number * gap) for number in range(count)
    ]
    for first in range(0, count, 50):
        stream.put_records(entries[first : first + 50])
    return stream


def numbers(items: Any) -> list[int]:
    """What the records say they are."""
    return [int(item.data) for item in items]


def test_by_event_time_all_shards_come_in_its_order_and_none_too_early(store):
    """The order of a log that was spread over shards comes back, each record not before its moment."""
    stream = fill(store)
    replay = Replay(stream, by="event", speed=20)
    began = None
    seen = []
    for batch in replay.batches():
        now = time.monotonic()
        began = now if began is None else began
        for record in batch:
            # The clock of the replay started a little before the first batch was seen here.
            assert now - began >= int(record.data) * 0.01 / 20 - 0.05
            seen.append(int(record.data))
    assert seen == list(range(200))
    assert time.monotonic() - began >= 199 * 0.01 / 20 - 0.05
    assert replay.timing.count == 200


def test_by_arrival_it_is_the_order_of_arrival(store):
    """As `read(merge=True)` gives it, with all of the records."""
    stream = fill(store)
    merged = [record.sequence_number for record in stream.read(merge=True)]
    assert [record.sequence_number for record in Replay(stream, speed=1000)] == merged


def test_flat_out_waits_for_nothing(store):
    """A hundred years of event time pass at once."""
    stream = fill(store, gap=1e7)
    assert numbers(Replay(stream, by="event", speed=math.inf)) == list(range(200))


def test_a_rate_takes_the_place_of_times(store):
    """So many a second, in order, however long the gaps were."""
    stream = fill(store, 100, gap=1e6)
    began = time.monotonic()
    assert numbers(Replay(stream, by="event", rate=500)) == list(range(100))
    assert time.monotonic() - began >= 99 / 500


def test_an_order_that_falls_back_is_kept_within_a_shard(store):
    """A record whose time lies before that of one before it comes after that all the same."""
    stream = store.create_stream("s")
    times = [5.0, 1.0, 6.0, 2.0, 7.0]
    stream.put_records([PutEntry(b"%d" % index, event_time=BEGIN + at) for index, at in enumerate(times)])
    replay = Replay(stream, by="event", speed=math.inf)
    assert numbers(replay) == [0, 1, 2, 3, 4]


def test_children_come_behind_their_parents_whatever_their_times(store):
    """What was put after a split or merge comes after what was put before it, for each key."""
    stream = store.create_stream("s", shard_count=2)
    number = 0
    for step in range(4):
        entries = [
            PutEntry(b"%d" % (number + each), f"user-{each % 9}", event_time=BEGIN + (100 - step) + each * 0.001)
            for each in range(50)
        ]
        stream.put_records(entries)
        number += 50
        stream.update_shard_count(2 + step % 2 + 1)
    found = list(Replay(stream, by="event", speed=math.inf))
    assert sorted(numbers(found)) == list(range(200))
    for user in range(9):
        mine = numbers(record for record in found if record.partition_key == f"user-{user}")
        assert mine == sorted(mine)


def test_start_and_end_by_event_time_are_event_times(store):
    """From a moment of the log to before another one, whenever it was put."""
    stream = fill(store)
    begin, end = (datetime.fromtimestamp(BEGIN + at, timezone.utc) for at in (0.5, 1.0))
    assert numbers(Replay(stream, begin, end=end, by="event", speed=math.inf)) == list(range(50, 100))


def test_by_source_it_is_the_arrival_at_the_source(store):
    """The gaps of where a capture came from; a record without a source goes with the one before it."""
    stream = store.create_stream("s")
    arrivals = [3, None, 9, 5]
    stream.put_records(
        [
            PutEntry(b"%d" % index, source=None if at is None else {"arrival_us": (BEGIN + at) * 1_000_000})
            for index, at in enumerate(arrivals)
        ]
    )
    plan = Replay(stream, by="source", speed=2).plan()
    assert (plan.records, plan.untimed, plan.duration) == (4, 1, 3.0)
    assert numbers(Replay(stream, by="source", speed=math.inf)) == [0, 1, 2, 3]


def test_without_the_time_that_is_asked_for_it_is_refused(store):
    """Records that know no event time are not sent all at once without a word."""
    stream = store.create_stream("s")
    stream.put_records([(b"0", "a"), (b"1", "b")])
    with pytest.raises(InvalidArgumentError, match="no event time"):
        list(Replay(stream, by="event"))
    assert numbers(Replay(stream, by="event", rate=1000)) == [0, 1]


FILTERS = {
    "a key": ({"keys": ["user-3"]}, lambda number: number % 7 == 3),
    "keys": ({"keys": ["user-3", "user-5"]}, lambda number: number % 7 in (3, 5)),
    "all hash keys": ({"hash_keys": (0, (1 << 128) - 1)}, lambda number: True),
    "a regular expression": ({"match": "^1.$"}, lambda number: 10 <= number < 20),
    "a function": ({"where": lambda record: int(record.data) % 2}, lambda number: number % 2),
    "two at once": ({"keys": ["user-3"], "match": "^1"}, lambda number: number % 7 == 3 and str(number)[0] == "1"),
}


@pytest.mark.parametrize("name", FILTERS)
def test_filters_let_through_what_they_say(store, name):
    """Only what passes every filter, each at its own time."""
    stream = fill(store)
    options, expected = FILTERS[name]
    replay = Replay(stream, by="event", speed=1000, **options)
    assert numbers(replay) == [number for number in range(200) if expected(number)]
    assert replay.records == len([number for number in range(200) if expected(number)])


def test_a_half_of_the_hash_keys(store):
    """A range of hash keys is what the shard of that range holds."""
    stream = fill(store, shards=2)
    held = {record.data for record in stream.read() if record.shard_id.endswith("1")}
    found = Replay(stream, speed=math.inf, hash_keys=(1 << 127, (1 << 128) - 1))
    assert {record.data for record in found} == held


def test_a_jq_expression_selects(store):
    """What is neither false nor null passes; what is no JSON does not."""
    pytest.importorskip("jq")
    stream = store.create_stream("s")
    lines = [b'{"a": 1}', b'{"a": 5}', b"no json", b'{"b": 2}', b"\xff", b"[]"]
    stream.put_records([(line, "k") for line in lines])
    assert [record.data for record in Replay(stream, speed=math.inf, jq=".a > 3")] == [b'{"a": 5}']
    with pytest.raises(InvalidArgumentError, match="jq"):
        Replay(stream, jq="|||")


def test_new_keys_and_new_times(store):
    """The key is what the function gives, a hash key of its own goes; the time is now; where from is kept."""
    stream = store.create_stream("s")
    stream.put_records([PutEntry(b"x", None, 5, {"a": 1}, BEGIN)])
    record = next(iter(stream.read()))
    before = datetime.now(timezone.utc)
    (sent,) = Replay(stream, speed=math.inf, key=lambda record: "new", times="now")
    assert (sent.partition_key, sent.explicit_hash_key, sent.attributes) == ("new", None, {"a": 1})
    assert sent.event_time >= before
    assert sent.source["sequence_number"] == record.sequence_number
    (kept,) = Replay(stream, speed=math.inf, key=lambda record: None)
    assert (kept.partition_key, kept.explicit_hash_key, kept.event_time) == (None, 5, record.event_time)


def test_rounds_begin_anew(store):
    """All of it so many times, each with its gaps; without end until it is closed."""
    stream = fill(store, 20)
    began = time.monotonic()
    assert numbers(Replay(stream, by="event", loops=3)) == [*range(20)] * 3
    assert time.monotonic() - began >= 3 * 0.19
    seen = []
    with Replay(stream, by="event", speed=math.inf, loops=0) as replay:
        for record in replay:
            seen.append(int(record.data))
            if len(seen) == 70:
                replay.close()
    assert seen[:70] == ([*range(20)] * 4)[:70]


def test_a_plan_says_what_a_run_does(store):
    """Records, bytes, from when to when, how long, how many in a second; filters count, and nothing is sent."""
    stream = fill(store, 200, gap=0.5)
    replay = Replay(stream, by="event", speed=10, match=".")
    assert replay.plan() == Plan(
        records=200,
        bytes=sum(len(b"%d" % number) for number in range(200)),
        first_us=BEGIN * 1_000_000,
        last_us=BEGIN * 1_000_000 + 99_500_000,
        untimed=0,
        duration=9.95,
        peak_rate=20,
    )
    assert Replay(stream, by="event", rate=50).plan().duration == pytest.approx(199 / 50)
    assert Replay(stream, by="event", rate=50).plan().peak_rate == 50
    assert replay.records == 0
    assert Replay(stream, by="event", speed=math.inf, keys=[]).plan()[:4] == (0, 0, None, None)


def test_a_position_goes_on_behind_the_last_batch(store):
    """Another replay, or a read, from there has just the rest, in every order."""
    stream = fill(store)
    for by in ("event", "arrival"):
        with Replay(stream, by=by, rate=1000) as replay:
            seen = set()
            for batch in replay.batches():
                seen.update(numbers(batch))
                if len(seen) >= 60:
                    break
            rest = numbers(Replay(stream, replay.position, by=by, speed=math.inf))
        assert seen | set(rest) == set(range(200))
        assert len(seen) + len(rest) == 200


def test_a_position_in_a_gap_is_before_it(store):
    """What waits for its moment was not sent."""
    stream = store.create_stream("s", shard_count=2)
    moments = {0: (0.0, 0.001), 1: (0.0005, 5e6)}
    for index, times in moments.items():
        shard = stream.shards()[index]
        shard.append([PutEntry(b"%d" % (at * 10_000), event_time=BEGIN + at) for at in times])
    with Replay(stream, by="event") as replay:
        thread = threading.Thread(target=lambda: list(replay))
        thread.start()
        while replay.records < 3:
            time.sleep(0.001)
        time.sleep(0.1)
        position = replay.position
        replay.close()
        thread.join()
    assert numbers(Replay(stream, position, by="event", speed=math.inf)) == [50_000_000_000]


def test_it_waits_while_it_is_paused_and_goes_on_where_it_was(store):
    """Nothing comes in a pause; afterwards all of the rest does."""
    stream = fill(store)
    replay = Replay(stream, by="event", speed=5)
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.extend(int(record.data) for record in replay))
    thread.start()
    while not replay.records:
        time.sleep(0.001)
    replay.pause()
    time.sleep(0.05)
    count = replay.records
    time.sleep(0.1)
    assert replay.records == count < 200
    assert replay.is_paused
    replay.set_speed(math.inf)
    time.sleep(0.05)
    assert replay.records == count
    replay.resume()
    thread.join(30)
    assert seen == list(range(200))


def test_a_change_of_speed_ends_a_wait(store):
    """A gap of a year is over when the speed says so."""
    stream = fill(store, 3, gap=3e7)
    replay = Replay(stream, by="event")
    timer = threading.Timer(0.1, replay.set_speed, [1e12])
    timer.start()
    assert numbers(replay) == [0, 1, 2]
    timer.join()


def test_seek_goes_on_from_elsewhere_at_once(store):
    """Forward and back while it waits; what is due first there is due now."""
    stream = fill(store, 5, gap=3e7)
    replay = Replay(stream, by="event")
    seen = []

    def steer() -> None:
        for at in (3, 1):
            while not seen or seen[-1] == at:
                time.sleep(0.001)
            replay.seek(datetime.fromtimestamp(BEGIN + at * 3e7, timezone.utc))
            while seen[-1] != at:
                time.sleep(0.001)
        replay.close()

    thread = threading.Thread(target=steer)
    thread.start()
    for record in replay:
        seen.append(int(record.data))
    thread.join()
    assert seen == [0, 3, 1]
    with pytest.raises(streamstore.ClosedError):
        replay.seek("TRIM_HORIZON")


def test_it_follows_what_arrives(store):
    """Records that are put while it runs come too, until it is closed."""
    stream = fill(store, 10)
    replay = Replay(stream, by="event", speed=math.inf, follow=True)
    seen = []
    for record in replay:
        seen.append(int(record.data))
        if len(seen) == 10:
            stream.put_records([PutEntry(b"10", "k", event_time=BEGIN + 1)])
        if len(seen) == 11:
            replay.close()
    assert seen[10] == 10
    assert sorted(seen) == list(range(11))


def test_it_runs_into_a_stream_and_a_function(store):
    """A target is whatever records can be given to."""
    stream = fill(store, 50)
    copy = store.create_stream("copy", shard_count=2)
    done = Replay(stream, by="event", speed=math.inf).run(copy)
    assert (done.records, done.bytes) == (50, sum(len(b"%d" % number) for number in range(50)))
    assert {record.source["sequence_number"] for record in copy.read()} == {
        record.sequence_number for record in stream.read()
    }
    seen: list[Any] = []
    Replay(stream, by="event", speed=math.inf).run(seen.append)
    assert numbers(seen) == list(range(50))
    with pytest.raises(InvalidTypeError):
        Replay(stream).run(5)


def test_it_is_an_async_iterator(store):
    """`async for` gives the same; a task that is cancelled while it waits ends the replay."""
    stream = fill(store, 30)

    async def all_of_it() -> list[int]:
        return [int(record.data) async for record in Replay(stream, by="event", speed=100)]

    async def cancelled() -> int:
        replay = Replay(stream, by="event", speed=1e-9)

        async def play() -> None:
            async for _ in replay:
                pass

        task = asyncio.create_task(play())
        while not replay.records:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return replay.records

    assert asyncio.run(all_of_it()) == list(range(30))
    assert asyncio.run(cancelled()) < 30


WRONG = [
    {"by": "size"},
    {"speed": 0},
    {"speed": "fast"},
    {"speed": math.nan},
    {"rate": 0},
    {"rate": "many"},
    {"rate": math.inf},
    {"loops": -1},
    {"loops": 2, "follow": True},
    {"times": "later"},
    {"keys": "user-1"},
    {"match": "("},
    {"hash_keys": (5, 4)},
    {"hash_keys": (0, 1 << 128)},
    {"where": 5},
    {"key": 5},
    {"start": "YESTERDAY"},
    {"start": "YESTERDAY", "by": "event"},
    {"start": datetime(2015, 5, 17), "by": "event"},  # noqa: DTZ001
]


@pytest.mark.parametrize("options", WRONG, ids=str)
def test_wrong_options_are_refused_at_once(store, options):
    """Before a record is read."""
    stream = fill(store, 1)
    with pytest.raises((InvalidArgumentError, InvalidTypeError)):
        Replay(stream, **options)


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.ns = 5_000_000_000

    def __call__(self) -> int:
        return self.ns


def test_the_pace_is_exact():
    """Recorded time passes at the speed of the moment, and not in a pause; a change takes nothing back."""
    clock = Clock()
    pace = Pace(10, monotonic_ns=clock)
    assert pace.now_us() == 0
    pace.start(1_000_000)
    clock.ns += 1_000_000_000
    assert pace.now_us() == 11_000_000
    pace.set_speed(0.5)
    clock.ns += 2_000_000_000
    assert pace.now_us() == 12_000_000
    pace.pause()
    clock.ns += 9_000_000_000
    assert pace.now_us() == 12_000_000
    pace.resume()
    clock.ns += 2_000_000_000
    assert pace.now_us() == 13_000_000
    pace.resume()  # it did not stand still
    assert pace.now_us() == 13_000_000
    pace.set_speed(math.inf)
    assert pace.now_us() == math.inf
    pace.passed(20_000_000)
    pace.set_speed(1)
    clock.ns += 1_000_000_000
    assert pace.now_us() == 21_000_000


def test_waits_are_as_long_as_the_speed_says(monkeypatch):
    """No longer, none past a moment, without end in a pause, and none once it was stopped."""
    waits: list[Any] = []
    pace = Pace(10, monotonic_ns=Clock())
    monkeypatch.setattr(pace._changed, "wait", lambda timeout=None: waits.append(timeout))
    pace.wait_until(1)
    pace.start(1_000_000)
    pace.wait_until(6_000_000)
    pace.wait_until(1_000_000)
    assert not pace.is_over_all
    pace.set_speed(math.inf)
    pace.wait_until(6_000_000)
    assert pace.is_over_all
    pace.pause()
    pace.wait_until(6_000_000)
    assert not pace.is_over_all
    assert waits == [None, 0.5, None]
    pace.stop()
    pace.wait_until(6_000_000)
    assert len(waits) == 3
