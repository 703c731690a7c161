"""The model of the embedded queue, with the Kinesis API at one of its two ends: they are one queue."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule, run_state_machine_as_test
from queue_model import RECEIVES_MAX, KeyedQueueModel, QueueModel
from wire_queue import WireQueue

from streamstore import clock, limits
from streamstore.kinesis.receiving import Receiving
from streamstore.queue import engine

WIRE = 1


class _OverTheWire:
    """Handle 1 speaks to the API. What it has received stays in flight when its process ends."""

    @initialize()
    def begin(self):
        super().begin()
        # It stands still but for being moved: a slow machine would bring what is held back a moment before the oracle.
        began_us = self.real_boot_us()
        clock.boot_us = lambda: began_us + self.moved_us
        self.speak()

    def speak(self):
        store, queue = self.stores[WIRE]
        self.stores[WIRE] = (store, WireQueue(queue))

    @rule(who=st.integers(0, 1))
    def reopen(self, who):
        held = [(put, put.ready_us) for put in self.puts if put.holder == WIRE]
        super().reopen(who)
        if who == WIRE:
            for put, ready_us in held:
                put.holder, put.ready_us = WIRE, ready_us
            self.speak()

    @rule(who=st.integers(0, 1))
    def receive_too_often(self, who):
        """So that there are dead letters to look at."""
        for _ in range(RECEIVES_MAX):
            self.get(who, 3, 0)


class WireModel(_OverTheWire, QueueModel):
    """One end in Python, the other over the API."""


class KeyedWireModel(_OverTheWire, KeyedQueueModel):
    """The same with one message of a key in flight."""


@pytest.mark.parametrize("examples", [10, pytest.param(300, marks=pytest.mark.stress)])
@pytest.mark.parametrize("model", [WireModel, KeyedWireModel])
def test_both_ends_are_one_queue(model, examples, monkeypatch):
    """Puts, receives, acknowledgements, visibility, dead letters, restores, on either side and mixed."""
    monkeypatch.setattr(limits, "JOURNAL_ROLL_SIZE", 8 * limits.KIB)
    monkeypatch.setattr(engine, "LOOK_US", 0)
    monkeypatch.setattr(Receiving, "seconds_left", lambda self: 0.0)  # an empty queue says so at once
    run_state_machine_as_test(
        model,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
