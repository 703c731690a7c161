"""Delays, visibility and the heartbeat of a queue, by clocks that are moved by hand: no test waits for time to pass."""

from __future__ import annotations

import queue as std
import threading

import pytest

import streamstore
from streamstore import clock, native
from streamstore.queue.engine import Engine

HOUR = 3_600


class Clocks:
    """The boot clock stands until it is moved, and the wall clock with it; that one can also be set."""

    def __init__(self):
        self.boot_us = clock.boot_us()
        self.ahead_us = clock.now_us() - self.boot_us

    def move(self, seconds):
        self.boot_us += round(seconds * 1_000_000)

    def set_wall(self, seconds):
        self.ahead_us += round(seconds * 1_000_000)


@pytest.fixture
def clocks(monkeypatch):
    made = Clocks()
    monkeypatch.setattr(clock, "boot_ns", lambda: made.boot_us * 1000)
    monkeypatch.setattr(clock, "now_us", lambda: made.boot_us + made.ahead_us)
    return made


@pytest.fixture
def queue(tmp_path, clocks):
    with streamstore.open(tmp_path / "store", durability="process", maintenance=False) as store:
        yield store.queue("jobs")


def due_at(queue, clocks, seconds, body):
    """Nothing is there some time before that, the message of that body is there some time after it."""
    # A record's arrival is taken by the core, whose clock goes on while a test runs, which is less than two minutes.
    clocks.move(seconds - 120)
    with pytest.raises(std.Empty):
        queue.get_nowait()
    clocks.move(240)
    assert queue.get_nowait().body == body


def test_a_delayed_message_waits_for_its_time(queue, clocks):
    """Others pass it."""
    queue.put("later", delay=HOUR)
    queue.put("now")
    with queue.get() as message:
        assert message.body == "now"
    due_at(queue, clocks, HOUR, "later")


def test_who_waits_gets_a_delayed_message_when_it_is_time(queue, clocks, monkeypatch):
    """No wait is longer than to that moment, and nobody has to wake it."""
    slices = []

    def sleep(self, position, timeout_us):
        slices.append(timeout_us)
        clocks.move(timeout_us / 1_000_000)
        return False

    monkeypatch.setattr(native.Log, "wait", sleep)
    queue.put("later", delay=3.3)
    assert queue.get().body == "later"
    assert sum(slices) == 3_300_000


@pytest.mark.parametrize("seconds", [HOUR, -HOUR], ids=["forward", "back"])
def test_a_wall_clock_that_was_set_changes_no_delay_of_later_puts(queue, clocks, seconds):
    """It was set since the queue was opened: what it showed then says nothing about the messages put since."""
    clocks.set_wall(-seconds)
    queue.put("before")
    queue.get().ack()
    clocks.set_wall(seconds)
    queue.put("later", delay=2 * HOUR)
    with pytest.raises(std.Empty):
        queue.get_nowait()
    due_at(queue, clocks, 2 * HOUR, "later")


def test_a_wall_clock_that_jumped_too_far_to_be_believed_ends_no_delay(queue, clocks, monkeypatch):
    """Arrivals do not follow it further than an hour either."""
    queue.put("before", delay=2 * HOUR)
    jump_us = 10 * HOUR * 1_000_000
    clocks.set_wall(10 * HOUR)
    monkeypatch.setattr(native.Attachment, "clock", lambda self: (clock.now_us(), jump_us))
    due_at(queue, clocks, 2 * HOUR, "before")


def test_a_wall_clock_that_is_set_back_makes_no_delay_longer(queue, clocks):
    """The record arrived, as the clock says now, a day from now: it waits for its delay and not a day longer."""
    queue.put("later", delay=HOUR)
    clocks.set_wall(-24 * HOUR)
    with pytest.raises(std.Empty):
        queue.get_nowait()
    due_at(queue, clocks, HOUR, "later")


def test_a_message_is_extended_in_flight(queue, clocks):
    """To longer, and to nothing, which gives it back."""
    queue.put("a")
    message = queue.get(visibility=10)
    message.extend(60)
    clocks.move(59)
    with pytest.raises(std.Empty):
        queue.get_nowait()
    message.extend(0)
    assert queue.get_nowait().receive_count == 2


def test_a_running_block_is_extended(queue, clocks, monkeypatch):
    """A handler that takes several times the visibility keeps its message."""
    queue.configure(visibility=0.2)
    extend, beats, enough = Engine.extend, [], threading.Event()

    def beat(self, receipts, visibility_us):
        clocks.move(0.15)
        extend(self, receipts, visibility_us)
        beats.append(visibility_us)
        if len(beats) == 4:
            enough.set()

    monkeypatch.setattr(Engine, "extend", beat)
    queue.put("slow")
    with queue.get() as message:
        assert enough.wait(60)
        monkeypatch.setattr(Engine, "extend", extend)
        with pytest.raises(std.Empty):
            queue.get_nowait()
    assert message.settled
    assert queue.join(timeout=5)
