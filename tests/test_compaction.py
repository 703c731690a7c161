"""Compaction as programs see it: nothing but the files changes, whoever reads, writes, dies or damages meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest
from model import format as v1
from model import packed

import streamstore
from streamstore import compaction, errors
from streamstore.compaction import Compactor, due
from streamstore.values import Segment

EVER = 1 << 60
JOIN = 128 << 20


def lines(count, first=0):
    return [
        (f'10.0.{n % 7}.{n % 251} - - [17/May/2015:10:05:{n % 60:02d}] "GET /page/{n % 97}" 200'.encode(), f"k{n % 13}")
        for n in range(first, first + count)
    ]


def filled(store, count=4000, *, roll_every=1000, **options):
    """A stream of one shard with a new segment after each `roll_every` records; the last is the active one."""
    stream = store.create_stream("s", durability="process", **options)
    for first in range(0, count, roll_every):
        stream.put_records(lines(min(roll_every, count - first), first))
        stream.log(0).roll()
    stream.put_record(b"the last", "k")
    store.flush()
    return stream


def compact(stream, **options):
    return Compactor(rate=0).compact(stream.log(0), **{"now_us": EVER, "after_us": 0, "size_max": JOIN, **options})


def content(records):
    return [(r.data, r.partition_key, r.sequence_number, r.arrival_us, r.attributes, r.event_time) for r in records]


# ---- Which segments are due: a pure function ----


def segment(ordinal, base, end, *, packed=0, created_us=0, records=1):
    return Segment(ordinal, base, end, ordinal * records, 1, ordinal, end - base, 0, created_us, 1, 1, 1, packed)


def ordinals(runs):
    return [[item.ordinal for item in run] for run in runs]


def chain(*sizes, packed=()):
    found, base = [], 64
    for ordinal, size in enumerate(sizes, 1):
        found.append(segment(ordinal, base, base + size, packed=ordinal in packed, created_us=ordinal * 100))
        base += size
    return found


def find_due(segments, *, after_us=0, now_us=EVER, size_max=1000, durable=EVER, start=64, left_alone=frozenset()):
    return ordinals(
        due(segments, durable=durable, start=start, now_us=now_us, after_us=after_us, size_max=size_max,
            left_alone=left_alone)
    )  # fmt: skip


def test_neighbours_are_joined_up_to_the_size():
    """Never the last one, which is written to."""
    assert find_due(chain(400, 400, 400, 400, 400, 10)) == [[1, 2], [3, 4], [5]]
    assert find_due(chain(400)) == []
    assert find_due(chain(2000, 10, 10)) == [[1], [2]]


def test_a_segment_is_due_some_time_after_it_was_sealed():
    """It was sealed when the next one was made; -1 means never."""
    segments = chain(10, 10, 10, 10)
    assert find_due(segments, after_us=50, now_us=349) == [[1]]
    assert find_due(segments, after_us=50, now_us=350) == [[1, 2]]
    assert find_due(segments, after_us=-1) == []


def test_what_is_not_durable_trimmed_or_left_alone_is_not_due():
    """And splits its neighbours."""
    segments = chain(10, 10, 10, 10, 10)
    assert find_due(segments, durable=94) == [[1, 2, 3]]
    assert find_due(segments, start=80) == [[2, 3, 4]]
    assert find_due(segments, left_alone={2}) == [[1], [3, 4]]
    dead = segment(2, 70, 80)._replace(live=0)
    assert find_due([segments[0], dead, *segments[1:]]) == [[1, 2, 3, 4]]


def test_a_byte_is_rewritten_a_few_times_at_most():
    """A compacted segment is joined only to as much as it holds itself."""
    assert find_due(chain(100, 10, 10, packed={1})) == [[2]]
    assert find_due(chain(100, 60, 60, 10, packed={1})) == [[1, 2, 3]]
    assert find_due(chain(100, 10, 10, 10, packed={1, 2})) == [[2, 3]]
    assert find_due(chain(100, 100, 10, packed={1, 2})) == []


# ---- The whole ----


def test_nothing_changes_but_the_files(tmp_path):
    """Records, numbers, gets, last, seeks by time, positions of before: all the same, in less space; also reopened."""
    with streamstore.open(tmp_path) as store:
        stream = filled(store)
        shard = stream.shards()[0]
        before = content(stream.read())
        half = shard.read(limit=1234)
        reader = stream.read()
        first = [next(reader) for _ in range(777)]
        done = compact(stream)
        assert (done.segments, done.files, done.left_alone) == (4, 1, [])
        assert done.ratio > 3
        assert content(first + list(reader)) == before
        assert content(stream.read()) == before
        assert content(shard.read(start=half.next_position, limit=10_000)) == before[1234:]
        for index in (0, 1, 999, 1000, 2500, 3999):
            assert content([shard.get(before[index][2])]) == [before[index]]
            assert content(shard.read(at=before[index][2], limit=3)) == before[index : index + 3]
            assert content(shard.read(after=before[index][2], limit=3)) == before[index + 1 : index + 4]
            assert shard.read(start=before[index][3] / 1e6, limit=1)
        assert content(stream.last(2500)) == before[-2500:]
        assert [item.packed for item in stream.log(0).segments()] == [1, 0]
        assert stream.log(0).verify(0, 0)[0] == []
    with streamstore.open(tmp_path, read_only=True) as store:
        assert content(store.stream("s").read()) == before
    with streamstore.open(tmp_path) as store:
        stream = store.stream("s")
        stream.put_record(b"after", "k")
        assert content(stream.read())[:-1] == before


def test_a_segment_that_does_not_shrink_is_stored_as_it_is(tmp_path):
    """Random bytes take no more than a header a block, and read back."""
    with streamstore.open(tmp_path) as store:
        stream = store.create_stream("s", durability="process")
        data = [os.urandom(1000) for _ in range(500)]
        stream.put_records([(each, "k") for each in data])
        stream.log(0).roll()
        store.flush()
        done = compact(stream)
        assert 0.95 < done.ratio < 1.05
        assert [record.data for record in stream.read()] == data


def test_arrow_reads_compacted_segments(tmp_path):
    """As columns, across blocks and files."""
    pytest.importorskip("pyarrow")
    with streamstore.open(tmp_path) as store:
        stream = filled(store, count=3000)
        shard = stream.shards()[0]
        before = shard.read_arrow()
        compact(stream)
        assert shard.read_arrow().equals(before)
        assert shard.read_arrow(limit=1500).num_rows == 1500


def test_following_readers_go_on(tmp_path):
    """One that waits for more while everything behind and before it is replaced."""
    with streamstore.open(tmp_path) as store, streamstore.open(tmp_path) as other:
        stream = filled(store, count=3000)
        expected = content(stream.read())
        reader = other.stream("s").read(follow=True, timeout=5)
        found = [next(reader) for _ in range(1500)]
        compact(stream)
        stream.put_records(lines(100, 5000))
        found += [next(reader) for _ in range(len(expected) + 100 - 1500)]
        assert content(found)[: len(expected)] == expected
        reader.close()


def test_a_damaged_segment_is_left_alone_and_told_of(tmp_path, caplog):
    """Its neighbours are compacted; the damage stays where it was, and is told once."""
    with streamstore.open(tmp_path) as store:
        stream = filled(store)
        segments = stream.log(0).segments()
        directory = store.attachment.stream_directory(stream.info.id)
        path = os.path.join(directory, "0", f"{segments[1].ordinal:012d}.seg")
        with open(path, "r+b") as file:
            file.seek(50_000)
            file.write(b"damage")
        compactor = Compactor(rate=0)
        options = {"now_us": EVER, "after_us": 0, "size_max": JOIN}
        done = compactor.compact(stream.log(0), **options)
        assert (done.segments, done.files, len(done.left_alone)) == (3, 3, 1)
        assert [item.packed for item in stream.log(0).segments()] == [1, 0, 1, 1, 0]
        assert "not compacted" in caplog.text
        again = compactor.compact(stream.log(0), **options)
        assert again.left_alone == []
        with pytest.raises(errors.CorruptRangeError):
            list(stream.read())


def test_damage_in_a_block_costs_its_block_alone(tmp_path):
    """The range is exact: up to the block, and from the next one on, everything reads."""
    with streamstore.open(tmp_path) as store:
        stream = filled(store)
        log = stream.log(0)
        before = content(stream.read())
        compact(stream)
        info = log.segments()[0]
        directory = store.attachment.stream_directory(stream.info.id)
        with open(os.path.join(directory, "0", f"{info.ordinal:012d}.seg"), "r+b") as file:
            file.seek(info.file_size // 2)
            byte = file.read(1)
            file.seek(info.file_size // 2)
            file.write(bytes([byte[0] ^ 1]))
    with streamstore.open(tmp_path) as store:
        stream = store.stream("s")
        damage, totals = stream.log(0).verify(0, 0)
        assert len(damage) == 1
        assert 0 < damage[0]["end"] - damage[0]["begin"] <= 64 << 10
        lost = damage[0]["next_ordinal"] - 1 - damage[0]["first_ordinal"]
        assert totals["records"] == len(before) - lost
        found, reader = [], stream.read()
        with pytest.raises(errors.CorruptRangeError) as raised:
            found.extend(reader)
        assert (raised.value.begin, raised.value.end) == (damage[0]["begin"], damage[0]["end"])
        found += list(stream.read(raised.value.next_position))
        first = damage[0]["first_ordinal"]
        assert content(found) == before[:first] + before[first + lost :]


def test_it_ends_at_once_when_stopped_and_leaves_nothing(tmp_path, monkeypatch):
    """In the middle of a segment, too: the file aside is removed."""
    monkeypatch.setattr(compaction, "_PACK_BLOCKS", 1)
    with streamstore.open(tmp_path) as store:
        stream = filled(store)
        calls = []
        compactor = Compactor(rate=0, stopped=lambda: len(calls) > 3)
        done = compactor.compact(
            stream.log(0), now_us=EVER, after_us=0, size_max=JOIN, progress=lambda size: calls.append(size)
        )
        assert done.files == 0
        assert len(calls) == 4
        names = os.listdir(os.path.join(store.attachment.stream_directory(stream.info.id), "0"))
        assert sorted(names) == [f"{ordinal:012d}.seg" for ordinal in range(1, 6)]


def test_a_segment_that_goes_between_the_look_and_the_work_is_passed_over(tmp_path, monkeypatch):
    """A writer of a full stream dropped the oldest segment just after compaction had listed it: its round failed."""
    with streamstore.open(tmp_path) as store:
        stream = filled(store)
        listed = type(stream.log(0)).segments

        def segments(log):
            found = listed(log)
            log.trim(found[-1].base)
            return found

        monkeypatch.setattr(type(stream.log(0)), "segments", segments)
        assert compact(stream).files == 0
        assert [record.data for record in stream.read()] == [b"the last"]


def test_the_rate_is_kept():
    """What went by is never ahead of the clock by more than one step."""
    began = time.monotonic()
    pace = compaction.Pace(1 << 20, bool)
    for _ in range(4):
        assert pace.went(1 << 16)
    assert time.monotonic() - began >= 0.24


CHILD = """
import sys, os, signal
import streamstore
from streamstore import compaction
from streamstore.compaction import Compactor
compaction._PACK_BLOCKS = 1
with streamstore.open(sys.argv[1], create=False) as store:
    stream = store.stream("s")
    seen = []
    def progress(size):
        seen.append(size)
        if len(seen) == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
    Compactor(rate=0).compact(stream.log(0), now_us=1 << 60, after_us=0, size_max=1 << 27, progress=progress)
