"""The queue as people use it, in one process: put, get, settle, wait; every wrong use says what is wrong."""

from __future__ import annotations

import pickle
import queue as std
import threading
import time

import pytest

import streamstore
from streamstore import errors


@pytest.fixture
def store(tmp_path):
    with streamstore.open(tmp_path / "store", durability="process") as made:
        yield made


@pytest.fixture
def queue(store):
    return store.queue("jobs")


def bodies(queue):
    found = []
    while True:
        try:
            message = queue.get_nowait()
        except std.Empty:
            return found
        found.append(message.body)
        message.ack()


def test_messages_come_in_the_order_in_which_they_were_put(queue):
    """First deliveries of one shard are first in, first out."""
    for number in range(50):
        queue.put({"n": number})
    assert [body["n"] for body in bodies(queue)] == list(range(50))


def test_an_acknowledged_message_never_comes_again(tmp_path):
    """Also after a reopen; acknowledging twice is no error."""
    with streamstore.open(tmp_path / "s") as store:
        queue = store.queue("jobs")
        queue.put(1)
        queue.put(2)
        message = queue.get()
        message.ack()
        message.ack()
    with streamstore.open(tmp_path / "s") as store:
        assert bodies(store.queue("jobs")) == [2]


def test_what_a_closed_store_had_in_flight_comes_back_at_once(tmp_path):
    """The process lock of the first handle is gone: no timeout has to pass."""
    with streamstore.open(tmp_path / "s") as store:
        store.queue("jobs", visibility=43_200).put("x")
        assert store.queue("jobs").get().receive_count == 1
    with streamstore.open(tmp_path / "s") as store:
        assert store.queue("jobs").get(timeout=5).receive_count == 2


def test_a_given_back_message_comes_before_new_ones(queue):
    """Its count grows, its id stays, its receipt changes."""
    queue.put("a")
    queue.put("b")
    first = queue.get()
    first.nack()
    second = queue.get()
    assert (second.body, second.receive_count, second.id) == ("a", 2, first.id)
    assert second.receipt != first.receipt
    assert second.first_received == first.first_received


def test_a_superseded_receipt_is_stale(queue):
    """After the time passed somebody else has it; the first receiver can do nothing any more."""
    queue.put("a")
    first = queue.get(visibility=0)
    second = queue.get()
    for act in (first.ack, first.nack, first.dead, lambda: first.extend(5)):
        with pytest.raises(errors.StaleReceiptError):
            act()
    second.ack()
    first.ack()  # it is acknowledged, and nobody can tell by whom


def test_an_expired_receipt_that_nobody_took_over_is_good(queue):
    """Late is not lost."""
    queue.put("a")
    message = queue.get(visibility=0)
    message.ack()
    assert queue.stats()["total_acknowledged"] == 1
    assert queue.empty()


def test_dead_letters_are_those_that_were_received_too_often(store):
    """By nack or by time; restoring resets the count."""
    queue = store.queue("jobs", max_receive_count=2)
    queue.put("bad")
    queue.put("slow")
    for _ in range(2):
        queue.get().nack()
    for _ in range(2):
        queue.get(visibility=0)
    with pytest.raises(std.Empty):
        queue.get_nowait()
    letters = list(queue.dead_letters)
    assert [(letter.body, letter.receive_count) for letter in letters] == [("bad", 2), ("slow", 2)]
    letters[0].restore()
    message = queue.get_nowait()
    assert (message.body, message.receive_count) == ("bad", 1)
    message.ack()
    assert queue.dead_letters.purge() == 1
    assert len(queue.dead_letters) == 0
    assert queue.stats()["in_flight"] == 0


def test_dead_letters_are_received_like_messages(store):
    """One receiver at a time has a dead letter; its receipt goes stale with the next receive."""
    queue = store.queue("jobs", max_receive_count=1)
    queue.put("bad")
    queue.get().dead("no such user")
    (first,) = queue.dead_letters.receive(visibility=0)
    assert first.reason == "no such user"
    (second,) = queue.dead_letters.receive(visibility=60)
    assert queue.dead_letters.receive() == []
    with pytest.raises(errors.StaleReceiptError):
        first.ack()
    second.ack()
    assert len(queue.dead_letters) == 0


def test_a_body_that_cannot_be_decoded_can_be_killed(store):
    """The codec runs when the body is looked at, not in get."""
    raw = store.queue("jobs", codec="bytes")
    raw.put(b"\xff{")
    store.parts.clear()
    queue = streamstore.queue.Queue.of(store, "jobs", "json", raw.engine)
    message = queue.get()
    with pytest.raises(ValueError, match=r"codec|decode|Expecting"):
        _ = message.body
    message.dead("not JSON")
    assert [letter.data for letter in queue.dead_letters] == [b"\xff{"]


