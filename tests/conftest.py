"""What every test may use: a store of its own, the real input where it is there, and an end to any test that hangs.
No test fails because the machine is busy.

Imports the package only inside fixtures, so that the house rules can be checked before anything is built.
"""

from __future__ import annotations

import faulthandler
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    import streamstore

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("STREAMSTORE_DATA", ROOT.parent / "shared" / "data"))

# A test that takes longer than this hangs: all stacks are printed and the run ends.
HANG_SECONDS = 300
HANG_SECONDS_STRESS = 3600

_stderr: list[Any] = []


def pytest_configure(config: pytest.Config) -> None:
    """Keep the real stderr: while a test runs, pytest has put a file in its place. Let programs hear Ctrl-C.

    Where this run ignores SIGINT (a shell's `&`, nohup), so would every program that a test starts and interrupts. A
    handler of our own that does nothing is the same to this process, and the default to those.
    """
    _stderr.append(os.fdopen(os.dup(2), "w"))
    # How long an example takes says how busy the machine is, and no more.
    settings.register_profile("unhurried", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("unhurried")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda number, frame: None)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Close what pytest_configure opened."""
    while _stderr:
        _stderr.pop().close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """End the run with the stacks of all threads when one test hangs, its fixtures included."""
    seconds = HANG_SECONDS_STRESS if item.get_closest_marker("stress") else HANG_SECONDS
    faulthandler.dump_traceback_later(seconds, exit=True, file=_stderr[0])
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what only root can do for anybody else."""
    if os.geteuid() != 0:
        for item in items:
            if item.get_closest_marker("root"):
                item.add_marker(pytest.mark.skip(reason="needs root"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[streamstore.Store]:
    """Open a new store in a temporary directory, closed at the end of the test."""
    import streamstore

    with streamstore.open(tmp_path / "store") as opened:
        yield opened


@pytest.fixture
def data_file() -> Callable[[str], Path]:
    """Give a function from the name of a real input file to its path; the test is skipped where the file is absent.

    The files lie in ../shared/data beside the repository, or where STREAMSTORE_DATA says.
    """

    def find(name: str) -> Path:
        path = DATA / name
        if not path.is_file():
            pytest.skip(f"the input file {name} is not on this machine")
        return path

    return find
