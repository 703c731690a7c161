"""Fixtures of the benchmarks: the plan, the calibration of this run, and the board on which results are posted."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.board import Board
from bench.calibration import calibrate, warm_memory
from bench.plan import Plan, plan
from streamstore.bench import machine

ROOT = Path(__file__).parent.parent
BOARD = pytest.StashKey[Board]()
DIRECTORY = pytest.StashKey[Path]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that `python -m bench` passes on."""
    parser.addoption("--mode", choices=("quick", "full"), default="quick", help="sizes: quick is under two minutes")
    parser.addoption("--directory", default=str(ROOT / "build"), help="where the stores go; on the disk to be measured")
    parser.addoption("--web-log", default=None, help="a web server's log, for the ratio of compaction")
    parser.addoption("--results", default=str(ROOT / "build" / "bench.json"), help="the result file to write")


def pytest_configure(config: pytest.Config) -> None:
    """Make the directory of this run and an empty board."""
    parent = Path(config.getoption("--directory"))
    parent.mkdir(parents=True, exist_ok=True)
    config.stash[DIRECTORY] = Path(tempfile.mkdtemp(prefix="bench-", dir=parent))
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    config.stash[BOARD] = Board(config.getoption("--mode"), started, machine.commit(ROOT))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove every store of this run, also after Ctrl-C."""
    shutil.rmtree(config.stash[DIRECTORY], ignore_errors=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Post what a benchmark promised and did not fill in as failed, with its error."""
    report: Any = yield
    skipped = call.excinfo is not None and isinstance(call.excinfo.value, pytest.skip.Exception)
    if call.excinfo is not None and not skipped and call.when in ("setup", "call"):
        item.config.stash[BOARD].post_failed(_promised(item), _first_line(call.excinfo.exconly()))
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the result file; a run that was cut short or failed in part is written too."""
    if session.items:
        session.config.stash[BOARD].write(Path(session.config.getoption("--results")))


def _first_line(error: str) -> str:
    return error.splitlines()[0].replace(str(ROOT), ".")  # results are published, the paths of a machine are not


def _promised(item: pytest.Item) -> list[str]:
    return [name for marker in item.iter_markers("rows") for name in marker.args]


@pytest.fixture(scope="session")
def sizes(pytestconfig: pytest.Config) -> Plan:
    """How much this run does."""
    return plan(pytestconfig.getoption("--mode"), pytestconfig.stash[DIRECTORY])


@pytest.fixture(scope="session", autouse=True)
def calibrated(pytestconfig: pytest.Config, sizes: Plan) -> Iterator[None]:
    """Warm the memory, then take the machine's own speeds before anything is measured against them."""
    board = pytestconfig.stash[BOARD]
    board.machine.update(machine.facts(sizes.directory))
    warm = warm_memory(sizes.warm_bytes)
    board.calibration.update(calibrate(sizes))
    yield
    for block in warm:
        block.close()


@pytest.fixture
def board(pytestconfig: pytest.Config) -> Board:
    """Where results are posted."""
    return pytestconfig.stash[BOARD]


@pytest.fixture
def scratch(sizes: Plan, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A directory for one benchmark, removed after it."""
    directory = sizes.directory / request.node.name.replace("/", "_")
    directory.mkdir()
    yield directory
    shutil.rmtree(directory)
    os.sync()  # so that the next benchmark does not pay for this one


@pytest.fixture
def cleanup() -> Iterator[contextlib.ExitStack]:
    """A stack on which a benchmark puts what it opens; unwound before its directory goes."""
    with contextlib.ExitStack() as stack:
        yield stack
