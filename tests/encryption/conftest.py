"""A key file, and a store that has its keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import streamstore
from streamstore import key_file


@pytest.fixture
def ring(tmp_path: Path) -> str:
    """The path of a key file."""
    key_file.create(str(tmp_path / "master.key"))
    return str(tmp_path / "master.key")


@pytest.fixture
def crypted(tmp_path: Path, ring: str) -> Iterator[streamstore.Store]:
    """A store with that key ring."""
    with streamstore.open(tmp_path / "data", key_ring=ring, durability="process") as opened:
        yield opened
