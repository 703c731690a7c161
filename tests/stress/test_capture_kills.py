"""Captures that die at any moment, of endpoints that are put to and resharded meanwhile: every record once."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from running import STRESS, run, seed


@STRESS
@pytest.mark.parametrize("kind", ["ours", "moto", "kinesis-local"])
def test_random_kills_of_captures(tmp_path: Path, kind: str) -> None:
    """Ten kills; then a replay into a fresh server, which is captured again."""
    if kind == "moto":
        pytest.importorskip("moto")
    if kind == "kinesis-local" and not (shutil.which("node") and os.environ.get("STREAMSTORE_KINESIS_LOCAL")):
        pytest.skip("kinesis-local is its main.js in STREAMSTORE_KINESIS_LOCAL, run by node")
    print(run("kill_capture.py", tmp_path / "place", "--kind", kind, "--seed", seed(False), timeout=600))


@STRESS
def test_random_kills_of_captures_of_files(tmp_path: Path) -> None:
    """Twenty kills under load, through every kind of rotation."""
    print(run("kill_tail.py", tmp_path / "place", "--seed", seed(False), timeout=300))
