"""max_bytes: what a stream may keep, in several shards and processes, and what a put does that finds no place."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import streamstore
from streamstore import errors, native

MIB = 1 << 20


def kept(stream: streamstore.Stream) -> int:
    states = [stream.log(index).held() for index in stream.written()]
    return sum(state.tail - state.start for state in states)


def fill(stream: streamstore.Stream, size: int = 5000) -> list[str]:
    """Put until it is full."""
    numbers: list[str] = []

    def put() -> None:
        while True:
            numbers.append(stream.put_record(b"x" * size, f"k{len(numbers)}").sequence_number)
            assert kept(stream) <= MIB

    with pytest.raises(errors.StreamFullError, match="max_bytes of 1,048,576"):
        put()
    return numbers


@pytest.mark.parametrize("shards", [1, 3])
def test_error(store, shards):
    """What does not fit is refused whole, what fits is not; also by a batch, and after a reopen."""
    stream = store.create_stream("s", shards, durability="process", max_bytes=MIB)
    assert (stream.max_bytes, stream.on_full) == (MIB, "error")
    numbers = fill(stream)
    assert kept(stream) > MIB - 5200 * shards
    assert [record.sequence_number for record in stream.read(merge=True)] == numbers
    with pytest.raises(errors.StoreFullError) as caught:
        stream.put_records([(b"x" * 3000, "a"), (b"x" * 3000, "a")])
    assert not isinstance(caught.value, errors.PartialPutError)
    with pytest.raises(errors.StreamFullError):
        stream.shards()[0].append([(b"x" * 5000, "a")])
    assert len(stream.last(10_000)) == len(numbers)
    store.close()
    with streamstore.open(store.path) as again:
        stream = again.stream("s")
        with pytest.raises(errors.StreamFullError):
            stream.put_record(b"x" * 5000, "k0")
        stream.set_limit(2 * MIB)
        stream.put_record(b"x" * 5000, "k0")
        stream.set_limit(MIB)
        with pytest.raises(errors.StreamFullError):
            stream.put_record(b"x" * 5000, "k0")
        stream.set_limit(None)
        assert stream.max_bytes is None
        for _ in range(300):
            stream.put_record(b"x" * 5000, "k0")
        assert kept(stream) > 2 * MIB


def test_a_full_stream_takes_more_after_a_clear(store):
    """Room is made by whatever trims."""
    stream = store.create_stream("s", durability="process", max_bytes=MIB)
    fill(stream)
    stream.clear()
    assert len(fill(stream)) > 150


def test_what_is_past_retention_makes_room(store):
    """A full stream looks whether anything may go before it refuses."""
    stream = store.create_stream("s", durability="process", max_bytes=MIB)
    numbers = fill(stream)
    now = stream.last(1)[0].arrival_us
    store.clock.wall = lambda: now + 86_400_000_000
    store.clock.forget()
    stream.put_record(b"x" * 5000, "k")
    assert 0 < stream.log(0).held().start_record_count < len(numbers)


def test_a_clock_that_jumped_makes_no_room(store):
    """Which of two clocks is right is not for a put to decide: what seems past by one of them comes back."""
    stream = store.create_stream("s", 1, durability="process", max_bytes=MIB)
    numbers = fill(stream)
    stream.log(0).roll()
    year_us = 365 * 86_400_000_000
    store.clock.jump = lambda: -year_us  # by the boot clock it is a year later than by the wall clock
    store.clock.forget()
    stream.horizon.forget()
    assert list(stream.read()) == []
    with pytest.raises(errors.StreamFullError):
        stream.put_record(b"x" * 5000, "k")
    store.clock.jump = lambda: 0
    store.clock.forget()
    stream.horizon.forget()
    assert [record.sequence_number for record in stream.read()] == numbers


@pytest.mark.parametrize("shards", [1, 3])
def test_drop_oldest(store, shards):
    """The newest records are there, in full, and never more than the limit; a little goes at a time."""
    stream = store.create_stream("s", shards, durability="process", max_bytes=2 * MIB, on_full="drop_oldest")
    count, floor = 3000, 2 * MIB
    for n in range(count):
        stream.put_record(b"%6d" % n + b"x" * 4000, f"k{n}")
        if n % 20 == 0:
            assert kept(stream) <= 2 * MIB
        if n > 1000:
            floor = min(floor, kept(stream))
    assert floor > MIB
    found = [int(record.data[:6]) for record in stream.read(merge=True)]
    assert found[-1] == count - 1
    if shards == 1:
        assert found == list(range(found[0], count))
    assert len(list(Path(store.path).glob("streams/*/*/*.seg"))) < 40
    batch = stream.put_records([(b"x" * 4000, f"k{n}") for n in range(100)])
    assert len(batch) == 100
    with pytest.raises(errors.StreamFullError):  # not even with all else gone
        stream.put_records([(b"x" * 40_000, "k") for n in range(100)])
    assert kept(stream) <= 2 * MIB


def test_drop_oldest_on_a_stream_of_large_segments(store):
    """Also where the limit came later, and all there is stands in one segment."""
    stream = store.create_stream("s", durability="process")
    for n in range(600):
        stream.put_record(b"x" * 5000, f"k{n}")
    stream.set_limit(MIB, "drop_oldest")
    for n in range(600):
        stream.put_record(b"%6d" % n + b"x" * 5000, f"k{n}")
        assert (MIB // 2 if n > 300 else 0) <= kept(stream) <= MIB  # segments became small, so little goes at once
    assert [int(record.data[:6]) for record in stream.last(50)] == list(range(550, 600))


def test_block(store):
    """A put waits until somebody makes room, and close ends the wait."""
    stream = store.create_stream("s", durability="process", max_bytes=MIB, on_full="block")
    while kept(stream) < MIB - 20_000:
        stream.put_record(b"x" * 5000, "k")
    done = []
    waiting = threading.Thread(target=lambda: done.append(stream.put_records([(b"y" * 10_000, "k")] * 5)))
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()
    with pytest.raises(errors.StreamFullError):  # would wait for ever
        stream.put_record(b"x" * (MIB - 10), "k")
    stream.clear()
    waiting.join(30)
    assert len(done[0]) == 5
    assert [record.data for record in stream.read()] == [b"y" * 10_000] * 5
    while kept(stream) < MIB - 20_000:
        stream.put_record(b"x" * 5000, "k")
    ended = []

    def put() -> None:
        try:
            stream.put_records([(b"y" * 10_000, "k")] * 5)
        except errors.ClosedError as error:
            ended.append(error)

    waiting = threading.Thread(target=put)
    waiting.start()
    waiting.join(0.2)
    store.close()
    waiting.join(30)
    assert ended


WRITER = """
import sys, streamstore
with streamstore.open(sys.argv[1], create=False) as store:
    stream = store.stream("s")
    try:
        for n in range(int(sys.argv[3])):
            stream.put_records([(sys.argv[2].encode() + b"x" * 990, f"k{n}-{i}") for i in range(5)])
    except streamstore.StreamFullError:
        print("full")
    except streamstore.PartialPutError as error:
        assert any(isinstance(item, streamstore.StreamFullError) for item in error.results)
        print("full")