"""


def test_what_a_killed_compaction_left_is_removed_by_the_next(tmp_path):
    """A kill in the middle costs the file aside; every record stays, and the next compaction clears away."""
    with streamstore.open(tmp_path) as store:
        stream = filled(store)
        before = content(stream.read())
        directory = os.path.join(store.attachment.stream_directory(stream.info.id), "0")
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        child = subprocess.run([sys.executable, "-c", CHILD, str(tmp_path), "5"], env=environment, check=False)
        assert child.returncode == -9
        assert any(name.endswith(".seg.new") for name in os.listdir(directory))
        assert content(stream.read()) == before
        compact(stream)
        assert sorted(os.listdir(directory)) == ["000000000004.seg", "000000000005.seg"]
        assert content(stream.read()) == before


def test_the_second_implementation_reads_what_was_compacted(tmp_path):
    """Every frame, block and number of the file is as docs/format.md says."""
    with streamstore.open(tmp_path) as store:
        stream = filled(store, count=1500, roll_every=400)
        expected = [(record.data, record.sequence_number) for record in stream.read()][:1500]
        compact(stream)
        info = stream.log(0).segments()[0]
        directory = store.attachment.stream_directory(stream.info.id)
        with open(os.path.join(directory, "0", f"{info.ordinal:012d}.seg"), "rb") as file:
            header, frames, _ = packed.decode_packed(file.read())
        assert (header.base, header.copied_end) == (info.base, info.end)
        found = [
            (each.data, v1.sequence_number(each.epoch, each.position, 0)) for each in frames if each.type == v1.DATA
        ]
        assert found == expected


def test_followers_read_everything_while_it_is_compacted_behind_them(tmp_path):
    """A writer, a compaction that never rests, and a follower in each of two handles: each record once, in order."""
    with streamstore.open(tmp_path, maintenance=False) as store, streamstore.open(tmp_path, maintenance=False) as other:
        stream = store.create_stream("s", durability="process", segment_size=128 << 10)
        failed, found, stop = [], [], threading.Event()

        def write():
            for first in range(0, 20_000, 100):
                stream.put_records(lines(100, first))
                time.sleep(0.005)
            stop.set()

        def compact_on():
            while not stop.is_set():
                other.stream("s").compact(rate=0)

        def follow(handle):
            reader = handle.stream("s").read(follow=True, timeout=3)
            found.append([record.data for record in reader])

        def guarded(work, *arguments):
            try:
                work(*arguments)
            except Exception as error:
                failed.append(error)
                stop.set()

        calls = [(write,), (compact_on,), (follow, store), (follow, other)]
        threads = [threading.Thread(target=guarded, args=call) for call in calls]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        expected = [data for data, _ in lines(20_000)]
        assert found == [expected, expected]
        assert sum(item.packed for item in stream.log(0).segments()) > 0


# ---- As people ask for it ----


def test_maintenance_compacts_what_is_due(tmp_path):
    """After the stream's own time, an hour unless it says otherwise; never where it is turned off."""
    with streamstore.open(tmp_path, maintenance=False) as store:
        stream = filled(store, compact_after=0)
        late = store.create_stream("late", durability="process")
        never = store.create_stream("never", durability="process", compact_after=None)
        for other in (late, never):
            other.put_records(lines(1000))
            other.log(0).roll()
        store.flush()
        before = content(stream.read())
        assert (stream.compact_after, late.compact_after, never.compact_after) == (0, 3600, None)
        report = store.maintain()
        assert (report.compacted_segments, report.unfinished, report.problems) == (4, False, [])
        assert report.compacted_log_bytes > 3 * report.compacted_file_bytes
        assert content(stream.read()) == before
        for other in (late, never):
            assert [item.packed for item in other.log(0).segments()] == [0, 0]
        late.set_compaction(0)
        never.set_compaction(10)
        assert store.maintain().compacted_segments == 1
        assert [item.packed for item in late.log(0).segments()] == [1, 0]
        assert never.compact_after == 10
        late.set_compaction(None)
        assert late.compact_after is None


