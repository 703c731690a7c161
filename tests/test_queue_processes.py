"""A queue between processes: workers that die, share, and race; what they leave comes back and nothing comes twice."""

from __future__ import annotations

import collections
import multiprocessing
import os
import queue as std
import signal
import time

import pytest

import streamstore
from streamstore import errors

SPAWN = multiprocessing.get_context("spawn")


def _hold(path, pipe):
    """Receive one message, say so, and wait to be killed."""
    with streamstore.open(path) as store:
        message = store.queue("jobs").get(timeout=60)
        pipe.send((message.body, message.receive_count))
        signal.pause()


def _work(path, pipe, until):
    """Acknowledge everything until the queue says that there is no more; say what it was."""
    seen = []
    with streamstore.open(path) as store:
        queue = store.queue("jobs")
        pipe.send("ready")
        while until not in seen:
            try:
                message = queue.get(timeout=60)
            except std.Empty:
                break
            seen.append(message.body)
            message.ack()
    pipe.send(seen)


def _receive_for_ever(path):
    with streamstore.open(path) as store:
        for message in store.queue("jobs"):
            if message.body % 3:
                message.ack()
            elif message.body % 2:
                message.nack()
            time.sleep(0.0005)


def start(target, *arguments):
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=target, args=(arguments[0], theirs, *arguments[1:]), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def kill(process):
    os.kill(process.pid, signal.SIGKILL)
    process.join()


@pytest.fixture(params=["process", "sync"])
def path(request, tmp_path):
    with streamstore.open(tmp_path / "s", durability=request.param) as store:
        store.queue("jobs", visibility=43_200, max_receive_count=0)
    return tmp_path / "s"


def test_a_killed_workers_message_comes_back_at_once(path):
    """Its visibility of half a day does not have to pass; a living worker's message stays its own."""
    with streamstore.open(path) as store:
        queue = store.queue("jobs")
        queue.put_many(["first", "second"])
        one, from_one = start(_hold, path)
        assert from_one.recv() == ("first", 1)
        other, from_other = start(_hold, path)
        assert from_other.recv() == ("second", 1)
        with pytest.raises(std.Empty):
            queue.get(timeout=0.3)
        kill(one)
        message = queue.get(timeout=60)
        assert (message.body, message.receive_count) == ("first", 2)
        with pytest.raises(std.Empty):
            queue.get(timeout=0.3)
        kill(other)
        assert queue.get(timeout=60).body == "second"


def test_workers_share_a_queue_without_overlap(path):
    """Each message is processed by one of them, and none is left."""
    workers = [start(_work, path, "end") for _ in range(3)]
    for _, pipe in workers:
        assert pipe.recv() == "ready"
    with streamstore.open(path) as store:
        queue = store.queue("jobs")
        for number in range(300):
            queue.put(number)
        queue.put_many(["end"] * 3)  # each takes one, and no more after it
        seen = [body for _, pipe in workers for body in pipe.recv() if body != "end"]
        assert sorted(seen) == list(range(300))
        assert queue.stats()["total_acknowledged"] == 303
        assert queue.join(timeout=10)
    for process, _ in workers:
        process.join()


def test_nothing_is_lost_and_nothing_acknowledged_comes_again(path):
    """Workers are killed in the middle of whatever they do; what was acknowledged was so for everybody."""
    with streamstore.open(path) as store:
        queue = store.queue("jobs")
        queue.put_many(range(400))
        workers = [SPAWN.Process(target=_receive_for_ever, args=(path,), daemon=True) for _ in range(2)]
        for worker in workers:
            worker.start()
        for _ in range(2):
            time.sleep(0.4)
            kill(workers.pop(0))
            workers.append(SPAWN.Process(target=_receive_for_ever, args=(path,), daemon=True))
            workers[-1].start()
        time.sleep(0.3)
        for worker in workers:
            kill(worker)
        before = queue.stats()["total_acknowledged"]
        left = []
        while True:
            try:
                message = queue.get(timeout=0.5)
            except std.Empty:
                break
            left.append(message.body)
            message.ack()
        counts = collections.Counter(left)
        assert max(counts.values()) == 1
        assert len(counts) + before == 400
        assert {number for number in range(400) if number % 3 == 0} <= set(left)


def test_a_receipt_is_good_in_another_process(path):
    """Text names a delivery anywhere; in a forked child the message object itself is of no use."""
    with streamstore.open(path) as store:
        queue = store.queue("jobs")
        queue.put("x")
        message = queue.get()
        with streamstore.open(path) as other:
            other.queue("jobs").ack(message.receipt)
        with pytest.raises(std.Empty):
            queue.get_nowait()
        assert queue.stats()["in_flight"] == 0


def test_a_forked_child_has_no_messages_of_its_parent(path):
    """It may receive and settle its own; the parent's raise ForkedError there and are good here."""
    with streamstore.open(path) as store:
        queue = store.queue("jobs")
        queue.put_many(["parent's", "child's"])
        message = queue.get()
        pid = os.fork()
        if not pid:
            status = 1
            try:
                with pytest.raises(errors.ForkedError):
                    message.ack()
                own = queue.get(timeout=30)
                own.ack()
                status = 0 if own.body == "child's" else 2
            finally:
                os._exit(status)
        assert os.waitpid(pid, 0)[1] == 0
        message.ack()
        assert queue.join(timeout=10)


