"""Splitting and merging: the shards afterwards, writers that go on, readers that keep each key's order."""

from __future__ import annotations

import collections
import random
import threading

import pytest

from streamstore import errors, events, native, reshard, routing
from streamstore.limits import HASH_KEY_END

HALF = HASH_KEY_END // 2


@pytest.fixture
def stream(store):
    return store.create_stream("s", durability="process")


def ids(*indexes):
    return [routing.shard_id(index) for index in indexes]


def put(stream, first, count=200, keys=20):
    """Records whose data say their key and a number that rises."""
    entries = [(b"k%d %d" % (n % keys, n), f"k{n % keys}") for n in range(first, first + count)]
    return stream.put_records(entries)


def check(records, total):
    """Each number once, and in order for each key."""
    told = [record.data.split() for record in records]
    assert sorted(int(number) for _, number in told) == list(range(total))
    by_key = collections.defaultdict(list)
    for key, number in told:
        by_key[key].append(int(number))
    assert all(numbers == sorted(numbers) for numbers in by_key.values())


def churn(stream, first=0):
    """Put, split, put, merge across, put; returns how many records were put."""
    put(stream, first)
    stream.split_shard(stream.shards()[0].id if first == 0 else stream.shards()[-1].id)
    put(stream, first + 200)
    open_ids = [shard.id for shard in stream.shards() if not shard.is_closed]
    stream.merge_shards(open_ids[0], open_ids[1])
    put(stream, first + 400)
    return first + 600


def test_a_split_makes_two_of_one(stream):
    """Ranges, family, what is closed, and where records of before and after stand."""
    put(stream, 0)
    children = stream.split_shard(ids(0)[0], HALF)
    assert [child.id for child in children] == ids(1, 2)
    assert [tuple(child.hash_range) for child in children] == [(0, HALF - 1), (HALF, HASH_KEY_END - 1)]
    parent = stream.shard(ids(0)[0])
    assert (parent.is_closed, parent.children, parent.record_count) == (True, tuple(ids(1, 2)), 200)
    assert all(
        (c.parents, c.parent, c.adjacent_parent, c.is_closed) == ((parent.id,), parent.id, None, False)
        for c in children
    )
    assert parent.sequence_range.end < children[0].sequence_range.start
    assert {result.shard_id for result in put(stream, 200)} == set(ids(1, 2))
    assert [shard.id for shard in stream.shards()] == ids(0, 1, 2)
    with pytest.raises(errors.ShardClosedError):
        parent.append([(b"x", "k")])
    check(stream.read(), 400)


def test_a_merge_makes_one_of_two(stream):
    """In the order the parents were named; its records come after those of both."""
    stream.split_shard(ids(0)[0])
    put(stream, 0)
    child = stream.merge_shards(*ids(2, 1))
    assert child.id == ids(3)[0]
    assert (child.parent, child.adjacent_parent) == tuple(ids(2, 1))
    assert tuple(child.hash_range) == (0, HASH_KEY_END - 1)
    put(stream, 200)
    check(stream.read(), 400)


@pytest.mark.parametrize("merge", [False, True])
def test_reads_keep_the_order_of_each_key(stream, merge):
    """From the oldest shard to the newest, also merged by arrival, also by time."""
    total = churn(stream, 0)
    stream.update_shard_count(5)
    put(stream, total)
    stream.update_shard_count(3)
    put(stream, total + 200)
    records = list(stream.read(merge=merge))
    check(records, total + 400)
    if merge:
        assert [r.arrival_us for r in records] == sorted(r.arrival_us for r in records)
    check(stream.read(0, merge=merge), total + 400)
    assert [r.data for r in stream.last(50)] == [r.data for r in stream.read(merge=True)][-50:]


@pytest.mark.parametrize("merge", [False, True])
def test_a_saved_position_crosses_reshards(stream, merge):
    """Kept after every batch and read on from by a new reader, with reshards in between: nothing lost or repeated."""
    total, seen, position = 0, [], "TRIM_HORIZON"
    chance = random.Random(5)
    for _ in range(30):
        put(stream, total)
        total += 200
        open_ids = [shard.id for shard in stream.shards() if not shard.is_closed]
        if len(open_ids) > 4 or (len(open_ids) > 1 and chance.random() < 0.4):
            stream.update_shard_count(chance.randrange(1, len(open_ids)))
        else:
            stream.split_shard(chance.choice(open_ids))
        reader = stream.read(position, merge=merge)
        for record in reader:
            seen.append(record)
            if chance.random() < 0.005:
                break
        position = reader.position
        reader.close()
    seen += stream.read(position, merge=merge)
    check(seen, total)
    assert len(stream.read(position).position["shards"]) <= len(stream.shards())


