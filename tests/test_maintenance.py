"""Maintenance: files past retention go, slow shards roll, crashes are cleaned up, by one process at a time."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import streamstore
from streamstore import clock, errors, limits, native, retention

HOUR = retention.HOUR_US
DAY = 24 * HOUR
SEGMENT = 128 * 1024


def files(store: streamstore.Store) -> list[str]:
    """The segment files of all streams."""
    return sorted(str(path.relative_to(store.path)) for path in Path(store.path).glob("streams/*/*/*.seg"))


def disk_bytes(store: streamstore.Store) -> int:
    return sum(path.stat().st_blocks * 512 for path in Path(store.path).glob("streams/*/*/*"))


def freeze(store: streamstore.Store, now_us: int) -> None:
    """Let the store believe that it is so late, whatever the machine's clocks say."""
    store.clock.wall = lambda: now_us
    store.clock.jump = lambda: 0
    store.clock.forget()


@pytest.fixture
def store(tmp_path):
    with streamstore.open(tmp_path / "store", maintenance=False) as opened:
        yield opened


@pytest.fixture
def stream(store):
    return store.create_stream("s", durability="process", segment_size=SEGMENT)


def fill(stream: streamstore.Stream, segments: int) -> list[streamstore.Record]:
    """Records in so many segments, no two of the same arrival."""
    log, shard, numbers = stream.log(0), stream.shards()[0], []
    begin = log.state().segment_ordinal
    while log.state().segment_ordinal < begin + segments:
        numbers.append(stream.put_record(b"x" * 9000, "k").sequence_number)
        time.sleep(0.001)
    return [shard.get(number) for number in numbers]


def test_segments_go_when_their_last_record_is_past(stream, store):
    """Not a segment sooner, and the trim is in the catalog."""
    records = fill(stream, 4)
    last_of_second = next(record for record in records if record.position >= stream.log(0).live_segments()[2].base)
    before = files(store)
    freeze(store, last_of_second.arrival_us + DAY - 1)
    index = records.index(last_of_second)
    freeze(store, records[index - 1].arrival_us + DAY)
    assert store.maintain().freed_bytes > 0
    assert files(store)[: len(before) - 1] == before[1:]  # the second one's last record is just kept
    freeze(store, records[index - 1].arrival_us + DAY + 1)
    report = store.maintain()
    assert report.freed_bytes > SEGMENT // 2
    assert not report.problems
    assert files(store)[: len(before) - 2] == before[2:]
    assert store.catalog.refresh().streams[stream.info.key].starts == {0: last_of_second.position}
    assert list(stream.read()) == records[index:]
    assert stream.log(0).held().start_record_count == index
    path = store.path
    store.close()
    with streamstore.open(path, maintenance=False) as again:
        freeze(again, last_of_second.arrival_us)
        assert list(again.stream("s").read()) == records[index:]
        assert again.stream("s").shards()[0].verify()[0] == []


def test_an_idle_stream_empties(stream, store):
    """The active segment is rolled, and what is left is a page; numbers and counts go on."""
    records = fill(stream, 1)
    freeze(store, clock.now_us() + DAY)
    report = store.maintain()
    assert report.rolled_segments == 1
    assert disk_bytes(store) <= 2 * 4096
    assert list(stream.read()) == []
    assert store.maintain().rolled_segments == 0  # nothing more to do
    after = stream.put_record(b"later", "k")
    assert int(after.sequence_number) > int(records[-1].sequence_number)
    freeze(store, clock.now_us())
    assert [record.data for record in stream.read()] == [b"later"]
    assert stream.shards()[0].get(after.sequence_number).ordinal == len(records) + 1


def test_a_slow_shard_rolls_by_time(stream, store):
    """Once its first record has lived for an eighth of its time, and never while it is empty."""
    stream.put_record(b"1", "k")
    arrival = stream.last(1)[0].arrival_us
    freeze(store, arrival + 3 * HOUR)
    assert store.maintain().rolled_segments == 0
    freeze(store, arrival + 3 * HOUR + 1)
    assert store.maintain().rolled_segments == 1
    freeze(store, arrival + 20 * HOUR)
    assert store.maintain().rolled_segments == 0
    assert [record.data for record in stream.read()] == [b"1"]
    freeze(store, arrival + DAY + 1)
    assert store.maintain().freed_bytes > 0
    assert len(files(store)) == 1


def test_a_shard_that_closes_under_a_round_does_not_end_it(store, monkeypatch):
    """Another process split it between the look and the roll: the other shards have their turn all the same."""
    stream = store.create_stream("s", 2, durability="process", segment_size=SEGMENT)
    stream.put_records([(b"1", "k", 0), (b"2", "k", (1 << 128) - 1)])
    arrival = stream.last(1)[0].arrival_us
    freeze(store, arrival + 4 * HOUR)
    roll, rolled = native.Log.roll, []

    def after_a_split(log, *arguments):
        rolled.append(log.shard_index)
        if rolled == [0]:
            stream.split_shard("shardId-000000000000")
        return roll(log, *arguments)

    monkeypatch.setattr(native.Log, "roll", after_a_split)
    report = store.maintain()
    assert rolled == [0, 1]
    assert (report.rolled_segments, report.problems) == (1, [])


