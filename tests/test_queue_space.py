"""What a queue keeps on disk and in memory: as much as is not settled, however much went through."""

from __future__ import annotations

import os
import queue as std

import pytest

import streamstore
from streamstore import limits
from streamstore.queue.source import Source
from streamstore.stream import Stream


@pytest.fixture
def small(monkeypatch):
    """Segments and journals of a size that a test fills."""
    monkeypatch.setattr(limits, "QUEUE_SEGMENT_SIZE", 256 * limits.KIB)
    monkeypatch.setattr(limits, "JOURNAL_ROLL_SIZE", 64 * limits.KIB)


def disk_bytes(path):
    return sum(
        os.stat(os.path.join(base, name)).st_blocks * 512
        for base, _, names in os.walk(os.path.join(path, "streams"))
        for name in names
    )


def drain(queue, *, keep=()):
    while True:
        try:
            messages = queue.get_many(100, block=False)
        except std.Empty:
            return
        queue.ack_many([message for message in messages if message.body[0] not in keep])
        for message in messages:
            if message.body[0] in keep:
                message.dead("kept")


def test_acknowledged_messages_leave_the_disk(tmp_path, small):
    """Without any maintenance, while others are put; the journal is cut as well."""
    with streamstore.open(tmp_path / "s", durability="process") as store:
        queue = store.queue("jobs")
        for turn in range(60):
            queue.put_many([[turn, b"x" * 500]] * 100)
            drain(queue)
        assert disk_bytes(tmp_path / "s") < 4 * limits.MIB
        assert queue.stats()["total_acknowledged"] == 6_000
        assert not store.maintain().problems
        assert disk_bytes(tmp_path / "s") < limits.MIB
    with streamstore.open(tmp_path / "s") as store:
        queue = store.queue("jobs")
        assert queue.empty()
        queue.put([0])
        assert queue.get().body == [0]


def test_a_few_dead_letters_do_not_hold_the_disk(tmp_path, small):
    """They are copied aside under their numbers, and can be looked at, restored and acknowledged as before."""
    with streamstore.open(tmp_path / "s", durability="process") as store:
        queue = store.queue("jobs")
        for turn in range(40):
            queue.put_many([[turn, b"x" * 500]] + [[-1, b"x" * 500]] * 99)
        drain(queue, keep=set(range(0, 40, 5)))
        numbers = [letter.id for letter in queue.dead_letters]
        assert not store.maintain().problems
        assert disk_bytes(tmp_path / "s") < limits.MIB
    with streamstore.open(tmp_path / "s") as store:
        queue = store.queue("jobs")
        assert [letter.id for letter in queue.dead_letters] == numbers
        assert [letter.body[0] for letter in queue.dead_letters] == list(range(0, 40, 5))
        assert queue.dead_letters.restore(numbers[:4]) == 4
        got = [queue.get_nowait() for _ in range(4)]
        assert [message.id for message in got] == numbers[:4]
        assert [message.body[0] for message in got] == [0, 5, 10, 15]
        queue.ack_many(got)
        assert queue.dead_letters.purge() == 4
        assert not store.maintain().problems
        with queue.engine.journal.lock:
            assert not queue.engine.journal.state.moved


def test_a_message_in_flight_survives_what_is_trimmed_around_it(tmp_path, small):
    """The oldest of all is given back after everything behind it has gone."""
    with streamstore.open(tmp_path / "s", durability="process") as store:
        queue = store.queue("jobs")
        queue.put(["oldest"])
        oldest = queue.get()
        for _ in range(30):
            queue.put_many([[1, b"x" * 500]] * 100)
            drain(queue)
        assert not store.maintain().problems
        assert disk_bytes(tmp_path / "s") < limits.MIB
        oldest.nack()
        again = queue.get()
        assert (again.body, again.id, again.receive_count) == (["oldest"], oldest.id, 2)
        again.ack()
        assert queue.join(timeout=1)


def test_the_newest_message_does_not_hold_what_stands_before_it(tmp_path):
    """The only one of its segment that is needed, and the last: there is hardly anything behind it to give back."""
    with streamstore.open(tmp_path / "s", durability="process", maintenance=False) as store:
        queue = store.queue("jobs")
        for _ in range(30):
            queue.put_many([[1, b"x" * 500]] * 100)
            drain(queue)
        queue.put(["newest", b"x" * 500])
        newest = queue.get()
        before = disk_bytes(tmp_path / "s")
        assert not store.maintain().problems
        assert before > 2 * limits.MIB > 2 * disk_bytes(tmp_path / "s")
        newest.nack()
        again = queue.get()
        assert (again.body[0], again.id, again.receive_count) == ("newest", newest.id, 2)
        again.ack()
        assert queue.join(timeout=1)