def test_a_key_has_one_message_in_flight(store):
    """The next of a key comes when the one before is settled, in the order of putting."""
    queue = store.queue("jobs", key_order=True)
    for body, key in (("a1", "a"), ("a2", "a"), ("b1", "b"), ("a3", "a"), ("free", None)):
        queue.put(body, key=key)
    first = queue.get_many(10)
    assert [message.body for message in first] == ["a1", "b1", "free"]
    assert queue.qsize() == 2
    first[0].nack()
    again = queue.get_many(10)
    assert [message.body for message in again] == ["a1"]
    again[0].ack()
    second = queue.get_many(10)
    assert [message.body for message in second] == ["a2"]
    second[0].ack()
    assert queue.get().body == "a3"


def test_an_id_is_put_once_within_the_window(tmp_path):
    """Also after it was acknowledged, and after a reopen."""
    with streamstore.open(tmp_path / "s") as store:
        queue = store.queue("jobs", dedup_window=3_600)
        first = queue.put("a", id="1")
        assert queue.put("a", id="1").sequence_number == first.sequence_number
        queue.put("b", id="2")
        assert bodies(queue) == ["a", "b"]
    with streamstore.open(tmp_path / "s") as store:
        queue = store.queue("jobs")
        assert queue.put("a", id="1").sequence_number == first.sequence_number
        assert queue.empty()
        results = queue.put_many(["c", "c"], ids=["3", "3"])
        assert results[0].sequence_number == results[1].sequence_number
        assert bodies(queue) == ["c"]


def test_a_full_queue_raises_or_waits(store):
    """max_records counts what is not acknowledged; a put waits for room as long as it is told."""
    queue = store.queue("jobs", max_records=2)
    queue.put(1)
    queue.put(2)
    assert queue.full()
    with pytest.raises(std.Full):
        queue.put_nowait(3)
    with pytest.raises(std.Full):
        queue.put(3, timeout=0.01)
    message = queue.get()
    threading.Timer(0.05, message.ack).start()
    queue.put(3, timeout=10)
    assert bodies(queue) == [2, 3]
    strict = store.queue("strict", max_bytes=500, on_full="error")
    strict.put(b"x" * 300)
    with pytest.raises(std.Full):
        strict.put(b"x" * 300)


