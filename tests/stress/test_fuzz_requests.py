"""Fuzzed requests: no answer of 5xx, and nobody gets past the gate."""

from __future__ import annotations

import pytest
from running import STRESS, run, seed

pytest.importorskip("boto3")
pytest.importorskip("cbor2")


@pytest.mark.parametrize("requests", [1_500, pytest.param(1_000_000, marks=STRESS)])
def test_fuzzed_requests_are_refused_or_answered(requests: int) -> None:
    """Requests of every operation, with odd values and bytes turned over, rightly signed and not."""
    said = run("fuzz_requests.py", "--requests", requests, "--seed", seed(requests < 10_000), timeout=7200)
    print(said)
    assert "0 of 5xx, 0 bypasses" in said
