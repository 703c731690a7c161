"""Bit rot, lost and misdirected writes: the short run of `make rot`."""

from __future__ import annotations

import random
import shutil

import pytest
from rot.__main__ import case
from rot.damaging import RING, STREAMS, make
from rot.oracle import Broken, Oracle, numbers_of

import streamstore

CASES = 15


def test_what_rots_is_told_of_and_repaired(tmp_path):
    """Over every kind of file a read gives the original bytes or raises, verify names exactly what is lost, and a
    repaired store is clean.
    """
    all_rows = make(tmp_path / "origin", tmp_path / "older")
    oracle = Oracle(tmp_path / "origin", numbers_of(tmp_path / "origin", STREAMS, key_ring=RING))
    assert len(all_rows) > 100
    noticed = 0
    for seed in range(CASES):
        _, cost = case(oracle, tmp_path / "older", all_rows, tmp_path / f"store-{seed}", random.Random(seed))
        noticed += cost
    assert noticed > 0


def test_what_verify_names_is_held_to_what_is_lost(tmp_path):
    """Nothing named where a frame is damaged, a range too long, a number too many: each is found out."""
    make(tmp_path / "origin", tmp_path / "older")
    oracle = Oracle(tmp_path / "origin", numbers_of(tmp_path / "origin", STREAMS, key_ring=RING))
    shutil.copytree(tmp_path / "origin", tmp_path / "store")
    piece = oracle.logs["streams/1/1"][0].pieces[1]
    with open(tmp_path / "store" / "streams/1/1/000000000001.seg", "r+b") as file:
        file.seek(piece.at + 20)
        file.write(b"?")
    (found,) = streamstore.verify(tmp_path / "store").damage
    oracle.hold(tmp_path / "store", [found])
    wrong = (
        [],
        [found | {"end": found["end"] + 8}],
        [found | {"begin": 64}],
        [found | {"last_sequence_number": str(int(found["last_sequence_number"]) + (1 << 80))}],
        [found | {"records_lost": 2}],
        [found, found | {"kind": "index"}],
    )
    for findings in wrong:
        with pytest.raises(Broken):
            oracle.hold(tmp_path / "store", findings)
