"""What befalls a resharded stream: reopening, death in the middle, expiry, damage, other processes, event loops."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import os
import signal

import pytest
from test_processes import finish, start
from test_reshard import HALF, check, ids, put

import streamstore
from streamstore import errors, reshard


def expire(store, stream, *indexes):
    """What maintenance does once all their records are past retention."""
    store.catalog.publish("expire", stream.check(), shards=list(indexes))


def test_the_next_opener_finishes_what_was_decided(tmp_path):
    """An intent that stood when everybody died is carried out before anybody asks."""
    with streamstore.open(tmp_path) as store:
        stream = store.create_stream("s", durability="process")
        put(stream, 0)
        assert store.catalog.intend(stream.check(), stream.info.lineage.split(0, HALF))
    with streamstore.open(tmp_path) as store:
        assert store.stream("s").check().lineage.open == [1, 2]
        assert store.stream("s").check().pending is None
        check(store.stream("s").read(), 200)


def test_a_reopened_store_knows_its_shards(tmp_path):
    """Lineage, ends and epochs are as before; children go on above their parents, in numbers and in time."""
    with streamstore.open(tmp_path) as store:
        stream = store.create_stream("s", durability="process")
        put(stream, 0)
        stream.split_shard(ids(0)[0])
        before = stream.check()
    with streamstore.open(tmp_path) as store:
        stream = store.stream("s")
        assert stream.info == before
        parent = stream.shards()[0]
        newest = list(parent.read())[-1]
        result = put(stream, 200)[0]
        assert result.sequence_number > parent.sequence_range.end > newest.sequence_number
        assert parent.sequence_range.end < stream.shards()[1].sequence_range.start <= result.sequence_number
        assert all(record.arrival_us >= newest.arrival_us for shard in stream.shards()[1:] for record in shard.read())


def test_children_arrive_no_earlier_than_their_parents(store, monkeypatch):
    """Also where the catalog says that the parent's last record came from a clock that was ahead."""
    stream = store.create_stream("s", durability="process")
    put(stream, 0, 10)
    step = stream.check().lineage.split(0, HALF)
    stream.log(0).close(reshard.encode(step))
    ahead = reshard._end(stream.log(0))._replace(arrival_us=4_000_000_000_000_000)
    store.catalog.commit(stream.check(), step, {0: ahead})
    put(stream, 10, 10)
    assert {record.arrival_us for shard in stream.shards()[1:] for record in shard.read()} == {ahead.arrival_us}


def test_a_position_whose_shards_expired_goes_on_with_their_heirs(store):
    """Read to their end nothing is lost, whether the close frame had been seen or not; else it is told once."""
    stream = store.create_stream("s", durability="process")
    put(stream, 0)
    open_end = stream.read()
    seen = list(open_end)
    half = stream.shards()[0].read(limit=100).next_position
    stream.split_shard(ids(0)[0], HALF)
    put(stream, 200)
    stream.merge_shards(*ids(1, 2))
    put(stream, 400)
    expire(store, stream, 0)
    assert [shard.id for shard in stream.shards()] == ids(1, 2, 3)
    with pytest.raises(errors.InvalidArgumentError, match="past retention; go on with"):
        stream.shard(ids(0)[0])
    check([*seen, *stream.read(open_end.position)], 600)
    with pytest.raises(errors.TrimmedError) as caught, stream.read(half) as reader:
        next(reader)
    assert caught.value.shard_id == ids(0)[0]
    assert len(list(stream.read(caught.value.next_position))) == 400
    with stream.read(half, on_trimmed="skip") as reader:
        assert (len(list(reader)), reader.trimmed_count) == (400, 1)
    expire(store, stream, 1, 2)
    with pytest.raises(errors.TrimmedError), stream.read(open_end.position) as reader:
        next(reader)
    with stream.read(open_end.position, on_trimmed="skip") as reader:
        assert (len(list(reader)), reader.trimmed_count) == (200, 2)


def test_an_empty_shard_that_expired_is_no_loss(store):
    """There was nothing to read in it."""
    stream = store.create_stream("s", durability="process")
    position = stream.read().position
    stream.split_shard(ids(0)[0])
    put(stream, 0)
    expire(store, stream, 0)
    check(stream.read(position), 200)


