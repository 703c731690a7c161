"""A thousand subscribers and a thousand long waits on one server, and one who does not read."""

from __future__ import annotations

from pathlib import Path

import pytest
from running import STRESS, run

pytest.importorskip("granian")


@pytest.mark.parametrize("each", [20, pytest.param(1000, marks=STRESS)])
def test_all_are_served(tmp_path: Path, each: int) -> None:
    """Each gets its record, others are answered meanwhile, the server ends as it should; its figures are printed."""
    said = run("serve_many.py", tmp_path / "store", "--each", each, timeout=600)
    print(said)
    assert said.endswith("all were served\n")
