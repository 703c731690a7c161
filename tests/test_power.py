"""Power cuts of a real file system: the short run of `make power`."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from cuts import seam
from power import __main__ as power

CUTS = 5


@pytest.mark.root
def test_a_file_system_goes_down_under_its_writers(tmp_path):
    """What was acknowledged before the cut is there once it is mounted again, and nothing counts as damage."""
    if power.possible():
        pytest.skip(power.possible())
    paths = os.pathsep.join(map(str, (seam.ROOT, seam.ROOT / "tests")))
    command = [sys.executable, "-m", "power", "--cuts", str(CUTS), "--seed", "1", "--base", str(tmp_path)]
    done = subprocess.run(
        [*command, "--figures", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    told = json.loads((tmp_path / "power.json").read_text())
    assert told["cases"] == CUTS
    assert told["records"] > 0