def damage(stream, index, needle):
    """Flip a byte of the record that holds `needle`, in the file."""
    folder = os.path.join(stream.attachment.stream_directory(stream.info.id), str(index))
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        with open(path, "rb") as file:
            at = file.read().find(needle)
        if at >= 0:
            with open(path, "r+b") as file:
                file.seek(at)
                file.write(b"?")
            return
    raise AssertionError(f"{needle!r} is in no file")


@pytest.mark.parametrize("merge", [False, True])
def test_damage_is_raised_or_passed_over_and_counted(store, caplog, merge):
    """The other shards, and what stands before and behind, are read either way."""
    stream = store.create_stream("s", durability="process")
    put(stream, 0)
    stream.split_shard(ids(0)[0])
    damage(stream, 0, b"k13 113")
    put(stream, 200)
    with pytest.raises(errors.CorruptRangeError), stream.read(merge=merge) as reader:
        list(reader)
    with caplog.at_level(logging.WARNING, "streamstore"), stream.read(merge=merge, on_corruption="skip") as reader:
        numbers = sorted(int(record.data.split()[1]) for record in reader)
    assert (numbers, reader.corrupt_count) == ([n for n in range(400) if n != 113], 1)
    assert "damaged" in caplog.text


def test_trimmed_records_are_counted_and_logged(store, caplog):
    """A reader behind a clear goes on, and says how often."""
    stream = store.create_stream("s", durability="process")
    put(stream, 0)
    with stream.read(follow=True, timeout=5, on_trimmed="skip") as reader:
        next(reader)
        position = reader.position
        stream.clear()
    put(stream, 200, 5)
    with caplog.at_level(logging.WARNING, "streamstore"), stream.read(position, on_trimmed="skip") as reader:
        assert (len(list(reader)), reader.trimmed_count) == (5, 1)
    assert "trimmed" in caplog.text


WRITER = """
    with streamstore.open(sys.argv[1], create=False) as store:
        stream, n = store.stream("s"), 0
        print("ready", flush=True)
        for line in sys.stdin:
            for _ in range(100):
                stream.put_record(b"k%d %d" % (n % 20, n), f"k{n % 20}")
                n += 1
            print("done", flush=True)
"""


def test_writers_elsewhere_notice_nothing(tmp_path):
    """Another process puts through splits and merges that it was not told of."""
    with streamstore.open(tmp_path) as store:
        stream = store.create_stream("s", durability="process")
        writer = start(WRITER, tmp_path)
        assert writer.stdout.readline() == "ready\n"
        for step in ("split", "count", "merge", "none"):
            writer.stdin.write("go\n")
            writer.stdin.flush()
            if step == "split":
                stream.split_shard(ids(0)[0])
            elif step == "count":
                stream.update_shard_count(4)
            elif step == "merge":
                stream.update_shard_count(1)
            assert writer.stdout.readline() == "done\n"
        finish(writer)
        check(stream.read(), 400)


RESHARDER = """
    import os, signal
    from streamstore import native, reshard
    from streamstore.catalog import Catalog
    point, kill = sys.argv[2], lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
    def after(owner, name, count=1):
        real, left = getattr(owner, name), [count]
        def wrapped(*arguments):
            result = real(*arguments)
            left[0] -= 1
            if not left[0]:
                kill()
            return result
        setattr(owner, name, wrapped)
    with streamstore.open(sys.argv[1], create=False) as store:
        stream = store.stream("s")
        if point == "intend":
            after(Catalog, "intend")
        elif point.startswith("close"):
            after(native.Log, "close", int(point[-1]))
        else:
            setattr(Catalog, "commit", kill) if point == "before" else after(Catalog, "commit")
        if sys.argv[3] == "split":
            stream.split_shard("shardId-000000000000")
        else:
            stream.merge_shards("shardId-000000000000", "shardId-000000000001")
"""


@pytest.mark.parametrize("reopen", [False, True], ids=["beside others", "alone"])
@pytest.mark.parametrize(
    ("kind", "point"),
    [
        (kind, point)
        for kind in ("split", "merge")
        for point in ("intend", "close1", "close2", "before", "commit")
        if (kind, point) != ("split", "close2")
    ],
)
def test_a_resharder_may_die_between_any_two_steps(tmp_path, kind, point, reopen):
    """Whoever puts or reads next finishes it; no record is lost, and none goes to a closed shard."""
    shards = {"split": 1, "merge": 2}[kind]
    with streamstore.open(tmp_path) as store:
        stream = store.create_stream("s", shards, durability="process")
        put(stream, 0)
        if not reopen:
            victim = start(RESHARDER, tmp_path, point, kind)
            victim.communicate(timeout=100)
            assert victim.returncode == -signal.SIGKILL
    if reopen:
        victim = start(RESHARDER, tmp_path, point, kind)
        victim.communicate(timeout=100)
        assert victim.returncode == -signal.SIGKILL
    with streamstore.open(tmp_path) as store:
        stream = store.stream("s")
        put(stream, 200)
        check(stream.read(), 400)
        stream.finish_reshard()
        assert stream.check().lineage.open == {"split": [1, 2], "merge": [2]}[kind]
        put(stream, 400)
        check(stream.read(merge=True), 600)


