"""Named consumers: what was committed is not seen again, shards are shared, a dead member's come free."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import time

import pytest

import streamstore
from streamstore import clock, errors
from streamstore.consumer.state import Group, event

CONTROL_BOOT = 144  # offset of the word that says which boot a control file is of
SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def store(tmp_path):
    with streamstore.open(tmp_path / "s", durability="process") as made:
        yield made


def take(consumer, count, timeout=5):
    return [record.data for _ in range(count) if (record := consumer.next(timeout)) is not None]


def put(stream, *bodies):
    for body in bodies:
        stream.put_record(body, body.decode())


def test_a_consumer_goes_on_where_it_committed(tmp_path):
    """What was handed out and not committed comes again, after a reopen too."""
    with streamstore.open(tmp_path / "s") as store:
        stream = store.create_stream("clicks")
        put(stream, b"a", b"b", b"c", b"d")
        with stream.consumer("billing") as consumer:
            assert take(consumer, 2) == [b"a", b"b"]
            consumer.commit()
            assert take(consumer, 1) == [b"c"]
    with streamstore.open(tmp_path / "s") as store, store.stream("clicks").consumer("billing") as consumer:
        assert take(consumer, 2) == [b"c", b"d"]
        assert consumer.next(timeout=0) is None
    assert (tmp_path / "s").is_dir()


def test_names_are_independent(store):
    """Each name has its own place; a new one begins where it is told."""
    stream = store.create_stream("clicks")
    put(stream, b"old")
    with stream.consumer("all") as everything, stream.consumer("new", start="LATEST") as late:
        put(stream, b"fresh")
        assert take(everything, 2) == [b"old", b"fresh"]
        assert take(late, 1) == [b"fresh"]
    assert store.list_consumers("clicks") == ["all", "new"]
    assert store.list_streams() == ["clicks"]


def test_members_share_the_shards(store):
    """With a second member the first gives up half at its next commit; together they read everything once."""
    stream = store.create_stream("clicks", 4)
    bodies = [b"%d" % number for number in range(200)]
    put(stream, *bodies)
    with stream.consumer("billing") as one, stream.consumer("billing") as two:
        seen = take(one, 40)
        assert len(one.shard_ids) == 4
        assert two.next(timeout=0) is None
        one.commit()
        assert len(one.shard_ids) == 2
        deadline = time.monotonic() + 20
        while len(seen) < 200 and time.monotonic() < deadline:
            for consumer in (one, two):
                seen += take(consumer, 50, timeout=0)
                consumer.commit()
            two._looked_us = 0
        assert sorted(seen) == sorted(bodies)
        assert set(one.shard_ids).isdisjoint(two.shard_ids)
        assert one.lag() == (0, 0, 0.0)


def _consume(path, pipe):
    with streamstore.open(path) as store:
        consumer = store.stream("clicks").consumer("billing")
        record = consumer.next(timeout=60)
        pipe.send(record.data)
        signal.pause()


def test_a_killed_members_shards_come_free(tmp_path):
    """Its uncommitted records come again to the next member, without a timeout to wait for."""
    path = tmp_path / "s"
    with streamstore.open(path, durability="process") as store:
        stream = store.create_stream("clicks")
        put(stream, b"a")
        ours, theirs = SPAWN.Pipe()
        process = SPAWN.Process(target=_consume, args=(path, theirs), daemon=True)
        process.start()
        assert ours.recv() == b"a"
        with stream.consumer("billing") as consumer:
            assert consumer.next(timeout=0.6) is None
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            assert take(consumer, 1, timeout=30) == [b"a"]


def test_lag_counts_what_is_not_committed(store, monkeypatch):
    """Records, bytes and the age of the oldest."""
    stream = store.create_stream("clicks", 2)
    put(stream, b"a", b"b", b"c")
    with stream.consumer("billing") as consumer:
        assert consumer.lag().records == 3
        take(consumer, 2)
        assert consumer.lag().records == 3
        consumer.commit()
        now_us = clock.now_us
        with monkeypatch.context() as later:
            later.setattr(clock, "now_us", lambda: now_us() + 3_600_000_000)
            lag = consumer.lag()
        assert lag.records == 1
        assert 0 < lag.bytes < 100
        assert 3_600 <= lag.seconds < 3_600 + 120
        take(consumer, 1)
        consumer.commit()
        assert consumer.lag() == (0, 0, 0.0)


def test_a_reset_goes_back_or_forward(store):
    """For every member; a commit that was under way does not undo it."""
    stream = store.create_stream("clicks")
    put(stream, b"a", b"b")
    with stream.consumer("billing") as one, stream.consumer("billing") as two:
        assert take(one, 2) == [b"a", b"b"]
        two.reset("TRIM_HORIZON")
        one.commit()
        one._looked_us = 0
        assert take(one, 2) == [b"a", b"b"]
        one.reset("LATEST")
        assert one.next(timeout=0) is None
        put(stream, b"c")
        assert take(one, 1) == [b"c"]


def cut(path, before, *taken):
    """What a power cut leaves of a store that is open: all there is, but for files that are as they were before."""
    target = path.with_name("cut")
    shutil.copytree(path, target)
    for name in taken:
        shutil.copyfile(before / name, target / name)
    return target


@pytest.fixture
def lossy(tmp_path):
    """A `process` stream of three records, whose last two nobody synced, in its store; and the power cut that takes
    those and leaves the rest: the directory as it is then.
    """
    segment = os.path.join("streams", "1", "0", "000000000001.seg")
    with streamstore.open(tmp_path / "s", durability="process", maintenance=False) as store:
        stream = store.create_stream("clicks")
        put(stream, b"a")
        store.flush()
        shutil.copytree(tmp_path / "s", tmp_path / "before")
        put(stream, b"b", b"c")
        yield store, stream, lambda: cut(tmp_path / "s", tmp_path / "before", segment)


def test_what_came_in_the_place_of_lost_records_is_not_passed_over(lossy):
    """All three records are read and committed. The power cut leaves the commit, which is always durable. Two others
    are put where those it took stood: the consumer went on behind them, and nobody of its name was ever given them.
    """
    _, stream, power_cut = lossy
    with stream.consumer("billing") as consumer:
        assert take(consumer, 3) == [b"a", b"b", b"c"]
        consumer.commit()
    with streamstore.open(power_cut(), maintenance=False) as store:
        stream = store.stream("clicks")
        put(stream, b"d", b"e")
        assert [record.data for record in stream.read()] == [b"a", b"d", b"e"]
        with stream.consumer("billing") as consumer:
            assert consumer.lag().records == 2
            assert take(consumer, 3, timeout=0) == [b"d", b"e"]
            consumer.commit()
        with stream.consumer("billing") as consumer:
            assert take(consumer, 1, timeout=0) == []


def test_a_control_file_older_than_what_was_lost_does_not_say_where_to_go_on(tmp_path):
    """As above, but of the control file too the power cut left what it was after the flush: all durable, and closed as
    far as it knew. So the log went on in its segment, under a new epoch that no segment's header tells of, and the
    consumer read from the middle of a record that it had never seen. After a power cut a new segment is begun.
    """
    segment = os.path.join("streams", "1", "0", "000000000001.seg")
    with streamstore.open(tmp_path / "s", durability="process", maintenance=False) as store:
        stream = store.create_stream("clicks")
        put(stream, b"a")
        store.flush()
        shutil.copytree(tmp_path / "s", tmp_path / "before")
        put(stream, b"b", b"c")
        with stream.consumer("billing") as consumer:
            assert take(consumer, 3) == [b"a", b"b", b"c"]
            consumer.commit()
        left = cut(tmp_path / "s", tmp_path / "before", segment, "control")
    with open(left / "control", "r+b") as control:
        control.seek(CONTROL_BOOT)
        control.write(b"of the boot that the power cut ended"[:8])
    with streamstore.open(left, maintenance=False) as store:
        assert store.stream("clicks").log(0).state().record_count == 1  # recovered, and closed again: it stays so
    with streamstore.open(left, maintenance=False) as store:
        stream = store.stream("clicks")
        put(stream, b"longer than what was lost", b"e")
        with stream.consumer("billing") as consumer:
            assert consumer.lag().records == 2
            assert take(consumer, 3, timeout=0) == [b"longer than what was lost", b"e"]
            consumer.commit()
        with stream.consumer("billing") as consumer:
            assert take(consumer, 1, timeout=0) == []


def retain(store, stream, us):
    """Keep records of the stream for so many microseconds; 0: as long as was said."""
    store.catalog.publish("alter", stream.info, set={"retention_us": us})
    stream.horizon.forget()


def test_a_commit_behind_what_expired_is_resumed_too(lossy):
    """All of the stream is past retention when a consumer comes, so that it commits the end of it, which is of no
    record that it was given. The power cut takes what nobody synced of that, and another record is put there.
    """
    store, stream, power_cut = lossy
    retain(store, stream, 1)
    with stream.consumer("billing") as consumer:
        assert take(consumer, 1, timeout=0) == []
        consumer.commit()
    with streamstore.open(power_cut(), maintenance=False) as store:
        stream = store.stream("clicks")
        retain(store, stream, 0)
        put(stream, b"longer than what stood there")
        with stream.consumer("billing") as consumer:
            assert take(consumer, 2, timeout=0)[-1:] == [b"longer than what stood there"]


def test_a_consumer_begins_at_the_end_of_what_is_durable(tmp_path):
    """A consumer that begins at LATEST of a `process` stream: what it is to pass over is made durable first, or a power
    cut could put other records there.
    """
    with streamstore.open(tmp_path / "s", durability="process", maintenance=False) as store:
        stream = store.create_stream("clicks")
        put(stream, b"a")
        assert stream.log(0).state().durable < stream.log(0).state().tail
        stream.consumer("billing", "LATEST").close()
        assert stream.log(0).state().durable == stream.log(0).state().tail


def test_a_member_that_a_power_cut_killed_holds_nothing(tmp_path, monkeypatch):
    """After a power cut a process gets the slot of one that the cut killed, and its generation too, since nobody syncs
    the lock file. The dead member was taken for a living one, and its shard was never read again.
    """
    with streamstore.open(tmp_path / "s", maintenance=False) as store:
        stream = store.create_stream("clicks")
        put(stream, b"a")
        shutil.copytree(tmp_path / "s", tmp_path / "before")
        consumer = stream.consumer("billing")
        assert take(consumer, 1) == [b"a"]
        store.flush()
        left = cut(tmp_path / "s", tmp_path / "before", "lock", "control")
        with open(left / "lock", "r+b") as file:
            file.truncate(0)
        consumer.close()
    monkeypatch.setattr(clock, "boot_id", lambda: "the next boot")
    with streamstore.open(left, maintenance=False) as store, store.stream("clicks").consumer("billing") as consumer:
        assert take(consumer, 1, timeout=0) == [b"a"]


def test_children_are_read_after_their_parents(store):
    """A reshard is followed; a child's records come once the parent is committed to its end."""
    stream = store.create_stream("clicks")
    put(stream, b"a", b"b")
    with stream.consumer("billing") as consumer:
        assert take(consumer, 1) == [b"a"]
        stream.update_shard_count(2)
        put(stream, b"c", b"d")
        assert take(consumer, 1) == [b"b"]
        assert consumer.next(timeout=0) is None
        consumer.commit()
        assert sorted(take(consumer, 2)) == [b"c", b"d"]