def test_a_shard_is_looked_at_when_something_is_due(stream, store, monkeypatch):
    """Rounds over a store at rest touch no log."""
    fill(stream, 2)
    store.maintain()
    looked = []
    monkeypatch.setattr(native.Log, "live_segments", lambda self: looked.append(self) or [])
    store.maintain()
    assert not looked
    freeze(store, clock.now_us() + 4 * HOUR)
    store.maintain()
    assert looked


def test_a_clock_that_jumped_pauses_trimming(stream, store, monkeypatch):
    """Until it agrees again, somebody says that it is right, or the kernel does."""
    fill(stream, 2)
    before = files(store)
    monkeypatch.setattr(clock, "is_synchronised", lambda: False)
    late = clock.now_us() + 30 * HOUR
    jump = [30 * HOUR]
    store.clock.wall, store.clock.jump = (lambda: late), (lambda: jump[0])
    store.clock.forget()
    report = store.maintain()
    assert report.paused
    assert report.jump_us == 30 * HOUR
    assert files(store) == before
    assert len(list(stream.read())) > 0  # nor is anything hidden
    monkeypatch.setattr(store.attachment, "accept_clock", lambda: jump.__setitem__(0, 0))
    monkeypatch.setattr(clock, "is_synchronised", lambda: True)
    assert not store.maintain().paused
    assert len(files(store)) == 1
    assert list(stream.read()) == []


def test_the_wall_clock_can_be_accepted(stream, store, monkeypatch):
    """maintain(accept_clock=True) says that it is right, for every process."""
    fill(stream, 2)
    jump = [30 * HOUR]
    store.clock.wall, store.clock.jump = (lambda: clock.now_us() + 30 * HOUR), (lambda: jump[0])
    store.clock.forget()
    monkeypatch.setattr(clock, "is_synchronised", lambda: False)
    monkeypatch.setattr(store.attachment, "accept_clock", lambda: jump.__setitem__(0, 0))
    assert not store.maintain(accept_clock=True).paused
    assert len(files(store)) == 1


def test_a_death_between_event_and_unlink(stream, store, monkeypatch):
    """What was trimmed stays trimmed, nothing reads as damage, and the next round removes the files."""
    records = fill(stream, 3)
    path, before = store.path, files(store)
    freeze(store, records[-1].arrival_us + DAY)

    class Died(BaseException):
        pass

    def die(self, position):
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(native.Log, "trim", die)
        with pytest.raises(Died):
            store.maintain()
    assert [name for name in before if name in files(store)] == before
    store.close()
    with streamstore.open(path, maintenance=False) as again:
        freeze(again, records[0].arrival_us)
        stream = again.stream("s")
        kept = list(stream.read())
        assert kept == records[len(records) - len(kept) :]
        assert len(kept) < len(records)
        assert stream.shards()[0].verify()[0] == []
        assert again.maintain().freed_bytes > 2 * SEGMENT // 2
        assert not set(files(again)) & set(before[:2])
        assert list(stream.read()) == kept