def test_a_follower_discovers_the_children(stream):
    """It goes on through splits and merges, and its position names no shard that is done with."""
    with stream.read(follow=True, timeout=5) as reader:
        total = 0
        for _ in range(3):
            total = churn(stream, total)
        seen = []
        for record in reader:
            seen.append(record)
            if len(seen) == total:
                break
        check(seen, total)
        assert set(reader.position["shards"]) <= {s.id for s in stream.shards() if not s.is_closed} | set(ids(5, 7, 8))
        stream.put_record(b"k0 %d" % total, "k0")
        check([*seen, next(reader)], total + 1)


def test_latest_is_the_open_shards(stream):
    """A closed one has nothing that comes later; a follower from there sees what is put after a split."""
    put(stream, 0)
    stream.split_shard(ids(0)[0])
    assert list(stream.read("LATEST")) == []
    with stream.read("LATEST", follow=True, timeout=5) as reader:
        put(stream, 1000, 5)
        stream.update_shard_count(3)
        put(stream, 1005, 5)
        assert sorted(int(next(reader).data.split()[1]) for _ in range(10)) == list(range(1000, 1010))


def test_the_end_of_a_shard_names_its_children(stream):
    """A batch that ends a closed shard says so, and so does one from the position behind it."""
    put(stream, 0, 10)
    stream.split_shard(ids(0)[0])
    batch = stream.shard(ids(0)[0]).read()
    assert (len(batch), batch.end_of_shard, batch.child_shards) == (10, True, tuple(ids(1, 2)))
    again = stream.shard(ids(0)[0]).read(batch.next_position)
    assert (len(again), again.end_of_shard, again.child_shards) == (0, True, tuple(ids(1, 2)))
    assert stream.shard(ids(1)[0]).read().end_of_shard is False
    put(stream, 10, 10)
    check([*batch, *stream.read(batch.next_position)], 20)


def test_counts_are_reached_in_the_fewest_steps(stream):
    """Each step is told; equal ranges at the end; a count that is there already takes none."""
    told = []
    shards = stream.update_shard_count(4, lambda done, whole: told.append((done, whole)))
    assert [tuple(shard.hash_range) for shard in shards] == [tuple(item) for item in routing.uniform_ranges(4)]
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert [shard.id for shard in stream.update_shard_count(4)] == [shard.id for shard in shards]
    assert [tuple(s.hash_range) for s in stream.update_shard_count(3)] == [tuple(i) for i in routing.uniform_ranges(3)]


@pytest.mark.parametrize("before", ["intent", "first close", "commit"])
def test_a_merge_that_died_is_finished_by_whoever_comes(store, stream, before, monkeypatch):
    """A writer, a reader, the next resharder: each finishes what stands, and nobody loses a record."""
    stream.split_shard(ids(0)[0])
    put(stream, 0)
    step = stream.info.lineage.merge(1, 2)
    assert store.catalog.intend(stream.check(), step)
    if before != "intent":
        stream.log(1).close(reshard.encode(step))
    if before == "commit":
        stream.log(2).close(reshard.encode(step))
    put(stream, 200)
    check(stream.read(), 400)
    if before == "intent":
        assert stream.check().pending == step  # nobody met it
        stream.update_shard_count(1)
    assert stream.check().lineage.open == [3]


def test_a_close_frame_alone_is_enough(store, stream):
    """As in a copied catalog: no intent, no commit; the frame says who goes on."""
    put(stream, 0)
    step = stream.check().lineage.split(0, HALF)
    stream.log(0).close(reshard.encode(step))
    with stream.read(follow=True, timeout=5) as reader:
        seen = [next(reader) for _ in range(200)]
        assert stream.check().lineage.open == range(1)
        put(stream, 200)
        seen += [next(reader) for _ in range(200)]
        check(seen, 400)
    assert stream.check().lineage.open == [1, 2]