"""


@pytest.mark.parametrize(("on_full", "turns"), [("error", 100_000), ("drop_oldest", 1500)])
def test_several_processes_share_one_limit(store, on_full, turns):
    """What they keep together is never more than it."""
    stream = store.create_stream("s", 4, durability="process", max_bytes=4 * MIB, on_full=on_full)
    children = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, store.path, f"w{who}", str(turns)], stdout=subprocess.PIPE, text=True
        )
        for who in range(3)
    ]
    most = 0
    while any(child.poll() is None for child in children):
        # The tails first: what is trimmed between the two looks must not count.
        tails = [stream.log(index).held().tail for index in stream.written()]
        starts = [stream.log(index).held().start for index in stream.written()]
        most = max(most, sum(tails) - sum(starts))
        time.sleep(0.005)
    said = [child.communicate()[0] for child in children]
    assert [child.returncode for child in children] == [0] * 3
    assert said == ["full\n" if on_full == "error" else ""] * 3
    assert kept(stream) <= 4 * MIB
    assert most <= 4 * MIB
    assert kept(stream) > 2 * MIB
    assert all(shard.verify()[0] == [] for shard in stream.shards())


def test_reshards_keep_the_limit(store):
    """Children get grants of their own, closed parents count."""
    stream = store.create_stream("s", 1, durability="process", max_bytes=MIB)
    for n in range(50):
        stream.put_record(b"x" * 5000, f"k{n}")
    stream.update_shard_count(2)
    fill(stream)
    assert 800_000 < kept(stream) <= MIB
    assert len(list(stream.read())) == len({record.sequence_number for record in stream.read()})


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"max_bytes": 1000}, errors.InvalidArgumentError),
        ({"max_bytes": "1MiB"}, errors.InvalidTypeError),
        ({"max_bytes": MIB, "on_full": "wait"}, errors.InvalidArgumentError),
        ({"max_bytes": MIB, "on_full": 5}, errors.InvalidTypeError),
    ],
)
def test_bad_limits_are_refused(store, values, kind):
    """When a stream is made, and when it is changed."""
    with pytest.raises(kind):
        store.create_stream("t", **values)
    stream = store.create_stream("s")
    with pytest.raises(kind):
        stream.set_limit(values["max_bytes"], values.get("on_full"))
    assert stream.max_bytes is None


def test_a_dead_sharer_leaves_no_stream_stuck(store, monkeypatch):
    """Grants were taken back and not yet given anew: the next put does that."""
    stream = store.create_stream("s", 2, durability="process", max_bytes=MIB)
    stream.put_record(b"x", "k")
    for index in range(2):
        stream.log(index).limit(1)  # where a sharer takes back, and dies
    stream.put_record(b"x", "k")
    assert stream.log(0).limited() > native.FIRST_POSITION
