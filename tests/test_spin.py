"""The small models hold and their broken variants are found out; `make spin` checks them all."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.skipif(not shutil.which("spin"), reason="spin is not here")


@pytest.mark.parametrize(("model", "broken"), [("reshard", 4), ("roll", 5)])
def test_a_model_holds_and_its_check_bites(model, broken):
    """All states of the sound one are searched without an error; each broken one has some."""
    done = subprocess.run(
        [sys.executable, "tests/spin", model], cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"0 models fail; {broken} broken variants, {broken} found" in done.stdout
