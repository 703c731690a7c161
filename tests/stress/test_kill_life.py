"""kill -9 at random points of compaction, trimming, snapshots of the catalog, splits and merges."""

from __future__ import annotations

from pathlib import Path

import pytest
from running import STRESS, run, seed


@pytest.mark.parametrize("durability", ["process", "sync", "interval"])
@pytest.mark.parametrize("kills", [pytest.param(15, id="short"), pytest.param(500, id="long", marks=STRESS)])
def test_a_stream_survives_deaths_over_its_upkeep(tmp_path: Path, kills: int, durability: str) -> None:
    """The store opens, nothing acknowledged is lost, and no file is left that belongs to nothing."""
    short = kills < 100
    arguments = ("--seed", seed(short), "--kills", kills, "--durability", durability)
    print(run("kill_life.py", tmp_path / "life", *arguments, timeout=100 if short else 3000))