def test_the_background_compacts_too(tmp_path, monkeypatch):
    """The thread that every store has by default gets round to it."""
    monkeypatch.setattr(streamstore.limits, "MAINTENANCE_FIRST_AFTER_US", 10_000)
    with streamstore.open(tmp_path, maintenance=False) as store:
        filled(store, compact_after=0)
    with streamstore.open(tmp_path) as store:
        stream = store.stream("s")
        deadline = time.monotonic() + 30
        while not stream.log(0).segments()[0].packed and time.monotonic() < deadline:
            time.sleep(0.05)
        assert stream.log(0).segments()[0].packed


def test_a_stream_is_compacted_at_once(tmp_path):
    """What was sealed long enough ago; the figures are those of `stat`."""
    with streamstore.open(tmp_path, maintenance=False) as store:
        stream = filled(store)
        seen = []
        assert stream.compact(after=3600).segments == 0
        done = stream.compact(rate=0, progress=seen.append)
        assert (done.segments, done.files) == (4, 1)
        assert sum(seen) == done.log_bytes
        [facts] = store.stats()["streams"]
        assert facts["compaction_ratio"] == pytest.approx(done.ratio, abs=0.1)
        assert facts["shards"][0]["compacted_segments"] == 1
        assert stream.compact().segments == 0
    with streamstore.open(tmp_path, read_only=True) as store, pytest.raises(errors.ReadOnlyError):
        store.stream("s").compact()


@pytest.mark.parametrize("value", [-1, 9_000 * 3600, "1", True])
def test_a_bad_time_is_refused(value, tmp_path):
    """Before anything is made."""
    with streamstore.open(tmp_path) as store:
        with pytest.raises((errors.InvalidArgumentError, errors.InvalidTypeError)):
            store.create_stream("s", compact_after=value)
        assert store.list_streams() == []


def test_a_compacted_store_is_copied_and_restored(tmp_path):
    """A snapshot is a store; a restored one has the same records under the same numbers' places."""
    with streamstore.open(tmp_path / "a", maintenance=False) as store:
        stream = filled(store)
        stream.compact(rate=0)
        before = [(record.data, record.arrival_us) for record in stream.read()]
        store.snapshot(tmp_path / "b")
    report = streamstore.verify(tmp_path / "b")
    assert (report.damage, report.notes) == ([], [])
    streamstore.restore(tmp_path / "b", tmp_path / "c")
    for name in "bc":
        with streamstore.open(tmp_path / name, maintenance=False) as store:
            assert [(record.data, record.arrival_us) for record in store.stream("s").read()] == before
