"""Resharding under load, with resharders that die at any moment: no loss, no repeat, keys in order, nothing stuck."""

from __future__ import annotations

from pathlib import Path

import pytest
from running import STRESS, run, seed


@pytest.mark.parametrize("durability", ["process", "sync", "interval"])
@pytest.mark.parametrize("reshards", [pytest.param(20, id="short"), pytest.param(200, id="long", marks=STRESS)])
def test_four_writers_and_three_followers_ride_out_a_storm(tmp_path: Path, reshards: int, durability: str) -> None:
    """Splits, merges and counts by two resharders at a time, each killed after a moment."""
    short = reshards < 100
    arguments = ("--seed", seed(short), "--reshards", reshards, "--durability", durability)
    print(run("reshard_storm.py", tmp_path / "storm", *arguments, timeout=100 if short else 1000))
