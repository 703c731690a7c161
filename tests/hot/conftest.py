"""The fake core, built once, and a `_hot` module of its own for every test."""

from __future__ import annotations

import ctypes
import sys
from functools import partial
from typing import Any

import fake_core
import pytest
from fake_core import Fake, Log


@pytest.fixture(scope="session")
def core(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The shared library of tests/c/fake_core.c."""
    return fake_core.build(tmp_path_factory.mktemp("fake_core"))


@pytest.fixture
def fake(core: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """A module bound to it; pickle finds the functions of that one."""
    made = Fake(core)
    monkeypatch.setitem(sys.modules, "streamstore._hot", made.hot)
    return made


@pytest.fixture
def log(fake: Fake) -> Log:
    """An empty log."""
    return fake.log()


@pytest.fixture(params=["one", "batch"])
def put(request: pytest.FixtureRequest, fake: Fake, log: Log) -> Any:
    """Put one record into `log`, by either door."""
    return partial(fake.put_one, request.param, log)