def test_the_async_twins_cross_reshards(tmp_path):
    """Splits and merges from a task, a follower that goes on in the children, positions as JSON."""

    async def run():
        async with streamstore.aio.open(tmp_path) as store:
            stream = await store.create_stream("s", durability="process")
            entries = [(b"k%d %d" % (n % 7, n), f"k{n % 7}") for n in range(300)]
            await stream.put_records(entries[:100])
            reader = stream.read(follow=True, timeout=20)
            seen = [await reader.__anext__() for _ in range(50)]
            children = await stream.split_shard(ids(0)[0])
            await stream.put_records(entries[100:200])
            assert [child.parent for child in children] == ids(0, 0)
            merged = await stream.merge_shards(*(child.id for child in children))
            await stream.put_records(entries[200:])
            seen += [await reader.__anext__() for _ in range(200)]
            position = json.loads(json.dumps(reader.position))
            reader.close()
            assert len(await stream.update_shard_count(2)) == 2
            seen += [record async for record in stream.read(position)]
            check(seen, 300)
            assert (merged.adjacent_parent, merged.children != (), reader.trimmed_count) == (children[1].id, True, 0)

    asyncio.run(run())


def test_an_end_position_cuts_every_branch(store):
    """What was read up to a position and what is read from it make the whole, whichever shards each was bound in."""
    stream = store.create_stream("s", durability="process")
    positions, total = [stream.read().position], 0
    for step in (lambda: stream.split_shard(ids(0)[0]), lambda: stream.update_shard_count(3), lambda: None):
        put(stream, total)
        total += 200
        with stream.read() as reader:
            next(reader.batches())
            positions.append(reader.position)
        step()
    positions.append(stream.read("LATEST").position)
    everything = [record.sequence_number for record in stream.read()]
    for position in positions:
        before = list(stream.read(end=position))
        behind = list(stream.read(position))
        assert sorted(record.sequence_number for record in [*before, *behind]) == sorted(everything)
    for early, late in itertools.pairwise(positions):
        between = [record.sequence_number for record in stream.read(early, end=late)]
        again = [record.sequence_number for record in stream.read(early, end=late, follow=True, timeout=5)]
        assert sorted(between) == sorted(again)
    single = stream.shard(ids(2)[0]).read(limit=1).next_position
    with pytest.raises(errors.InvalidArgumentError, match="other shards"):
        stream.read(stream.shard(ids(1)[0]).tail, end=single)


def test_a_read_only_follower_waits_for_somebody_who_may_finish(tmp_path):
    """It cannot carry a step out itself: it goes on once another process did."""
    with streamstore.open(tmp_path) as store, streamstore.open(tmp_path, read_only=True) as view:
        stream = store.create_stream("s", durability="process")
        put(stream, 0)
        stream.log(0).close(reshard.encode(stream.check().lineage.split(0, HALF)))
        with view.stream("s").read(follow=True, timeout=0.5) as reader:
            seen = list(reader)
            assert len(seen) == 200
        with view.stream("s").read(reader.position, follow=True, timeout=10) as reader:
            assert reader.poll() == []
            put(stream, 200)
            for record in reader:
                seen.append(record)
                if len(seen) == 400:
                    break
        check(seen, 400)


def test_frames_that_are_no_records_are_no_loss(tmp_path):
    """Between the last record and the close frame there may be an epoch frame: who read the record read it all."""
    with streamstore.open(tmp_path) as store:
        put(store.create_stream("s", durability="process"), 0)
    with streamstore.open(tmp_path) as store:
        stream = store.stream("s")
        stream.split_shard(ids(0)[0])
        with stream.read() as reader:
            seen = [next(reader) for _ in range(200)]
            position = reader.position
        put(stream, 200)
        expire(store, stream, 0)
        check([*seen, *stream.read(position)], 400)