def test_two_handles_race_for_one_message(path):
    """Who was overtaken decides again: one has it, the other finds nothing."""
    with streamstore.open(path) as one, streamstore.open(path) as two:
        first, second = one.queue("jobs"), two.queue("jobs")
        for _ in range(20):
            first.put("x")
            second.put("y")
            got = [first.get_nowait(), second.get_nowait()]
            assert sorted(message.body for message in got) == ["x", "y"]
            with pytest.raises(std.Empty):
                second.get_nowait()
            got[0].nack()
            again = second.get_nowait()
            assert again.id == got[0].id
            with pytest.raises(errors.StaleReceiptError):
                first.ack(got[0].receipt)
            again.ack()
            got[1].ack()
        assert first.stats() == second.stats()


def test_a_bound_holds_for_two_producers(tmp_path):
    """max_records is decided by compare-and-append: nobody slips one in."""
    with streamstore.open(tmp_path / "b") as one, streamstore.open(tmp_path / "b") as two:
        first = one.queue("jobs", max_records=5, dedup_window=600)
        second = two.queue("jobs")
        for number in range(3):
            first.put(number, id=str(number))
            second.put(number, id=str(number))
        second.put(3, id="3")
        first.put(4, id="4")
        for queue in (first, second):
            with pytest.raises(std.Full):
                queue.put_nowait(5, id="5")
        assert first.qsize() == 5


def test_who_decided_and_who_followed_have_the_same_state(tmp_path):
    """What is done at once where an event was made is what folding it does."""
    with streamstore.open(tmp_path / "s") as one, streamstore.open(tmp_path / "s") as two:
        queue, follower = one.queue("jobs"), two.queue("jobs")
        kept = []
        for number in range(60):
            queue.put(number)
            message = queue.get(visibility=10 + number)
            if number % 3:
                message.ack()
            else:
                kept.append(message)
            if number == 30:
                kept.pop(0).nack()
        assert follower.stats() == queue.stats()
        states = [item.engine.journal.state for item in (queue, follower)]
        assert states[0].to_map() == states[1].to_map()
        assert (states[0].owners, states[0].in_flight) == (states[1].owners, states[1].in_flight)
        assert set(states[0].live) == {message.name for message in kept}


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("again", [False, True])
def test_a_receipt_stays_good_where_others_receive_while_the_log_is_cut(tmp_path, monkeypatch, count, again):
    """A receive may be followed by a roll, which folds what came in between: the receipt is that of the receive."""
    with streamstore.open(tmp_path / "s") as one, streamstore.open(tmp_path / "s") as two:
        queue, other = one.queue("jobs", visibility=0), two.queue("jobs")
        queue.put_many(range(20))
        if again:
            queue.get_many(6)
        journal = queue.engine.journal

        def roll():
            others.extend(other.get_many(6, visibility=30))
            journal.refresh()

        others = []
        monkeypatch.setattr(journal, "_look_at", 0)
        monkeypatch.setattr(journal, "_roll_if_long", roll)
        mine = queue.get_many(count, visibility=30) if count > 1 else [queue.get(visibility=30)]
        assert [message.receive_count for message in mine] == [1 + again] * count
        assert others
        queue.ack_many(mine)
        other.ack_many(others)
        assert queue.stats()["total_acknowledged"] == len(mine) + len(others)


def test_a_log_that_another_cuts_at_the_same_time_keeps_its_state(tmp_path, monkeypatch):
    """Who dies between its roll and its snapshot leaves a newest segment that says nothing: the older one is needed."""
    with streamstore.open(tmp_path / "s", durability="process") as one, streamstore.open(tmp_path / "s") as two:
        queue, other = one.queue("jobs"), two.queue("jobs")
        queue.put_many(range(10))
        queue.ack_many(queue.get_many(4))
        other.get_many(2)
        rolled = other.engine.journal.open()
        sync = type(rolled).sync

        def cut_meanwhile(log, *arguments):
            monkeypatch.setattr(type(rolled), "sync", sync)
            rolled.roll()
            sync(log, *arguments)

        monkeypatch.setattr(type(rolled), "sync", cut_meanwhile)
        with queue.engine.journal.lock:
            queue.engine.journal.refresh()
            queue.engine.journal.roll()
        assert type(rolled).sync is sync
        before = queue.stats()
        assert (before["fresh"], before["in_flight"], before["total_acknowledged"]) == (4, 2, 4)
        with streamstore.open(tmp_path / "s") as three:
            assert three.queue("jobs").stats() == before == other.stats()


@pytest.mark.parametrize("many", [False, True])
def test_a_receipt_is_good_where_its_receive_was_not_heard_of_yet(tmp_path, many):
    """A process that fell behind looks again before it says what became of a message."""
    with streamstore.open(tmp_path / "s") as one, streamstore.open(tmp_path / "s") as two:
        queue, other = one.queue("jobs"), two.queue("jobs")
        queue.put_many([1, 2])
        assert other.stats()["fresh"] == 2
        receipts = [message.receipt for message in queue.get_many(2)]
        if many:
            other.ack(*receipts)
        else:
            for receipt in receipts:
                other.ack(receipt)
        assert queue.stats()["total_acknowledged"] == 2


def test_a_block_keeps_what_was_received_for_less_than_a_beat(tmp_path):
    """It is extended as the block begins, not at the next beat, which may be ten seconds away."""
    with streamstore.open(tmp_path / "s") as one, streamstore.open(tmp_path / "s") as two:
        queue, other = one.queue("jobs", visibility=30), two.queue("jobs")
        queue.put("x")
        with queue.get(visibility=0.2) as message:
            time.sleep(0.3)
            with pytest.raises(std.Empty):
                other.get_nowait()
            assert message.receive_count == 1
        assert queue.join(timeout=1)