def test_dead_letters_that_are_most_of_what_there_is_are_not_read_every_minute(tmp_path, small, monkeypatch):
    """They stay where they are: that is seen by reading some of them, once, until there are fewer or more to gain."""
    with streamstore.open(tmp_path / "s", durability="process", maintenance=False) as store:
        queue = store.queue("jobs")
        queue.put_many([[number, b"x" * 500] for number in range(2_000)])
        drain(queue, keep=set(range(2_000)))
        fetch, read = Source.fetch, []
        monkeypatch.setattr(Source, "fetch", lambda self, name: read.append(name) or fetch(self, name))
        assert not store.maintain().problems
        assert 0 < len(read) < 1_000
        del read[:]
        assert not store.maintain().problems
        assert read == []
        numbers = [letter.id for letter in queue.dead_letters]
        queue.dead_letters.purge(numbers[100:])
        assert not store.maintain().problems
        assert disk_bytes(tmp_path / "s") < limits.MIB
        assert [letter.id for letter in queue.dead_letters] == numbers[:100]


def test_what_is_copied_aside_is_never_all_in_memory(tmp_path, small, monkeypatch):
    """Large messages are copied some at a time, and looked for once more as they were."""
    monkeypatch.setattr(limits, "READ_BATCH_SIZE", 2_000)
    with streamstore.open(tmp_path / "s", durability="process", maintenance=False) as store:
        queue = store.queue("jobs")
        for turn in range(40):
            queue.put_many([[turn, b"x" * 500]] + [[-1, b"x" * 500]] * 99)
        drain(queue, keep=set(range(40)))
        append, sizes = Stream.append, []
        monkeypatch.setattr(
            Stream,
            "append",
            lambda self, log, entries, blocks: (
                sizes.append(sum(len(entry[0]) for entry in entries)) or append(self, log, entries, blocks)
            ),
        )
        assert not store.maintain().problems
        assert (len(sizes), max(sizes) < 2_600, sum(sizes) > 40 * 500) == (10, True, True)
        assert [letter.body[0] for letter in queue.dead_letters] == list(range(40))


def test_what_was_in_flight_once_is_not_read_at_every_opening(tmp_path):
    """The journal's snapshot is of a time when much was in flight; maintenance makes one of what is left."""
    with streamstore.open(tmp_path / "s", durability="process", maintenance=False) as store:
        queue = store.queue("jobs")
        queue.put_many([[number] for number in range(20_000)])
        messages = [message for _ in range(20) for message in queue.get_many(1_000)]
        journal = queue.engine.journal
        with journal.lock:
            journal.roll()
        queue.ack_many(messages)
        log = journal.open()
        assert log.state().tail - log.state().start > 100_000
        assert not store.maintain().problems
        assert log.state().tail - log.state().start < 1_000
        assert queue.stats()["total_acknowledged"] == 20_000
    with streamstore.open(tmp_path / "s") as store:
        assert store.queue("jobs").stats()["total_acknowledged"] == 20_000


def test_what_was_put_within_the_dedup_window_stays(tmp_path, small):
    """An id is remembered by its record, so that record is not trimmed before its time."""
    with streamstore.open(tmp_path / "s", durability="process") as store:
        queue = store.queue("jobs", dedup_window=3_600)
        queue.put([0], id="one")
        for _ in range(20):
            queue.put_many([[1, b"x" * 500]] * 100)
            drain(queue)
        assert not store.maintain().problems
    with streamstore.open(tmp_path / "s") as store:
        queue = store.queue("jobs")
        queue.put([0], id="one")
        assert queue.empty()


def test_recovery_reads_what_is_in_flight_and_not_what_went_through(tmp_path, small):
    """A million receives and acknowledgements would be as few events: the journal begins with a snapshot."""
    with streamstore.open(tmp_path / "s", durability="process") as store:
        queue = store.queue("jobs")
        for turn in range(3_000):
            queue.put([turn])
            message = queue.get()
            message.ack()
        log = queue.engine.journal.open()
        state = log.state()
        assert state.tail - state.start < 3 * limits.JOURNAL_ROLL_SIZE
        assert state.record_count - state.start_record_count < 2_000
        facts = queue.stats()
    with streamstore.open(tmp_path / "s") as store:
        assert store.queue("jobs").stats() == facts


def test_what_expires_unacknowledged_is_counted(tmp_path):
    """Over a stream of others its retention wins: messages in flight and new ones go, the queue goes on."""
    with streamstore.open(tmp_path / "s", durability="process") as store:
        stream = store.create_stream("clicks")
        queue = store.create_queue("late", "clicks")
        for number in range(10):
            stream.put_record(b"%d" % number)
        queue.get_many(3)
        stream.clear()
        stream.put_record(b"new")
        message = queue.get_nowait()
        assert message.body == b"new"
        message.ack()
        assert queue.stats()["total_expired"] == 10
        assert queue.join(timeout=1)
