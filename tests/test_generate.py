"""streamstore.generate: arrival processes, keys, sizes, scenarios, and sending what they make."""

from __future__ import annotations

import json
import math
import random
import re
import statistics
import threading
import time
from collections import Counter
from datetime import datetime, timedelta, timezone
from itertools import islice, pairwise, takewhile
from pathlib import Path
from typing import Any

import pytest

import streamstore
from streamstore.errors import InvalidArgumentError
from streamstore.generate import (
    SCENARIOS,
    Bursts,
    Constant,
    Filler,
    Generator,
    Keys,
    Periodic,
    Poisson,
    Sizes,
    Template,
    preview,
    scenario,
)
from streamstore.targets import CallableTarget, NullTarget, StreamTarget
from streamstore.values import PutEntry

MONDAY = datetime(2026, 1, 5, tzinfo=timezone.utc)


def offsets(arrivals: Any, count: int, start: datetime = MONDAY) -> list[float]:
    """The first offsets of a process."""
    return list(islice(arrivals.offsets(random.Random(5), start), count))


def test_constant() -> None:
    """Evenly, without drift."""
    assert offsets(Constant(4), 5) == [0, 0.25, 0.5, 0.75, 1.0]
    assert offsets(Constant(3), 3_000_001)[-1] == 1_000_000.0


def test_poisson() -> None:
    """The mean is the rate's; the gaps spread as much as they last (the mark of the exponential distribution)."""
    found = offsets(Poisson(100), 20_000)
    gaps = [after - before for before, after in pairwise(found)]
    assert statistics.mean(gaps) == pytest.approx(0.01, rel=0.05)
    assert statistics.stdev(gaps) == pytest.approx(0.01, rel=0.05)


def test_bursts() -> None:
    """Records only while it is on."""
    assert offsets(Bursts(2, 1, 9), 5) == [0, 0.5, 10, 10.5, 20]
    assert offsets(Bursts(0.1, 1, 1), 3) == [0, 2, 4]  # a burst has one at least
    assert offsets(Bursts(2, 1.3, 8.7), 4) == [0, 0.5, 1.0, 10]  # 2.6, rounded


