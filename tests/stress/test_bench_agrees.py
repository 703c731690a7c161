"""What the load reports is what a target that notes its own times saw: within 5 % or half a millisecond."""

from __future__ import annotations

import math
import random

import pytest
from fake_endpoint import FakeEndpoint
from running import STRESS

from streamstore.bench.load import LoadPlan, run_load
from streamstore.bench.load.subject import subject_of

SHARES = (50.0, 99.0, 99.9)


@pytest.mark.parametrize("threads", [pytest.param(8, marks=STRESS)])
def test_percentiles_agree_with_the_target(threads: int) -> None:
    """Delays of 2 to some 30 ms with a long tail, at a rate that leaves threads free."""
    chance = random.Random(1)
    delays = [0.002 + min(0.1, chance.lognormvariate(-6.2, 1.0)) for _ in range(20_000)]
    with FakeEndpoint(lambda number: delays[number % len(delays)]) as endpoint:
        plan = LoadPlan(rate=200, duration=30.0, warmup=0.0, threads=threads, drain=60)
        total = run_load(plan, subject_of(endpoint.address)).total()
        took = sorted(endpoint.took)
    assert total.operations == len(took) == 6000
    for share in SHARES:
        theirs = took[math.ceil(len(took) * share / 100) - 1] * 1000
        ours = total.latency_us.percentile(share) / 1000
        print(f"p{share:g}: the target {theirs:.2f} ms, reported {ours:.2f} ms")
        assert ours == pytest.approx(theirs, rel=0.05, abs=0.5)
