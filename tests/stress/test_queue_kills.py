"""Workers of a queue that die at any moment: nothing lost, nothing acknowledged again, dead letters only by count."""

from __future__ import annotations

from pathlib import Path

import pytest
from running import STRESS, run, seed


@pytest.mark.parametrize("durability", ["sync", "process"])
@pytest.mark.parametrize(
    ("messages", "kills"),
    [pytest.param(4_000, 10, id="short"), pytest.param(200_000, 400, id="long", marks=STRESS)],
)
def test_random_kills_of_workers(tmp_path: Path, messages: int, kills: int, durability: str) -> None:
    """Four producers and four workers; what is left on disk after maintenance is under 1 MiB."""
    short = messages < 10_000
    arguments = ("--messages", messages, "--kills", kills, "--durability", durability, "--seed", seed(short))
    print(run("kill_workers.py", tmp_path / "store", *arguments, timeout=100 if short else 3000))
