"""Many streams, and one stream of many shards: little disk, few descriptors, and quick to open."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from running import STRESS, run

OPEN_S_MAX = 0.1
DISK_BYTES_MAX = 1_000_000_000


@pytest.mark.parametrize(
    ("streams", "shards"),
    [
        pytest.param(60, 1, id="60-streams"),
        pytest.param(1, 400, id="400-shards"),
        pytest.param(1000, 1, id="1000-streams", marks=STRESS),
        pytest.param(1, 10_000, id="10000-shards", marks=STRESS),
    ],
)
def test_one_small_record_in_each(tmp_path: Path, streams: int, shards: int) -> None:
    """Put to all, reopened and all read in 1,024 descriptors; open under 0.1 s, under 1 GB of disk."""
    said = run("scale.py", tmp_path / "store", "--streams", streams, "--shards", shards, timeout=1000)
    figures = json.loads(said)
    print(figures)
    assert figures["open_s"] < OPEN_S_MAX
    assert figures["open_after_kill_s"] < OPEN_S_MAX
    assert figures["disk_bytes"] < DISK_BYTES_MAX