def test_children_of_an_empty_parent_are_read_at_once(tmp_path):
    """A stream is split before anything is put, and later cleared and split again: nothing of the parents can ever be
    handed out, nor committed. A consumer that commits what it was given waited for ever.
    """
    with streamstore.open(tmp_path / "s") as store:
        stream = store.create_stream("clicks")
        stream.split_shard(stream.shards()[0].id)
        stream.put_record(b"a", "key", explicit_hash_key=0)
        with stream.consumer("billing") as consumer:
            assert take(consumer, 1, timeout=0) == [b"a"]
            consumer.commit()
        stream.put_record(b"b", "key", explicit_hash_key=0)
        stream.clear()
        stream.split_shard(stream.shards()[1].id)
        stream.put_record(b"c", "key", explicit_hash_key=0)
        with stream.consumer("billing") as consumer:
            assert take(consumer, 1, timeout=0) == [b"c"]


def test_wrong_use_has_its_own_error(store):
    """Names, starts, and use after close."""
    stream = store.create_stream("clicks")
    for name, error in ((7, errors.InvalidTypeError), ("a/b", errors.InvalidArgumentError)):
        with pytest.raises(error):
            stream.consumer(name)
    with pytest.raises(errors.InvalidArgumentError):
        stream.consumer("x", start="SOMEWHERE")
    consumer = stream.consumer("x")
    consumer.close()
    consumer.close()
    for call in (consumer.next, consumer.commit, consumer.lag, consumer.reset):
        with pytest.raises(errors.ClosedError):
            call()
    assert list(consumer) == []
    store.delete_stream("clicks")
    assert not store.catalog.refresh().streams


def test_a_group_is_the_same_after_a_snapshot():
    """Commits count for the holder in the present round alone."""
    group = Group()
    one, two = (5, 1), (6, 2)
    for said in (event("join", one), event("join", two), event("take", one, [0, 1]), event("take", two, [2])):
        group.fold(said)
    group.fold(event("commit", one, {0: [64, 3, 9], 2: [64, 3, 9]}, 0))
    assert list(group.places) == [0]
    again = Group()
    again.fold(group.snapshot())
    assert vars(again) == vars(group)
    group.fold(event("reset", {0: [0, 0, 0]}))
    group.fold(event("commit", one, {0: [640, 30, 9]}, 0))
    assert group.places[0].position == 0
    group.fold(event("leave", one))
    assert (group.holders, group.members) == ({2: two}, [two])
    with pytest.raises(errors.FormatVersionError):
        group.fold(event("later"))
