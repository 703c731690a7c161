"""A queue as Python has it does what its model says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from queue_actor import Nursery
from queue_model import DedupQueueModel, KeyedQueueModel, QueueModel, StreamQueueModel, run


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    made = Nursery()
    yield made
    made.close()


@pytest.mark.parametrize(
    ("examples", "steps"), [pytest.param(8, 30), pytest.param(500, 60, marks=pytest.mark.stress, id="long")]
)
@pytest.mark.parametrize("model", [QueueModel, KeyedQueueModel, DedupQueueModel, StreamQueueModel])
def test_a_queue_is_what_the_oracle_says(
    model: Any, examples: int, steps: int, nursery: Nursery, monkeypatch: Any
) -> None:
    """Time, nacks, dead letters, restores, trims, reshards, retention, deaths: nothing lost, nothing twice."""
    run(model, nursery, examples, steps, monkeypatch)
