"""Bit rot, lost and misdirected writes: the short run of `make rot`."""

from __future__ import annotations

import random

from rot.__main__ import case
from rot.damaging import make

CASES = 15


def test_what_rots_is_told_of_and_repaired(tmp_path):
    """Over every kind of file a read gives the original bytes or raises, and a repaired store is clean."""
    all_rows = make(tmp_path / "origin", tmp_path / "older")
    assert len(all_rows) > 50
    noticed = 0
    for seed in range(CASES):
        _, cost = case(
            tmp_path / "origin", tmp_path / "older", all_rows, tmp_path / f"store-{seed}", random.Random(seed)
        )
        noticed += cost
    assert noticed > 0
