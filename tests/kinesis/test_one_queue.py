"""A queue with the Kinesis API at one of its ends does what its model says: it is one queue, whoever works on it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from queue_actor import Nursery
from queue_model import KeyedQueueModel, QueueModel, StreamQueueModel, run
from wire_actor import WireActor

from streamstore.kinesis.receiving import Receiving


class WireModel(QueueModel):
    """One handle in Python, one over the API, and a process that is killed."""

    local = WireActor
    outlived = True


class KeyedWireModel(KeyedQueueModel):
    """The same with one message of a key in flight."""

    local = WireActor
    outlived = True


class StreamWireModel(StreamQueueModel):
    """The same over a stream of others, whose retention wins."""

    local = WireActor
    outlived = True


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    made = Nursery()
    yield made
    made.close()


@pytest.mark.parametrize(
    ("examples", "steps"), [pytest.param(8, 30), pytest.param(300, 40, marks=pytest.mark.stress, id="long")]
)
@pytest.mark.parametrize("model", [WireModel, KeyedWireModel, StreamWireModel])
def test_both_ends_are_one_queue(model: Any, examples: int, steps: int, nursery: Nursery, monkeypatch: Any) -> None:
    """Puts, receives, acknowledgements, visibility, dead letters, restores, deaths, on either side and mixed."""
    monkeypatch.setattr(Receiving, "seconds_left", lambda self: 0.0)  # an empty queue says so at once
    run(model, nursery, examples, steps, monkeypatch)
