"""Retention of seconds under writes at full speed: nothing grows, and readers never fail."""

from __future__ import annotations

from pathlib import Path

import pytest
from running import STRESS, run, seed


@pytest.mark.parametrize(
    ("seconds", "kept"), [pytest.param(6, 1, id="short"), pytest.param(600, 5, id="long", marks=STRESS)]
)
def test_retention_bounds_everything(tmp_path: Path, seconds: int, kept: int) -> None:
    """Disk, memory, descriptors and maps of a run's second half are those of its first."""
    options = ("--seconds", seconds, "--kept", kept)
    print(run("keep_trimming.py", tmp_path / "store", *options, timeout=seconds + 100))


@pytest.mark.parametrize("kills", [pytest.param(8, id="short"), pytest.param(500, id="long", marks=STRESS)])
def test_kills_in_the_middle_of_trims(tmp_path: Path, kills: int) -> None:
    """Wherever a trim, a delete or a snapshot of the catalog ends, the store is whole."""
    options = ("--kills", kills, "--seed", seed(kills < 10))
    print(run("kill_trimmers.py", tmp_path / "store", *options, timeout=100 + 5 * kills))
