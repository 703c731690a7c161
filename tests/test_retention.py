"""Retention to the record, under a clock that the test moves: what is past is returned by nothing."""

from __future__ import annotations

import time

import pytest

import streamstore
from streamstore import clock, errors, native, retention

HOUR = retention.HOUR_US
DAY = 24 * HOUR


class Hands:
    """The hands of a store's trusted clock, in place of the wall and boot clocks of the machine."""

    def __init__(self, store: streamstore.Store) -> None:
        self.ahead_us = 0
        self.jump_us = 0
        self.trusted = store.clock
        store.clock.wall = lambda: clock.now_us() + self.ahead_us
        store.clock.jump = lambda: self.jump_us

    def until(self, record: streamstore.Record, kept_us: int = DAY) -> None:
        """Let the horizon be in the middle between this record and the one before it."""
        self.freeze(record.arrival_us + kept_us - 500)

    def freeze(self, now_us: int) -> None:
        self.trusted.wall = lambda: now_us
        self.trusted.forget()


@pytest.fixture
def stream(store: streamstore.Store) -> streamstore.Stream:
    return store.create_stream("s", durability="process", segment_size=128 * 1024)


@pytest.fixture
def hands(store: streamstore.Store) -> Hands:
    return Hands(store)


def put(stream: streamstore.Stream, count: int, size: int = 10) -> list[streamstore.Record]:
    """Records no two of which arrived within the same millisecond."""
    numbers = []
    for number in range(count):
        numbers.append(stream.put_record(b"%d:" % number + b"x" * size, "k").sequence_number)
        time.sleep(0.0012)
    shard = stream.shards()[0]
    return [shard.get(number) for number in numbers]


def test_what_is_past_is_returned_by_nothing(stream, hands):
    """Every way to read begins with the first record that is not past, to the record."""
    records = put(stream, 30)
    shard = stream.shards()[0]
    for first in (1, 7, 29):
        hands.until(records[first])
        kept = records[first:]
        assert list(stream.read()) == kept
        assert list(stream.read(merge=True)) == kept
        assert list(stream.read(records[0].arrival_us / 1e6)) == kept
        assert list(shard.read()) == list(shard.read(records[0].arrival_us / 1e6)) == kept
        assert stream.last(100) == kept
        assert shard.record_count == len(kept)
        assert list(shard.read("TRIM_HORIZON", limit=1)) == kept[:1]
        assert shard.get(kept[0].sequence_number) == kept[0]
        for sequence_number in (records[0].sequence_number, records[first - 1].sequence_number):
            with pytest.raises(errors.TrimmedError) as caught:
                shard.get(sequence_number)
            assert list(stream.read(caught.value.next_position)) == kept
            with pytest.raises(errors.TrimmedError):
                shard.read(at=sequence_number)
        with pytest.raises(errors.TrimmedError):
            shard.read(after=records[0].sequence_number) if first > 1 else shard.read(at=records[0].sequence_number)
        assert list(shard.read(after=kept[0].sequence_number)) == kept[1:]


def test_all_of_it_may_be_past(stream, hands):
    """A stream of which everything is past looks empty, and what comes then is there."""
    records = put(stream, 10)
    shard = stream.shards()[0]
    follower = stream.read("LATEST", follow=True, timeout=0)
    hands.freeze(records[-1].arrival_us + DAY + 1)
    assert list(stream.read()) == list(shard.read()) == stream.last(3) == []
    assert shard.record_count == 0
    with pytest.raises(errors.TrimmedError):
        shard.get(records[-1].sequence_number)
    result = stream.put_record(b"new", "k")
    hands.trusted.wall = lambda: records[-1].arrival_us + DAY + 1
    assert [record.data for record in stream.read()] == [record.data for record in follower] == [b"new"]
    assert shard.get(result.sequence_number).data == b"new"


def test_arrow_begins_at_the_horizon(stream, hands):
    """Columns come from the same log."""
    pytest.importorskip("pyarrow")
    records = put(stream, 12)
    hands.until(records[5])
    shard = stream.shards()[0]
    assert shard.read_arrow().column("ordinal").to_pylist() == list(range(6, 13))
    with pytest.raises(errors.TrimmedError):
        shard.read_arrow(at=records[4].sequence_number)


def test_a_reader_that_is_overtaken(stream, hands):
    """It raises, or skips to the horizon; one that returned nothing yet begins at the horizon."""
    records = put(stream, 200, size=4000)  # more than a chunk
    careful, easy, unread = stream.read(), stream.read(on_trimmed="skip"), stream.read()
    first = [next(careful), next(easy)]
    assert first == records[:1] * 2
    saved = careful.position
    hands.until(records[150])
    seen = list(easy)
    assert seen[-50:] == records[150:]
    assert seen[:-50] == records[1 : len(seen) - 49]  # what had been fetched before the time came
    with pytest.raises(errors.TrimmedError) as caught:
        list(careful)
    assert list(stream.read(caught.value.next_position)) == records[150:]
    assert list(unread) == records[150:]
    with pytest.raises(errors.TrimmedError):
        list(stream.read(saved))
    assert list(stream.read(saved, on_trimmed="skip")) == records[150:]


