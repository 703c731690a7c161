"""The smallest of the models holds, and a broken variant of it is found out; `make spin` checks them all."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent / "spin"

pytestmark = pytest.mark.skipif(not shutil.which("spin"), reason="spin is not here")


def test_a_model_holds_and_its_check_bites():
    """All states of the sound one are searched without an error; the broken one has some."""
    spec = importlib.util.spec_from_file_location("spin_models", HERE / "__main__.py")
    assert spec is not None
    models = importlib.util.module_from_spec(spec)
    assert spec.loader is not None
    spec.loader.exec_module(models)
    errors, states, _ = models.check(HERE / "reshard.pml")
    assert errors == 0
    assert states > 10_000
    assert models.check(HERE / "reshard.pml", models.variants(HERE / "reshard.pml")[0])[0] > 0
