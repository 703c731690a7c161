"""Two hundred connections that ask for 10 MiB each and never read."""

from __future__ import annotations

from pathlib import Path

import pytest
from running import STRESS, run

pytest.importorskip("granian")
pytest.importorskip("boto3")


@STRESS
def test_the_server_stays_small_and_answers_others(tmp_path: Path) -> None:
    """Its private memory has a bound; its figures are printed."""
    said = run("never_read.py", tmp_path / "store", timeout=1800)
    print(said)
    assert "MiB at most" in said
