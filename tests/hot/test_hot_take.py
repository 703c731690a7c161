"""`_hot.take`: a record read and its delivery said in one call, or nothing done at all; over a core of memory."""

from __future__ import annotations

import signal

import fake_core
import pytest
from fake_core import (
    APPEND,
    APPEND_TRY,
    CLOSED,
    CORRUPT,
    EPOCH,
    FIRST,
    FULL,
    GET,
    INTERRUPTED,
    STATE,
    TRIMMED,
    WOULD_BLOCK,
)

from streamstore.queue import events
from streamstore.queue.state import Cursor

NOW, VISIBILITY, OWNER = 5_000_000, 30_000_000, 3 << 32 | 7
TAIL_MISMATCH = 10


@pytest.fixture
def said(fake):
    """The log in which deliveries are said."""
    return fake.log()


def take(fake, log, said, position=FIRST, tail=FIRST, horizon=0):
    """What _hot.take gives for shard-0."""
    place = (log.address, 2, "shard-0", said.address, horizon, position, tail)
    return fake.hot.take(*place, NOW, VISIBILITY, OWNER)


@pytest.mark.parametrize("size", [0, 100, 100_000])
def test_the_record_is_given_and_the_event_says_so(fake, log, said, size):
    """The event is, byte for byte, the one that Python writes and folds."""
    fake.put(log, (b"before", "k"), (bytes(size), "key"))
    before, expected = fake.records(log, buffer_size=1 << 20)
    record, tail = take(fake, log, said, expected.position)
    assert (record.data, record.partition_key, record.position) == (bytes(size), "key", expected.position)
    assert record.position == before.next_position
    (event,) = fake.records(said)
    behind = Cursor(record.next_position, 2, record.position, EPOCH)
    assert event.data == events.receive(2, [record.position], None, behind, (NOW, VISIBILITY, OWNER))
    assert event.partition_key is None
    assert tail == event.next_position


def test_nothing_new_in_either_log_is_said_as_such(fake, log, said):
    """And only that: an event that was not folded, or a shard that ended, needs a closer look."""
    assert take(fake, log, said) is False
    fake.put(log, (b"x", "k"))
    assert take(fake, log, said, fake.records(log)[0].next_position) is False
    fake.put(said, (b"what another process said", None))
    assert take(fake, log, said, fake.records(log)[0].next_position) is True
    assert take(fake, log, said, fake.records(log)[0].next_position, fake.records(said)[0].next_position) is False
    log.close()
    assert take(fake, log, said, fake.records(log)[0].next_position, fake.records(said)[0].next_position) is True


def test_what_is_not_simple_is_left_to_others_with_nothing_done(fake, log, said):
    """Attributes, which may hold a delay; what is past retention; a place where no record begins."""
    fake.put(log, (b"x", "k"), attribute_blocks=[b"\x80"])
    fake.put(log, (b"y", "k"))
    late = fake.records(log)[1]
    assert take(fake, log, said) is True
    assert take(fake, log, said, late.position, horizon=late.arrival_us + 1) is True
    assert take(fake, log, said, late.position + 8) is True
    assert said.count() == 0
    assert take(fake, log, said, late.position, horizon=late.arrival_us)[0].data == b"y"


def test_an_encrypted_record_is_left_to_who_can_open_it(fake, log, said):
    """With nothing said."""
    fake.put(log, (bytes(64), "k"))
    log.seal()
    assert take(fake, log, said) is True
    assert said.count() == 0


@pytest.mark.parametrize("status", [TRIMMED, CORRUPT, CLOSED, 5 << 8 | 6])
def test_a_record_that_cannot_be_had_is_left_to_who_reads(fake, log, said, status):
    """Reading tells what it was."""
    fake.put(log, (b"x", "k"))
    log.script(GET, status, 1)
    assert take(fake, log, said) is True
    assert said.count() == 0


@pytest.mark.parametrize("status", [TAIL_MISMATCH, FULL, CLOSED, 5 << 8 | 6])
def test_an_event_that_cannot_be_said_gives_nothing_out(fake, log, said, status):
    """Overtaken, a full disk, or worse: whoever appends by itself is told which."""
    fake.put(log, (b"x", "k"))
    said.script(APPEND_TRY, status, 1)
    assert take(fake, log, said) is True
    assert said.count() == 0
    assert take(fake, log, said)[0].data == b"x"


@pytest.mark.parametrize("which", ["log", "said"])
def test_facts_that_cannot_be_had_need_a_closer_look(fake, log, said, which):
    """Where nothing is there and the logs do not say whether that stays so."""
    {"log": log, "said": said}[which].script(STATE, CLOSED, 1)
    assert take(fake, log, said) is True
    assert take(fake, log, said) is False


def test_a_signal_is_served_and_nothing_is_said_where_its_handler_raises(fake, log, said):
    """While the append waits."""
    fake.put(log, (b"x", "k"))
    before = signal.signal(signal.SIGUSR1, signal.default_int_handler)
    try:
        said.script(APPEND_TRY, WOULD_BLOCK, 1)
        said.script(APPEND, INTERRUPTED, 1)
        with pytest.raises(KeyboardInterrupt):
            take(fake, log, said)
        assert said.count() == 0
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize(
    "change",
    [
        {"log": 0},
        {"shard_index": 1 << 32},
        {"shard_id": 5},
        {"events": 0},
        {"events": "x"},
        {"horizon_us": -1},
        {"position": 1 << 64},
        {"expected_tail": 0},
        {"now_us": 1 << 63},
        {"visibility_us": -1},
        {"owner": 1.5},
        {"colour": 1},
    ],
)
def test_bad_parameters_are_refused(fake, log, said, change):
    """Nothing is read and nothing is said."""
    good = {"log": log.address, "shard_index": 1, "shard_id": "s", "events": said.address, "horizon_us": 0}
    good |= {"position": FIRST, "expected_tail": FIRST, "now_us": 1, "visibility_us": 1, "owner": 1}
    with pytest.raises((TypeError, ValueError)):
        fake.hot.take(**{**good, **change})
    assert (log.calls(GET), said.count()) == (0, 0)


def test_the_visible_end_of_a_log_is_told(fake, log):
    """With what the core says where it cannot be."""
    assert fake.hot.visible(log.address) == FIRST
    fake.put(log, (b"x", "k"))
    assert fake.hot.visible(log.address) == fake.records(log)[0].next_position
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        log.script(STATE, INTERRUPTED, 3)
        assert fake.hot.visible(log.address) == fake.records(log)[0].next_position
        signal.signal(signal.SIGUSR1, signal.default_int_handler)
        for call, kind in (
            (lambda: fake.hot.visible(log.address), STATE),
            (lambda: fake.hot.append(log.address, b"", 64, False), APPEND),
        ):
            log.script(APPEND_TRY, WOULD_BLOCK, 1)
            log.script(kind, INTERRUPTED, 1)
            with pytest.raises(KeyboardInterrupt):
                call()
    finally:
        signal.signal(signal.SIGUSR1, before)
    log.script(STATE, CLOSED, 1)
    with pytest.raises(fake_core.StatusError) as caught:
        fake.hot.visible(log.address)
    assert caught.value.args == (CLOSED, "end of a log")
    for wrong in (0, -1, "x"):
        with pytest.raises((TypeError, ValueError)):
            fake.hot.visible(wrong)