def test_a_follower_that_keeps_up_never_notices(stream, hands, store):
    """Not even over a new incarnation, whose first frame is no record."""
    follower = stream.read(follow=True, timeout=0)
    records = put(stream, 5)
    assert list(follower) == records
    position = follower.position
    store.close()
    with streamstore.open(store.path) as again:
        moved = Hands(again)
        stream = again.stream("s")
        stream.put_record(b"later", "k")
        moved.freeze(records[-1].arrival_us + DAY + 1)
        assert [record.data for record in stream.read(position)] == [b"later"]


def test_retention_is_set_both_ways(stream, hands):
    """Lower hides at once, higher shows again what is still there."""
    records = put(stream, 6)
    assert stream.retention_hours == 24
    hands.freeze(records[3].arrival_us + 48 * HOUR - 500)
    assert list(stream.read()) == []
    stream.set_retention(48)
    assert stream.retention_hours == 48
    assert list(stream.read()) == records[3:]
    stream.set_retention(8760)
    assert list(stream.read()) == records
    stream.set_retention(24)
    assert list(stream.read()) == []


def test_another_handle_learns_of_it(stream, store):
    """Within the second for which it may believe what it knew."""
    records = put(stream, 3)
    with streamstore.open(store.path) as other:
        seen = other.stream("s")
        moved = Hands(other)
        moved.freeze(records[0].arrival_us + 30 * HOUR)
        assert list(seen.read()) == []
        stream.set_retention(31)
        moved.freeze(records[0].arrival_us + 30 * HOUR + 1_000_000)
        assert list(seen.read()) == records


@pytest.mark.parametrize("hours", [23, 8761, 0, -1])
def test_retention_has_bounds(stream, hours):
    """Those of the service."""
    with pytest.raises(errors.InvalidArgumentError, match="24 to 8760"):
        stream.set_retention(hours)
    with pytest.raises(errors.InvalidTypeError):
        stream.set_retention("24")
    assert stream.retention_hours == 24


def test_a_clock_that_jumped_is_not_believed():
    """Beyond an hour time goes on where the boot clock puts it, until the two agree again."""
    wall, jump = [10 * DAY], [0]
    trusted = retention.TrustedClock(lambda: jump[0], lambda: wall[0])
    assert trusted.now_us() == 10 * DAY
    for by in (HOUR, -HOUR):
        wall[0], jump[0] = 10 * DAY + by, by
        trusted.forget()
        assert trusted.now_us() == 10 * DAY + by
    for by in (HOUR + 1, 700 * DAY, -5 * HOUR):
        wall[0], jump[0] = 10 * DAY + by, by
        assert trusted.now_us() == 10 * DAY
    wall[0], jump[0] = 10 * DAY + 500_000, 0
    assert trusted.now_us() == 10 * DAY + 500_000


def test_the_boot_clock_is_asked_once_a_second():
    """And at once when the wall clock leaves the second."""
    asked = []
    wall = [10 * DAY]
    trusted = retention.TrustedClock(lambda: asked.append(1) or 0, lambda: wall[0])
    for step in (0, 1, 999_999):
        wall[0] = 10 * DAY + step
        trusted.now_us()
    assert len(asked) == 1
    for moved in (1_000_000, 0, 5 * DAY):
        wall[0] = 10 * DAY + moved
        trusted.now_us()
    assert len(asked) == 4


def test_a_horizon_is_never_before_1970():
    """Nor is anything past where nothing expires."""
    trusted = retention.TrustedClock(lambda: 0, lambda: HOUR)
    assert retention.Horizon(trusted, lambda: DAY)() == 0
    assert retention.Horizon(retention.TrustedClock(lambda: 0), lambda: retention.FOREVER)() == 0
    assert retention.retention_us(24, 0) == DAY
    assert retention.retention_us(24, 5) == 5


def test_a_closed_shard_of_which_all_is_past_counts_nothing(stream, hands, monkeypatch):
    """Its close frame came later than the horizon, and is no record: wherever before it the search ends."""
    shard = stream.shards()[0]
    records = put(stream, 3)
    stream.split_shard(shard.id, 1)
    hands.freeze(records[-1].arrival_us + DAY + 1)
    for place in (None, stream.log(0).segments()[-1].base):  # the second where a first try to close it was cut short
        if place is not None:
            monkeypatch.setattr(native.Log, "seek_time", lambda log, arrival_us, place=place: place)
        assert shard.is_closed
        assert list(shard.read()) == []
        assert shard.record_count == 0
