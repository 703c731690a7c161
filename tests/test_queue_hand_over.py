"""The short way of most receives: one call that reads and says so, folded after the message was handed out."""

from __future__ import annotations

import os
import queue as std
import threading
import time

import pytest

import streamstore
from streamstore.queue.engine import Engine
from streamstore.queue.events import FoldedDeliveries
from streamstore.queue.receiver import Receiver


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def pair(path):
    """One queue in two handles of one store, as two processes have it."""
    with (
        streamstore.open(path, durability="process") as one,
        streamstore.open(path, durability="process") as two,
    ):
        yield one.queue("jobs"), two.queue("jobs")


def states(*queues):
    """What each handle knows, as plain values, once it has folded all there is."""
    for queue in queues:
        queue.stats()
    return [queue.engine.journal.state.to_map() for queue in queues]


def test_what_is_handed_out_is_folded_before_anybody_looks(pair):
    """The receipt is of the delivery that the log has, and every count is right at the next look."""
    queue, follower = pair
    queue.put_many(["a", "b"])
    first = queue.get()
    assert queue.stats()["in_flight"] == 1
    assert first.receipt == f"0-{first.name}-{first.number}"
    second = queue.get()
    assert (second.body, second.receive_count) == ("b", 1)
    assert second.first_received >= first.first_received
    one, two = states(queue, follower)
    assert one == two
    follower.ack(first.receipt, second.receipt)
    one, two = states(queue, follower)
    assert one == two
    assert not one["live"]


def test_most_receives_go_the_short_way(pair, monkeypatch):
    """Once the queue was looked at: one message after another, whether it was waited for or not."""
    queue, _ = pair
    queue.put("first")
    queue.get().ack()
    long_way = []
    receive = Receiver.receive
    monkeypatch.setattr(Receiver, "receive", lambda self, *given: long_way.append(1) or receive(self, *given))
    for number in range(20):
        queue.put(number)
        message = queue.get()
        assert message.body == number
        message.ack()
    assert not long_way
    queue.put("delayed", delay=0.01)
    assert queue.get(timeout=10).body == "delayed"
    assert long_way


@pytest.mark.parametrize("where", ["receive_one", "acknowledge_one"])
def test_a_signal_in_the_middle_of_folding_leaves_no_gap(pair, monkeypatch, where):
    """Ctrl-C raises wherever Python is: what was folded in part is made anew from the log."""
    queue, follower = pair
    queue.put_many(range(4))
    queue.get().ack()
    message = queue.get()
    fold = getattr(FoldedDeliveries, where)

    def interrupted(self, *given):
        monkeypatch.setattr(FoldedDeliveries, where, fold)
        self.number += 1  # half of it is done
        raise KeyboardInterrupt

    monkeypatch.setattr(FoldedDeliveries, where, interrupted)
    with pytest.raises(KeyboardInterrupt):
        message.ack()
    message.ack()
    one, two = states(queue, follower)
    assert one == two
    rest = [queue.get_nowait() for _ in range(2)]
    assert [item.body for item in rest] == [2, 3]
    with pytest.raises(std.Empty):
        queue.get_nowait()
    queue.ack_many(rest)
    assert states(queue, follower)[0]["live"] == []


def test_a_signal_while_what_others_said_is_folded_leaves_no_gap(pair, monkeypatch):
    """Nothing is folded twice."""
    queue, follower = pair
    queue.put_many(range(5))
    for _ in range(3):
        follower.get().ack()
    fold, calls = FoldedDeliveries.fold, []

    def interrupted(self, event):
        fold(self, event)
        calls.append(event)
        if len(calls) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(FoldedDeliveries, "fold", interrupted)
    with pytest.raises(KeyboardInterrupt):
        queue.get_nowait()
    assert queue.get_nowait().body == 3
    one, two = states(queue, follower)
    assert one == two


@pytest.mark.parametrize("other", [False, True])
def test_a_worker_sleeps_once_all_was_taken(pair, monkeypatch, other):
    """By itself or by another process: it waits for what comes behind that, and does not look again and again."""
    queue = pair[0]
    queue.put("mine")
    queue.get().ack()
    for number in range(10):
        queue.put(number)
        pair[other].get().ack()
    looks = []
    wait = Engine.wait
    monkeypatch.setattr(Engine, "wait", lambda self, *given: looks.append(1) or wait(self, *given))
    with pytest.raises(std.Empty):
        queue.get(timeout=0.3)
    assert len(looks) < 10


def test_a_queue_over_a_stream_gives_nothing_that_is_past_retention(path, monkeypatch):
    """The short way looks at the horizon too."""
    with streamstore.open(path, durability="process") as store:
        stream = store.create_stream("clicks")
        queue = store.create_queue("billing", stream="clicks", start="TRIM_HORIZON", max_receive_count=0)
        stream.put_record(b"first", "k")
        queue.get().ack()
        stream.put_record(b"late", "k")
        time.sleep(0.002)
        stream.put_record(b"kept", "k")
        kept_from_us = stream.last(1)[0].arrival_us
        monkeypatch.setattr(queue.engine.source.log(0), "horizon", lambda: kept_from_us)
        assert queue.get(timeout=10).body == b"kept"
        assert queue.stats()["total_expired"] == 1


def test_a_forked_child_does_not_wait_for_a_turn_of_its_parent(path):
    """A thread that waited in the parent is not there in the child."""
    with streamstore.open(path, durability="process") as store:
        queue = store.queue("jobs")
        waiting = threading.Event()
        wait = queue.engine.wait

        def told(*given):
            waiting.set()
            return wait(*given)

        queue.engine.wait = told
        thread = threading.Thread(target=lambda: queue.get(timeout=60).ack())
        thread.start()
        assert waiting.wait(30)
        pid = os.fork()
        if not pid:
            status = 1
            try:
                with pytest.raises(std.Empty):
                    queue.get(timeout=0.2)
                status = 0 if queue._turns.acquire(0) else 2
            finally:
                os._exit(status)
        assert os.waitpid(pid, 0)[1] == 0
        queue.put("done")
        thread.join(30)
        assert not thread.is_alive()
        assert queue.join(timeout=10)