def test_get_waits_and_put_wakes_it(queue):
    """One waiter after the other is served, each with another message."""
    got = []
    threads = [threading.Thread(target=lambda: got.append(queue.get(timeout=20).body)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for number in range(8):
        queue.put(number)
    for thread in threads:
        thread.join()
    assert sorted(got) == list(range(8))


def test_a_timeout_ends_in_empty(queue):
    """Also for who waits behind another waiter."""

    def wait():
        with pytest.raises(std.Empty):
            queue.get(timeout=0.05)

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with pytest.raises(std.Empty):
        queue.get(timeout=0)


def test_a_nack_wakes_a_waiter(queue):
    """What is given back goes to whoever waits."""
    queue.put("x")
    message = queue.get()
    got = []
    thread = threading.Thread(target=lambda: got.append(queue.get(timeout=20)))
    thread.start()
    time.sleep(0.05)
    message.nack()
    thread.join()
    assert got[0].receive_count == 2


def test_closing_ends_every_wait(queue):
    """A blocked get raises ClosedError, a loop ends, later calls raise."""
    ended = []

    def wait():
        with pytest.raises(errors.ClosedError):
            queue.get()
        ended.append("get")

    def loop():
        for message in queue:
            message.ack()
        ended.append("loop")

    threads = [threading.Thread(target=wait), threading.Thread(target=wait), threading.Thread(target=loop)]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    queue.close()
    for thread in threads:
        thread.join(20)
    assert sorted(ended) == ["get", "get", "loop"]
    for call in (queue.get, lambda: queue.put(1), lambda: queue.get_many(2), lambda: queue.put_many([1])):
        with pytest.raises(errors.ClosedError):
            call()


def test_a_block_acknowledges_or_gives_back(queue):
    """On success it is done; on an exception it comes again, and the exception goes on."""
    queue.put("x")
    with pytest.raises(KeyError), queue.get():
        raise KeyError("no")
    with queue.get() as message:
        assert message.receive_count == 2
    assert queue.stats()["total_acknowledged"] == 1


def test_join_waits_for_the_last_acknowledgement(queue):
    """Not only for an empty queue."""
    queue.put("x")
    message = queue.get()
    assert not queue.join(timeout=0.02)
    threading.Timer(0.05, message.ack).start()
    assert queue.join(timeout=20)


def test_many_are_put_received_and_acknowledged_together(queue):
    """In order, with one event each."""
    queue.put_many(range(250))
    first = queue.get_many(100)
    assert [message.body for message in first] == list(range(100))
    queue.ack_many(first)
    queue.ack(*[message.receipt for message in queue.get_many(100)])
    assert queue.qsize() == 50
    assert queue.stats()["in_flight"] == 0


def test_one_stale_receipt_acknowledges_nothing(queue):
    """ack_many is all or none."""
    queue.put_many([1, 2])
    stale, good = queue.get_many(2, visibility=0)
    queue.get_many(1)
    with pytest.raises(errors.StaleReceiptError):
        queue.ack_many([good, stale])
    assert queue.stats()["total_acknowledged"] == 0


def test_several_shards_spread_messages(store):
    """Everything comes, keys stay in order."""
    queue = store.queue("wide", shard_count=4)
    for number in range(200):
        queue.put([number % 5, number], key=str(number % 5))
    queue.put_many(["free"] * 20)
    found = bodies(queue)
    assert found.count("free") == 20
    for key in range(5):
        numbers = [body[1] for body in found if body != "free" and body[0] == key]
        assert numbers == sorted(numbers)
        assert len(numbers) == 40


def test_queues_over_one_stream_are_independent(store):
    """Each delivers every record that came after it was made, or from where it was told to start."""
    stream = store.create_stream("clicks", 2)
    stream.put_records([(b"old", str(number)) for number in range(10)])
    late = store.create_queue("late", "clicks")
    early = store.create_queue("early", "clicks", start="TRIM_HORIZON")
    stream.put_record(b"new", "k")
    assert bodies(late) == [b"new"]
    assert sorted(bodies(early)) == [b"new"] + [b"old"] * 10
    assert store.list_queues() == ["early", "late"]
    assert store.list_streams() == ["clicks"]


def test_a_queue_goes_on_through_reshards(store):
    """Children come after their parents, so keys stay in order, and nothing is left out or comes twice."""
    stream = store.create_stream("clicks", 2)
    queue = store.create_queue("late", "clicks")
    number = 0
    for count in (4, 1, 3):
        for _ in range(30):
            stream.put_record(b"%d" % number, str(number % 7))
            number += 1
        stream.update_shard_count(count)
    stream.put_record(b"%d" % number, str(number % 7))
    found = [int(body) for body in bodies(queue)]
    assert sorted(found) == list(range(91))
    for key in range(7):
        of_key = [value for value in found if value % 7 == key]
        assert of_key == sorted(of_key)
    assert queue.qsize() == 0


def test_a_queue_is_deleted_with_its_stream(store):
    """Its name is free again, and what it had is gone."""
    store.queue("jobs").put(1)
    store.delete_queue("jobs")
    assert (store.list_queues(), store.list_streams()) == ([], [])
    assert store.queue("jobs").empty()
    with pytest.raises(errors.StreamNotFoundError):
        store.delete_queue("none")


def test_a_queue_that_another_handle_deleted_is_not_found(tmp_path):
    """Whatever is asked of it; after the store is closed everything raises ClosedError."""
    with streamstore.open(tmp_path / "s") as one, streamstore.open(tmp_path / "s") as two:
        queue = one.queue("jobs")
        queue.put_many([1, 2])
        message = queue.get()
        two.delete_queue("jobs")
        for call in (message.ack, queue.get_nowait, lambda: queue.put(3)):
            with pytest.raises(errors.StreamNotFoundError):
                call()
        other = two.queue("other")
        other.put(1)
        held = other.get()
    for call in (held.ack, other.get_nowait, lambda: other.put(3), other.qsize, lambda: two.queue("other")):
        with pytest.raises(errors.ClosedError):
            call()


def test_a_queue_pickles(queue):
    """As store, name and codec."""
    queue.put(7)
    assert pickle.loads(pickle.dumps(queue)).get().body == 7


def test_a_queue_of_its_own_directory(tmp_path):
    """streamstore.Queue opens and closes its store."""
    with streamstore.Queue(tmp_path / "jobs", visibility=5) as queue:
        queue.put("x")
    with streamstore.Queue(tmp_path / "jobs") as queue:
        assert queue.get().body == "x"
        assert queue.settings.visibility_us == 5_000_000


def test_other_settings_are_refused_and_configured(store):
    """A queue that is there keeps its settings until somebody changes them on purpose."""
    queue = store.queue("jobs", visibility=5)
    with pytest.raises(errors.InvalidArgumentError, match="configure"):
        store.queue("jobs", visibility=6)
    queue.configure(visibility=6)
    with pytest.raises(errors.InvalidArgumentError, match="chosen when"):
        queue.configure(codec="json")
