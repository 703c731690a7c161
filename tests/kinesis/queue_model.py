"""The model of a queue with two handles in one process, of which one may speak to the API: test_queue_model has the
whole, with a process that is killed; this one sees inside both ends at every step.

The oracle holds: what was put is delivered, oldest first, until it is acknowledged or dead; nothing acknowledged comes
again; a redelivery has a nack, the time or the end of its holder behind it.
"""

from __future__ import annotations

import queue as std
import shutil
import tempfile
from dataclasses import dataclass

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import streamstore
from streamstore import clock, errors

SECOND = 1_000_000
VISIBILITY = 30
RECEIVES_MAX = 3


@dataclass
class Put:
    """What the oracle knows of one message."""

    number: int
    key: str | None
    ready_us: int  # by the moved clock; while held, the end of its visibility
    receives: int = 0
    holder: int | None = None  # handle, or None
    delivery: int = 0
    state: str = "live"


class QueueModel(RuleBasedStateMachine):
    """Handles 0 and 1 are two openings of one store, as two processes have them."""

    key_order = False

    @initialize()
    def begin(self):
        self.path = tempfile.mkdtemp(prefix="queue-model-")
        self.moved_us = 0
        self.real_boot_us = clock.boot_us
        clock.boot_us = lambda: self.real_boot_us() + self.moved_us
        self.stores = [self.opened(), self.opened()]
        self.puts: list[Put] = []
        self.held: list[tuple[Put, int, object]] = []

    def opened(self):
        store = streamstore.open(self.path, durability="process", maintenance=False)
        options = {"visibility": VISIBILITY, "max_receive_count": RECEIVES_MAX, "key_order": self.key_order}
        return store, store.queue("jobs", **options)

    def teardown(self):
        if hasattr(self, "stores"):
            clock.boot_us = self.real_boot_us
            for store, _ in self.stores:
                store.close()
            shutil.rmtree(self.path, ignore_errors=True)

    def now_us(self):
        return clock.boot_us()

    # --- what the oracle expects ------------------------------------------------------------------------------------

    def settle_time(self):
        """What came due too often is dead, at the next look."""
        for put in self.puts:
            if put.state == "live" and put.ready_us <= self.now_us() and put.receives >= RECEIVES_MAX:
                put.state, put.holder = "dead", None

    def deliverable(self):
        busy = set()
        found = []
        for put in self.puts:
            if put.state != "live":
                continue
            if self.key_order and put.key is not None:
                if put.key in busy:
                    continue
                busy.add(put.key)
            if put.ready_us <= self.now_us():
                found.append(put)
        return found

    # --- rules ------------------------------------------------------------------------------------------------------

    @rule(who=st.integers(0, 1), key=st.sampled_from([None, "a", "b"]), delay=st.sampled_from([0, 0, 0, 100]))
    def put(self, who, key, delay):
        number = len(self.puts)
        self.stores[who][1].put(number, key=key, delay=delay)
        # A delay counts from the arrival, by the wall clock, which nobody moves here.
        self.puts.append(Put(number, key, self.real_boot_us() + delay * SECOND if delay else 0))

    @rule(who=st.integers(0, 1), count=st.integers(2, 5))
    def put_many(self, who, count):
        first = len(self.puts)
        self.stores[who][1].put_many(range(first, first + count))
        self.puts += [Put(first + step, None, 0) for step in range(count)]

    @rule(who=st.integers(0, 1), count=st.integers(1, 4), visibility=st.sampled_from([None, None, 0]))
    def get(self, who, count, visibility):
        self.settle_time()
        expected = self.deliverable()
        try:
            messages = self.stores[who][1].get_many(count, block=False, visibility=visibility)
        except std.Empty:
            assert not expected
            return
        got, wanted = [message.body for message in messages], [put.number for put in expected]
        assert got == wanted[: len(got)], (got, wanted)
        assert len(messages) == min(count, len(expected))
        for message, put in zip(messages, expected, strict=False):
            put.receives += 1
            put.delivery += 1
            put.holder = who
            put.ready_us = self.now_us() + (VISIBILITY * SECOND if visibility is None else 0)
            assert message.receive_count == put.receives
            self.held.append((put, put.delivery, message))

    @precondition(lambda self: self.held)
    @rule(data=st.data(), act=st.sampled_from(["ack", "ack", "nack", "slow nack", "dead", "extend", "give up"]))
    def settle(self, data, act):
        put, delivery, message = data.draw(st.sampled_from(self.held), label="message")
        if message.settled or message.queue.closed or message.queue.store.closed:
            return
        calls = {
            "ack": message.ack,
            "nack": message.nack,
            "slow nack": lambda: message.nack(50),
            "dead": message.dead,
            "extend": lambda: message.extend(200),
            "give up": lambda: message.extend(0),
        }
        current = put.state == "live" and put.delivery == delivery and put.receives > 0
        if not current:
            if act == "ack" and put.state == "acked":
                message.ack()
            else:
                with pytest.raises(errors.StaleReceiptError):
                    calls[act]()
            return
        calls[act]()
        if act == "ack":
            put.state = "acked"
        elif act == "dead" or ("nack" in act and put.receives >= RECEIVES_MAX):
            put.state = "dead"
        elif "nack" in act:
            put.delivery += 1
            put.holder = None
            put.ready_us = self.now_us() + (50 * SECOND if act == "slow nack" else 0)
        else:
            put.ready_us = self.now_us() + (200 * SECOND if act == "extend" else 0)

    @rule(seconds=st.sampled_from([1, 29, 31, 101, 201]))
    def let_time_pass(self, seconds):
        self.moved_us += seconds * SECOND

    @rule(who=st.integers(0, 1))
    def reopen(self, who):
        """What the handle held is free at once, and nothing else changed."""
        self.stores[who][0].close()
        self.stores[who] = self.opened()
        for put in self.puts:
            if put.state == "live" and put.holder == who:
                put.ready_us, put.holder = 0, None

    @rule(who=st.integers(0, 1))
    def restore(self, who):
        self.settle_time()
        assert self.stores[who][1].dead_letters.restore() == sum(put.state == "dead" for put in self.puts)
        for put in self.puts:
            if put.state == "dead":
                put.state, put.ready_us, put.receives, put.holder = "live", 0, 0, None
                put.delivery += 1

    @rule(who=st.integers(0, 1))
    def purge_dead(self, who):
        self.settle_time()
        assert self.stores[who][1].dead_letters.purge() == sum(put.state == "dead" for put in self.puts)
        for put in self.puts:
            if put.state == "dead":
                put.state = "acked"

    @rule(who=st.integers(0, 1))
    def maintain(self, who):
        self.settle_time()
        assert not self.stores[who][0].maintain().problems

    @rule()
    def roll(self):
        """A journal is cut at any moment."""
        journal = self.stores[0][1].engine.journal
        with journal.lock:
            self.stores[0][1].engine.state()
            journal.roll()

    @rule(who=st.integers(0, 1))
    def look_at_dead_letters(self, who):
        self.settle_time()
        found = [letter.body for letter in self.stores[who][1].dead_letters]
        assert found == [put.number for put in self.puts if put.state == "dead"]

    @invariant()
    def both_handles_agree(self):
        if not hasattr(self, "stores"):
            return
        one, two = (queue.stats() for _, queue in self.stores)
        assert one == two
        live = sum(put.state != "acked" for put in self.puts)
        assert one["fresh"] + one["waiting"] + one["in_flight"] + one["dead"] == live


class KeyedQueueModel(QueueModel):
    """The same with one message of a key in flight."""

    key_order = True