def test_one_process_at_a_time(stream, store):
    """Whoever comes second leaves it at that; a death lets the next one in."""
    program = (
        "import sys, streamstore\nfrom streamstore import limits\n"
        "store = streamstore.open(sys.argv[1], maintenance=False)\n"
        "hold = store.attachment.hold(limits.HOLD_MAINTENANCE)\nprint(hold is not None, flush=True)\nsys.stdin.read()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, store.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "True\n"
    assert store.maintain().busy
    child.kill()
    child.communicate()
    assert not store.maintain().busy
    assert store.attachment.maintained() > 0
    with store.attachment.hold(limits.HOLD_MAINTENANCE) as hold:
        assert hold is not None
        assert store.attachment.hold(limits.HOLD_MAINTENANCE) is None
        assert store.maintain().busy


def test_a_delete_that_died_is_finished(stream, store, monkeypatch):
    """By whoever maintains the store, once it stands for longer than any delete takes."""
    stream.put_record(b"x", "k")
    monkeypatch.setattr(store, "_purge", lambda *_: None)
    store.delete_stream("s")
    assert store.maintain().purged_streams == 0
    assert files(store)
    monkeypatch.setattr(limits, "PURGE_AFTER_US", 0)
    assert store.maintain().purged_streams == 1
    assert not files(store)
    assert not store.catalog.refresh().deleting
    with pytest.raises(errors.StreamNotFoundError):
        stream.put_record(b"x", "k")


def test_what_fails_is_told_and_the_rest_done(stream, store, monkeypatch):
    """A round does not end at the first stream in trouble."""
    other = store.create_stream("other", durability="process", segment_size=SEGMENT)
    fill(stream, 2)
    fill(other, 2)
    trim = native.Log.trim

    def fail(self, position):
        if self.attachment is store.attachment and position and self is stream.log(0):
            raise errors.StorageError("the disk is on strike")
        return trim(self, position)

    monkeypatch.setattr(native.Log, "trim", fail)
    freeze(store, clock.now_us() + DAY)
    report = store.maintain()
    assert report.problems == ["stream s: the disk is on strike"]
    assert report.freed_bytes > 0
    assert len([name for name in files(store) if name.startswith("streams/2/")]) == 1


def test_a_queue_like_stream_never_expires(stream, store):
    """A retention of FOREVER is one in which nothing is trimmed or hidden."""
    records = fill(stream, 2)
    store.catalog.publish("alter", stream.info, set={"retention_us": retention.FOREVER})
    stream.horizon.forget()
    freeze(store, clock.now_us() + 9000 * HOUR)
    assert store.maintain().freed_bytes == 0
    assert list(stream.read()) == records


def test_maintenance_wants_a_writable_store(store):
    """A read-only handle changes nothing."""
    with streamstore.open(store.path, read_only=True) as reader:
        assert reader.caretaker is None
        with pytest.raises(errors.ReadOnlyError):
            reader.maintain()


# --- the thread ------------------------------------------------------------------------------------------------------


def caretakers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "streamstore-maintenance"]


def test_the_thread_lives_as_long_as_its_store(tmp_path):
    """There by default, not where it is turned off, and gone at close."""
    assert not caretakers()
    with streamstore.open(tmp_path / "a"), streamstore.open(tmp_path / "b", maintenance=False):
        assert len(caretakers()) == 1
        assert caretakers()[0].daemon
    assert not caretakers()


def test_the_thread_trims(tmp_path, monkeypatch):
    """With a retention of a fraction of a second files go by themselves, and readers go on."""
    monkeypatch.setattr(limits, "MAINTENANCE_FIRST_AFTER_US", 1000)
    monkeypatch.setattr(limits, "MAINTENANCE_EVERY_US", 20_000)
    with streamstore.open(tmp_path) as store:
        stream = store.create_stream("s", durability="process", segment_size=SEGMENT)
        store.catalog.publish("alter", stream.info, set={"retention_us": 200_000})
        stream.horizon.forget()
        follower = stream.read("LATEST", follow=True, timeout=0, on_trimmed="skip")
        deadline = time.monotonic() + 60
        number = 0
        while stream.log(0).held().start == native.FIRST_POSITION and time.monotonic() < deadline:
            number += 1
            stream.put_record(b"%d" % number + b"x" * 5000, "k")
            for record in follower:
                assert record.data.startswith(b"%d" % number)
            time.sleep(0.002)
        assert stream.log(0).held().start > native.FIRST_POSITION
        assert store.caretaker.last is not None
        assert not store.caretaker.last.problems


def test_a_forked_child_has_a_thread_of_its_own(tmp_path):
    """Started when it first uses the store; the parent's goes on."""
    with streamstore.open(tmp_path) as store:
        store.create_stream("s")
        assert len(caretakers()) == 1
        child = os.fork()
        if not child:
            try:
                alone = not [thread for thread in caretakers() if thread.is_alive()]
                store.list_streams()
                os._exit(0 if alone and len(caretakers()) == 1 else 1)
            except BaseException:
                os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
        assert len(caretakers()) == 1


def test_it_keeps_no_interpreter_alive(tmp_path):
    """A program that forgets to close its store ends all the same."""
    program = "import sys, streamstore\nstore = streamstore.open(sys.argv[1])\nstore.create_stream('s')\n"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, tmp_path], timeout=60, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_how_often(store):
    """Once a minute; more often only where records are kept for minutes or less."""
    assert store.rounds.every_us() == 60_000_000
    stream = store.create_stream("s")
    assert store.rounds.every_us() == 60_000_000
    store.catalog.publish("alter", stream.info, set={"retention_us": 16_000_000})
    assert store.rounds.every_us() == 1_000_000


def test_a_store_of_many_shards_is_looked_at_in_parts(store):
    """A first look may recover a shard: in the background so many a round, until all are known."""
    stream = store.create_stream("s", 10, durability="process")
    stream.put_records([(b"x", "k", (index << 128) // 10) for index in range(10)])
    freeze(store, clock.now_us() + 2 * DAY)
    reports = [store.rounds.run(looks=4) for _ in range(4)]
    assert [report.rolled_segments for report in reports] == [4, 4, 2, 0]
    assert [report.shards_left for report in reports] == [6, 2, 0, 0]
    assert store.maintain().shards_left == 0