def test_periodic() -> None:
    """Each hour of the week has its mean; smoothed, the half hour lies between two of them."""
    means = [0.0] * 168
    means[1], means[2] = 100.0, 300.0
    week = Periodic(means, [0.0] * 168)
    found = list(takewhile(lambda at: at < 4 * 3600, week.offsets(random.Random(1), MONDAY)))
    assert Counter(int(at) // 3600 for at in found) == {1: 360_000, 2: 1_080_000}
    half_past_one = MONDAY.replace(hour=1, minute=30)
    assert Periodic(means, [2.0] * 168, smooth=True).at(half_past_one) == (200.0, 2.0)
    assert week.at(MONDAY.replace(hour=0)) == (0.0, 0.0)


def test_periodic_knows_every_hour_of_the_week() -> None:
    """From Monday on; smoothed to the second, and from Sunday's last hour to Monday's first."""
    hours = [float(hour) for hour in range(168)]
    week = Periodic(hours, [2 * hour for hour in hours])
    assert [week.at(MONDAY + timedelta(hours=hour)) for hour in range(170)] == [
        (hour, 2 * hour) for hour in (*hours, 0.0, 1.0)
    ]
    smooth = Periodic(hours, [2 * hour for hour in hours], smooth=True)
    assert smooth.at(MONDAY + timedelta(hours=50, minutes=15, seconds=36)) == pytest.approx((50.26, 100.52))
    assert smooth.at(MONDAY - timedelta(minutes=45)) == pytest.approx((0.75 * 167, 1.5 * 167))


def test_periodic_comes_evenly_within_a_second() -> None:
    """Not all at its beginning."""
    assert offsets(Periodic([4.0] * 168, [0.0] * 168), 6) == [0, 0.25, 0.5, 0.75, 1.0, 1.25]


def test_periodic_spreads() -> None:
    """The number of a second varies by its sigma."""
    week = Periodic([50.0] * 168, [5.0] * 168)
    counts = Counter(int(at) for at in offsets(week, 50_000))
    assert 4 < statistics.stdev(list(counts.values())[:-1]) < 6


@pytest.mark.parametrize(
    "make",
    [
        lambda: Constant(0),
        lambda: Poisson(float("inf")),
        lambda: Bursts(1, 0, 1),
        lambda: Bursts(1, 1, -1),
        lambda: Periodic([1.0] * 167, [0.0] * 168),
        lambda: Periodic([0.0] * 168, [0.0] * 168),
        lambda: Periodic([1.0] * 168, [-1.0] * 168),
        lambda: Keys(0),
        lambda: Keys(5, -1),
        lambda: Sizes("x"),
        lambda: Sizes("uniform:5"),
        lambda: Sizes("uniform:5:1"),
        lambda: Sizes("lognormal:0:1"),
        lambda: Sizes(-1),
        lambda: Sizes("nan"),
        lambda: scenario("nothing"),
        lambda: Generator(Filler(Sizes(1)), NullTarget()),
        lambda: Generator(Filler(Sizes(1)), NullTarget(), count=-1),
        lambda: Generator(Filler(Sizes(1)), NullTarget(), count=1, start=datetime(2026, 1, 1)),  # noqa: DTZ001
        lambda: Generator(Filler(Sizes(1)), NullTarget(), duration=1, start=MONDAY),
    ],
)
def test_wrong_input_is_refused(make: Any) -> None:
    """With an error that says what would be right."""
    with pytest.raises(InvalidArgumentError, match=r"\w+ .*\w"):
        make()


def test_keys_follow_zipf() -> None:
    """The n-th key comes 1 / n as often as the first; with exponent 0 all come alike."""
    found = Counter(Keys(100, 1.0).draw(chance) for chance in [random.Random(3)] for _ in range(50_000))
    assert found["key-00"] / found["key-09"] == pytest.approx(10, rel=0.2)
    steep = Counter(Keys(100, 2.0).draw(chance) for chance in [random.Random(3)] for _ in range(50_000))
    assert steep["key-00"] / steep["key-04"] == pytest.approx(25, rel=0.2)
    even = Counter(Keys(10, 0).draw(chance) for chance in [random.Random(3)] for _ in range(50_000))
    assert min(even.values()) > 0.9 * max(even.values())


def test_sizes() -> None:
    """Each distribution has its mean and its bounds."""
    chance = random.Random(3)
    assert {Sizes("100").draw(chance) for _ in range(10)} == {100}
    uniform = [Sizes("uniform:10:20").draw(chance) for _ in range(2000)]
    assert (min(uniform), max(uniform)) == (10, 20)
    assert statistics.mean(Sizes("normal:500:50").draw(chance) for _ in range(5000)) == pytest.approx(500, rel=0.02)
    assert statistics.median(Sizes("lognormal:300:1").draw(chance) for _ in range(5000)) == pytest.approx(300, rel=0.1)
    spread = sorted(Sizes("lognormal:1000:1").draw(chance) for _ in range(5000))
    assert spread[4207] / spread[2500] == pytest.approx(math.e, rel=0.1)  # one sigma above the median
    bounded = [Sizes("normal:10:50", size_max=60).draw(chance) for _ in range(500)]
    assert (min(bounded), max(bounded)) == (0, 60)


def test_filler_makes_records_of_a_size() -> None:
    """Letters without a newline, however large, under a key of the set."""
    entry = Filler(Sizes(3_000_000), Keys(5), seed=1).make(0)
    assert len(entry.data) == 3_000_000
    assert entry.data.isascii()
    assert b"\n" not in entry.data
    assert entry.partition_key in {f"key-{number}" for number in range(5)}
    source = Filler(Sizes(50), seed=1)
    made = [source.make(0) for _ in range(100)]
    assert len({entry.data for entry in made}) == len({entry.partition_key for entry in made}) == 100


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenarios(name: str) -> None:
    """The same seed gives the same records, a few keys are busier than the rest, and each is what it says it is."""
    first, again = scenario(name, seed=4), scenario(name, seed=4)
    records = [first.make(1_700_000_000_000_000 + n * 1000) for n in range(3000)]
    assert [again.make(1_700_000_000_000_000 + n * 1000) for n in range(3000)] == records
    assert [scenario(name, seed=5).make(0)] != records[:1]
    assert all(1 <= len(str(record.partition_key)) <= 256 for record in records)
    assert len({record.partition_key for record in records}) > 10
    if name == "logs":
        assert all(record.data.startswith(str(record.partition_key).encode()) for record in records)
        assert records[0].data.split(b"[")[1].startswith(b"14/Nov/2023:22:13:20 +0000]")
    else:
        assert all(isinstance(json.loads(record.data), dict) for record in records)


def test_what_scenarios_are_made_of() -> None:
    """Each looks like what it is: statuses, prices that walk, sensors that drift, totals that add up."""
    logs = scenario("logs", seed=1)
    lines = [logs.make(0).data.decode() for _ in range(3000)]
    found = Counter(re.search(r'" (\d{3}) (\d+) "-"', line).groups()[0] for line in lines)
    assert set(found) == {"200", "304", "404", "301", "500", "403", "503"}
    assert 0.8 < found["200"] / 3000 < 0.95
    assert all('" 304 0 "-"' in line for line in lines if '" 304 ' in line)
    trades = [json.loads(source.make(0).data) for source in [scenario("trades", seed=1)] for _ in range(3000)]
    busiest = Counter(trade["symbol"] for trade in trades).most_common()
    assert busiest[0][1] > 5 * busiest[-1][1]
    assert len({trade["price"] for trade in trades if trade["symbol"] == busiest[0][0]}) > 20
    iot = scenario("iot", seed=1)
    iot.DEVICES = 1  # type: ignore[attr-defined]
    readings = [json.loads(iot.make(0).data) for _ in range(4000)]
    assert len({reading["temperature"] for reading in readings}) > 50
    batteries = [reading["battery"] for reading in readings]
    assert 3 < max(batteries) - min(batteries) < 5
    iot._battery[0] = 0.0005  # type: ignore[attr-defined]
    assert json.loads(iot.make(0).data)["battery"] == 100.0
    orders = [json.loads(source.make(0).data) for source in [scenario("orders", seed=1)] for _ in range(3000)]
    assert {order["status"] for order in orders} == {"placed", "paid", "shipped", "delivered", "cancelled"}
    for order in orders:
        assert order["total"] == pytest.approx(
            sum(item["price"] * item["quantity"] for item in order["items"]), abs=0.01
        )


def test_orders_go_their_way() -> None:
    """Each order is placed, paid, shipped and delivered in that order, or cancelled behind its placing."""
    source = scenario("orders", seed=1)
    ways: dict[str, list[str]] = {}
    for _ in range(20_000):
        document = json.loads(source.make(0).data)
        ways.setdefault(document["order"], []).append(document["status"])
    whole = ["placed", "paid", "shipped", "delivered"]
    assert all(way == whole[: len(way)] or way == ["placed", "cancelled"] for way in ways.values())
    assert ["placed", "cancelled"] in ways.values()
    assert whole in ways.values()


def test_a_simulated_run_into_a_stream(tmp_path: Path) -> None:
    """Event times are as planned, everything is there, and no time was waited for."""
    with streamstore.open(tmp_path / "store", durability="process") as store:
        stream = store.create_stream("s", 2)
        generator = Generator(
            Template("{{sequence.number}}"), StreamTarget(stream), arrivals=Constant(10), duration=3600, start=MONDAY
        )
        done = generator.run()
        assert (done.records, done.stopped) == (36_000, False)
        records = sorted(stream.read("TRIM_HORIZON"), key=lambda record: int(record.data))
        assert [int(record.data) for record in records] == list(range(36_000))
        assert [(record.event_time - MONDAY).total_seconds() for record in records[::1000]] == list(range(0, 3600, 100))


class Collecting:
    """Batches as they were sent; `send_for` is how many seconds each takes."""

    def __init__(self, send_for: float = 0.0) -> None:
        self.batches: list[list[Any]] = []
        self.send_for = send_for

    @property
    def target(self) -> CallableTarget:
        """As a target."""
        return CallableTarget(self._take, batches=True)

    def _take(self, batch: Any) -> None:
        time.sleep(self.send_for)
        self.batches.append(list(batch))


def test_batches_end_at_500_records_or_4_mib() -> None:
    """Whichever comes first; progress tells of each."""
    kept, told = Collecting(), []
    done = Generator(Filler(Sizes(10)), kept.target, count=1200).run(lambda *so_far: told.append(so_far))
    assert [len(batch) for batch in kept.batches] == [500, 500, 200]
    assert told == [(500, 5000), (1000, 10_000), (1200, 12_000)]
    assert (done.records, done.bytes, done.late_us.count) == (1200, 12_000, 0)  # flat out nothing is late
    kept = Collecting()
    Generator(Filler(Sizes(1 << 20)), kept.target, count=10).run()
    assert [len(batch) for batch in kept.batches] == [4, 4, 2]


def test_a_run_ends_at_its_duration() -> None:
    """Before the record of that moment; flat out it is the clock's."""
    done = Generator(Filler(Sizes(1)), NullTarget(), arrivals=Constant(10), duration=1, start=MONDAY).run()
    assert done.records == 10
    done = Generator(Filler(Sizes(1)), NullTarget(), duration=0.05).run()
    assert done.records > 0
    assert done.seconds >= 0.05


def test_the_same_seed_gives_the_same_times() -> None:
    """And another seed others; each record carries its own."""

    def times(seed: int) -> list[Any]:
        kept = Collecting()
        arrivals = Poisson(100)
        Generator(Filler(Sizes(1)), kept.target, arrivals=arrivals, count=50, start=MONDAY, seed=seed).run()
        return [entry.event_time for batch in kept.batches for entry in batch]

    assert times(3) == times(3) != times(4)
    assert len(set(times(3))) == 50


class Remembering:
    """A source whose records say when they are, one of two by an event time of their own."""

    def __init__(self) -> None:
        self.moments: list[int] = []

    def make(self, moment_us: int) -> PutEntry:
        """The next record."""
        self.moments.append(moment_us)
        return PutEntry(b"x", "k", event_time=5.0 if len(self.moments) % 2 else None)


def test_records_are_stamped_where_they_have_no_time_of_their_own() -> None:
    """With the moment they were made for, which flat out is the clock's."""
    source, kept = Remembering(), Collecting(0.02)
    Generator(source, kept.target, count=502, stamped=True).run()
    entries = [entry for batch in kept.batches for entry in batch]
    assert [entry.event_time for entry in entries[::2]] == [5.0] * 251
    stamps = [round(entry.event_time.timestamp() * 1_000_000) for entry in entries[1::2]]
    assert stamps == source.moments[1::2]
    assert source.moments[501] - source.moments[499] >= 20_000  # a batch was sent between the two
    Generator(source, kept.target, count=2).run()
    assert [entry.event_time for entry in kept.batches[-1]] == [5.0, None]


def test_what_is_taken_late_is_counted_so() -> None:
    """From its moment to the return of the target, also for those that had to wait for others."""
    done = Generator(Filler(Sizes(1)), Collecting(0.1).target, arrivals=Constant(1000), count=20).run()
    assert done.late_us.highest >= 100_000
    assert done.late_us.percentile(50) >= 100_000


def test_a_run_in_real_time_keeps_its_rate() -> None:
    """Never early; each record's lateness is counted."""
    sent: list[int] = []
    target = CallableTarget(lambda batch: sent.append(len(batch)), batches=True)
    done = Generator(Filler(Sizes(10)), target, arrivals=Constant(200), count=60).run()
    assert done.seconds >= 59 / 200
    assert sum(sent) == done.records == done.late_us.count == 60
    assert len(sent) > 5  # not all at once


def test_stop_ends_a_run_between_batches() -> None:
    """What was made is sent, the rest is not, also where the next record is far away."""
    target = CallableTarget(lambda batch: None, batches=True)
    generator = Generator(Filler(Sizes(10)), target, arrivals=Constant(0.001), duration=10_000)
    timer = threading.Timer(0.2, generator.stop)
    timer.start()
    done = generator.run()
    timer.join()
    assert done.stopped
    assert done.records == target.records == 1
    assert done.seconds < 30


def test_stop_ends_a_simulated_run_too() -> None:
    """Behind the batch that was being sent."""
    kept = Collecting()
    generator = Generator(Filler(Sizes(1)), CallableTarget(lambda batch: stop(batch), batches=True), count=5000)

    def stop(batch: Any) -> None:
        kept.batches.append(batch)
        generator.stop()

    done = generator.run()
    assert (done.records, done.stopped, len(kept.batches)) == (500, True, 1)


def test_preview_sends_nothing() -> None:
    """The records a second apart."""
    records = preview(Template("{{date.simUtc(ss)}}", seed=1), 3, start=MONDAY)
    assert [record.data for record in records] == [b"00", b"01", b"02"]
