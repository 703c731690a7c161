"""Closed shards whose records are past retention: gone from listings and from the disk, passed over by readers."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

import streamstore
from streamstore import clock, errors, limits, retention

DAY = 24 * retention.HOUR_US


@pytest.fixture
def store(tmp_path):
    with streamstore.open(tmp_path / "store", maintenance=False) as opened:
        yield opened


def freeze(store: streamstore.Store, now_us: int) -> None:
    """Let the store believe that it is so late."""
    store.clock.wall = lambda: now_us
    store.clock.jump = lambda: 0
    store.clock.forget()


def directories(store: streamstore.Store) -> list[str]:
    return sorted(path.name for path in Path(store.path).glob("streams/1/*"))


@pytest.fixture
def stream(store):
    """A stream that was split once, with records before and after."""
    made = store.create_stream("s", durability="process")
    made.put_records([(b"old %d" % n, f"k{n}") for n in range(40)])
    made.update_shard_count(2)
    made.put_records([(b"new %d" % n, f"k{n}") for n in range(40)])
    return made


def test_a_closed_shard_expires_after_its_last_record(stream, store):
    """Not before, counted from when it was closed; then it is gone, and its children are not."""
    parent = stream.shards()[0]
    closed_us = store.catalog.refresh().streams[stream.info.key].lineage[0].closed.arrival_us
    freeze(store, closed_us + DAY)
    assert store.maintain().expired_shards == 0
    assert stream.shards()[0].id == parent.id
    freeze(store, closed_us + DAY + 1)
    assert store.maintain().expired_shards == 1
    assert len(stream.shards()) == 2
    assert directories(store) == ["1", "2"]
    assert {record.data[:3] for record in stream.read()} == {b"new"}
    assert list(parent.read()) == []  # whoever still has it finds its end
    with pytest.raises(errors.InvalidArgumentError):
        stream.shard(parent.id)
    assert store.maintain().expired_shards == 0
    path = store.path
    store.close()
    with streamstore.open(path, maintenance=False) as again:
        freeze(again, closed_us + DAY + 1)
        assert {record.data[:3] for record in again.stream("s").read()} == {b"new"}
        assert again.maintain().problems == []
        result = again.stream("s").put_record(b"newest", "k")
        assert int(result.sequence_number) > 0


def test_a_position_in_an_expired_shard(stream, store):
    """Tells that records were lost, or goes on with what came after."""
    parent = stream.shards()[0]
    reader = stream.read()
    assert next(reader).data.startswith(b"old")
    saved = reader.position
    closed_us = store.catalog.refresh().streams[stream.info.key].lineage[0].closed.arrival_us
    freeze(store, closed_us + DAY + 1)
    store.maintain()
    with pytest.raises(errors.TrimmedError):
        list(stream.read(saved))
    assert {record.data[:3] for record in stream.read(saved, on_trimmed="skip")} == {b"new"}
    assert parent.id not in {shard.id for shard in stream.shards()}


def test_a_follower_outlives_the_expiry(stream, store):
    """One that waits at the tips notices nothing."""
    follower = stream.read(follow=True, timeout=20)
    seen = [next(follower) for _ in range(80)]
    assert len(seen) == 80
    closed_us = store.catalog.refresh().streams[stream.info.key].lineage[0].closed.arrival_us
    got = []
    waiting = threading.Thread(target=lambda: got.append(next(follower)))
    waiting.start()
    freeze(store, closed_us + DAY + 1)
    store.maintain()
    freeze(store, clock.now_us())
    stream.put_record(b"after", "k")
    waiting.join(30)
    assert [record.data for record in got] == [b"after"]
    follower.close()


def test_a_death_between_the_event_and_the_files(stream, store, monkeypatch):
    """The next round removes what was left."""
    closed_us = store.catalog.refresh().streams[stream.info.key].lineage[0].closed.arrival_us
    freeze(store, closed_us + DAY + 1)
    trimmer = store.rounds._trimmer
    with monkeypatch.context() as patch:
        patch.setattr(trimmer, "_drop", lambda *_: None)
        assert store.maintain().expired_shards == 1
    assert directories(store) == ["0", "1", "2"]
    assert store.maintain().expired_shards == 0
    assert directories(store) == ["1", "2"]


def test_max_bytes_counts_closed_shards(store):
    """And drops from them first."""
    stream = store.create_stream("s", durability="process", max_bytes=2 << 20, on_full="drop_oldest")
    for n in range(300):
        stream.put_record(b"x" * 4000, f"k{n}")
    stream.update_shard_count(2)
    before = stream.kept_bytes()
    for n in range(600):
        stream.put_record(b"y" * 4000, f"k{n}")
        assert stream.kept_bytes() <= 2 << 20
    assert before > 1 << 20
    assert stream.log(0).held().start > 1 << 20
    assert stream.max_bytes >= limits.STREAM_SIZE_MIN
