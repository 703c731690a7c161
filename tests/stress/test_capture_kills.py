"""Captures that die at any moment, of endpoints that are put to and resharded meanwhile: every record once."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from running import ROOT, STRESS, run, seed

INTEROP = Path(os.environ.get("STREAMSTORE_INTEROP", ROOT / "build" / "interop"))
KINESIS_LOCAL = Path(
    os.environ.get("STREAMSTORE_KINESIS_LOCAL", INTEROP / "node_modules" / "kinesis-local" / "main.js")
)


@STRESS
@pytest.mark.parametrize(
    ("kind", "how"),
    [("ours", []), ("ours", ["--mirror"]), ("moto", []), ("kinesis-local", []), ("kinesis-local", ["--mirror"])],
)
def test_random_kills_of_captures(tmp_path: Path, kind: str, how: list[str]) -> None:
    """Ten kills; then a replay into a fresh server, which is captured again."""
    if kind == "moto":
        pytest.importorskip("moto")
    if kind == "kinesis-local" and not (shutil.which("node") and KINESIS_LOCAL.exists()):
        pytest.skip("no kinesis-local: `make interop` installs it; STREAMSTORE_KINESIS_LOCAL may name its main.js")
    more = {"STREAMSTORE_KINESIS_LOCAL": str(KINESIS_LOCAL)}
    asked = [tmp_path / "place", "--kind", kind, *how, "--seed", seed(False)]
    print(run("kill_capture.py", *asked, more=more, timeout=600))


@STRESS
def test_random_kills_of_captures_of_files(tmp_path: Path) -> None:
    """Twenty kills under load, through every kind of rotation."""
    print(run("kill_tail.py", tmp_path / "place", "--seed", seed(False), timeout=300))
