"""I/O faults: the short run of `make faults`, over every kind of call."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from cuts import seam

STRIDE = 60


def test_a_call_that_fails_costs_no_more_than_it_must(tmp_path):
    """What was acknowledged is there, nothing else is, and the store goes on, also after a power cut on top."""
    if not shutil.which(os.environ.get("CC", "gcc")):
        pytest.skip("no C compiler")
    library = seam.build(tmp_path)
    base = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else tmp_path
    options = ["--stride", str(STRIDE), "--seed", "2", "--base", str(base), "--figures", str(tmp_path)]
    command, environment = seam.preloaded("faults", [*options, "--only", "reshard"], library)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    told = json.loads((tmp_path / "faults.json").read_text())
    assert told["cases"] > 100
    assert told["faults"] > 0
    assert told["lost"] == told["damaged"] == told["duplicated"] == 0
