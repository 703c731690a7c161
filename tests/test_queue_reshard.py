"""A queue whose stream is split, merged or forgets: other handles go on with what they knew before."""

from __future__ import annotations

import pytest

import streamstore
from streamstore import errors


@pytest.mark.parametrize("guarded", [False, True])
def test_a_handle_that_knew_one_shard_goes_on_putting(tmp_path, guarded):
    """A message without a key needs a place from then on, alone or with others, delayed or not."""
    options = {"max_records": 100} if guarded else {}
    with streamstore.open(tmp_path / "s") as one, streamstore.open(tmp_path / "s") as two:
        queue = one.queue("jobs", **options)
        queue.put(0)
        two.stream("jobs").update_shard_count(4)
        for step, put in enumerate((queue.put, lambda body: queue.put_many([body]), queue.put), 1):
            put(step)
        two.stream("jobs").update_shard_count(1)
        queue.put(4, delay=0.001)
        queue.put_many([5, 6], keys=["a", None])
        with pytest.raises(errors.InvalidArgumentError):
            queue.put(7, key="")
        assert sorted(queue.get(timeout=5).body for _ in range(7)) == list(range(7))


def test_a_delayed_first_put_after_a_split_finds_its_place(tmp_path):
    """Also where it is the first one that the handle hears of the split by."""
    with streamstore.open(tmp_path / "s") as one, streamstore.open(tmp_path / "s") as two:
        queue, many = one.queue("jobs"), one.queue("many")
        for name, put in (
            ("jobs", lambda: queue.put(1, delay=0.001)),
            ("many", lambda: many.put_many([1], delay=0.001)),
        ):
            two.stream(name).update_shard_count(2)
            put()
        assert queue.get(timeout=5).body == many.get(timeout=5).body == 1


def test_an_id_is_remembered_over_a_split_and_a_merge(tmp_path):
    """The shard that goes on knows what was put into those that it came from."""
    with streamstore.open(tmp_path / "s") as store:
        queue = store.queue("jobs", dedup_window=3_600)
        first = [queue.put(number, id=f"id-{number}") for number in range(20)]
        for count in (3, 1):
            store.stream("jobs").update_shard_count(count)
            again = [queue.put(number, id=f"id-{number}") for number in range(20)]
            assert [item.sequence_number for item in again] == [item.sequence_number for item in first]
        assert queue.qsize() == 20


def test_what_retention_took_is_no_message_any_more(tmp_path):
    """Never delivered, in flight or dead: it is counted as expired, and nobody is told that it is there."""
    with streamstore.open(tmp_path / "s") as store:
        stream = store.create_stream("clicks")
        queue = store.create_queue("late", "clicks")
        for number in range(10):
            stream.put_record(b"%d" % number)
        messages = queue.get_many(4)
        messages[0].dead("for the test")
        stream.clear()
        facts = queue.stats()
        assert [facts[kind] for kind in ("fresh", "waiting", "in_flight", "dead")] == [0, 0, 0, 0]
        assert facts["total_expired"] == 10
        assert (len(queue.dead_letters), queue.dead_letters.restore()) == (0, 0)
        messages[1].ack()
        with pytest.raises(errors.StaleReceiptError):
            messages[2].nack()
        stream.put_record(b"new")
        assert queue.get_nowait().body == b"new"


def test_an_id_goes_to_one_shard_whatever_a_handle_knew(tmp_path):
    """Also one that opened the queue before the split that the other knows of."""
    with streamstore.open(tmp_path / "s") as one:
        queue = one.queue("jobs", dedup_window=3_600)
        one.stream("jobs").update_shard_count(8)
        with streamstore.open(tmp_path / "s") as two:
            other = two.queue("jobs")
            for number in range(20):
                queue.put(number, id=f"id-{number}")
                other.put(number, id=f"id-{number}")
            assert queue.qsize() == 20


def test_the_children_of_a_shard_that_was_forgotten_are_read(tmp_path):
    """Also by a handle that saw neither the split nor the end of what it came from."""
    with streamstore.open(tmp_path / "s") as one, streamstore.open(tmp_path / "s") as two:
        stream = one.create_stream("clicks")
        queue = one.create_queue("late", "clicks")
        other = two.open_queue("late")
        stream.put_record(b"1", "a")
        stream.put_record(b"2", "a")
        queue.get().ack()
        other.get().nack()
        two.stream("clicks").update_shard_count(3)
        two.stream("clicks").clear()
        stream.put_record(b"new", "a")
        assert other.stats()["fresh"] == 1
        assert queue.get_nowait().body == b"new"