def test_a_decision_yields_to_a_close_frame(store, stream):
    """A shard that ended in another way than is asked for is gone on with first, and the question asked anew."""
    stream.log(0).close(reshard.encode(stream.check().lineage.split(0, HALF)))
    with pytest.raises(errors.InvalidArgumentError, match="is closed"):
        stream.split_shard(ids(0)[0], 5)
    assert [shard.hash_range.start for shard in stream.shards()] == [0, 0, HALF]


def test_a_mixed_batch_is_put_where_it_belongs(stream):
    """Those entries alone whose shard was split are put again; results are in the caller's order, of the same type."""
    stream.update_shard_count(4)
    put(stream, 0)
    other = stream._home.lazy_stream("s")
    put(other, 200)
    stream.split_shard(stream.shards()[-1].id)
    stream.split_shard(stream.shards()[-4].id)
    results = put(other, 400)
    assert type(results) is native.PutResults
    assert len({result.sequence_number for result in results}) == 200
    found = {record.sequence_number: record.data for record in stream.read()}
    assert [found[result.sequence_number] for result in results] == [b"k%d %d" % (n % 20, n) for n in range(400, 600)]
    check(stream.read(), 600)


def test_racing_resharders_leave_a_whole_stream(store, stream):
    """Threads that split, merge and set counts at once, and writers beside them."""
    total, changes = [0], []
    lock = threading.Lock()

    def work(who):
        own = store.lazy_stream("s")
        chance = random.Random(who)
        for _ in range(8):
            with lock:
                put(own, total[0], 50)
                total[0] += 50
            try:
                chance.choice(
                    [
                        lambda: own.update_shard_count(chance.randrange(1, 6)),
                        lambda: own.split_shard(chance.choice(own.shards()).id),
                        lambda: own.merge_shards(*(s.id for s in chance.sample(own.shards(), 2))),
                    ]
                )()
                changes.append(who)
            except (errors.InvalidArgumentError, ValueError):  # closed by another one, not adjacent, or the only one
                continue

    threads = [threading.Thread(target=work, args=(who,)) for who in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check(stream.read(), total[0])
    assert stream.check().pending is None
    assert len(changes) >= 6


def test_wrong_input_says_what_to_do(store, stream):
    """Closed, unknown, not adjacent, out of range, of the wrong type; a read-only store."""
    stream.split_shard(ids(0)[0])
    for call, says in [
        (lambda: stream.split_shard(ids(0)[0]), "is closed"),
        (lambda: stream.split_shard(ids(9)[0]), "no shard"),
        (lambda: stream.split_shard(ids(1)[0], HALF), "begins at one of"),
        (lambda: stream.merge_shards(*ids(1, 1)), "not adjacent"),
        (lambda: stream.update_shard_count(0), "1 to"),
        (lambda: stream.read(on_corruption="ignore"), "on_corruption"),
    ]:
        with pytest.raises(errors.InvalidArgumentError, match=says):
            call()
    for call in (lambda: stream.split_shard(ids(1)[0], "5"), lambda: stream.update_shard_count("5")):
        with pytest.raises(errors.InvalidTypeError):
            call()


def test_clearing_and_deleting_know_all_shards(store, stream):
    """Closed parents are cleared too; a deleted stream takes no record anywhere."""
    churn(stream)
    stream.clear()
    assert list(stream.read()) == []
    put(stream, 0)
    check(stream.read(), 200)
    store.delete_stream("s")
    with pytest.raises(errors.StreamNotFoundError):
        put(stream, 0)
    with pytest.raises(errors.StreamNotFoundError):
        stream.split_shard(ids(3)[0])


def test_a_count_is_reached_over_the_step_of_a_dead_process(store, stream):
    """What it had decided and not made durable is finished first, and is in the plan like any other shard."""
    shards = stream.info.lineage
    orphan = events.encode("reshard", id=stream.info.id, **shards.split(0, 12345).to_map())
    native.Log.append(store.catalog._current_log(), [(orphan,)])  # published; nobody sees it yet
    assert stream.info.pending is None
    stream.update_shard_count(3)
    assert [shard.hash_range for shard in stream.shards() if not shard.is_closed] == routing.uniform_ranges(3)
    assert any(shard.hash_range.start == 12345 for shard in stream.shards())
