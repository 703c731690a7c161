"""What is run over the counting build, in order: C programs, the Python tests, and the suites that break things."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from branches.building import TREE, programs

SECONDS_MAX = 3600
# The tests that are about what the core and the extension do; the others take no branches that these do not.
TESTS = (
    "hot/test_*", "encryption/test_*", "test_record_lists", "test_shard", "test_stream", "test_store", "test_reader",
    "test_routing", "test_hashes", "test_lz4", "test_aggregation", "test_user_records", "test_producer",
    "test_compaction*", "test_damage_and_retention", "test_repair", "test_verify", "test_limit", "test_retention",
    "test_reshard", "test_golden", "test_fork", "test_arrow", "test_catalog", "test_snapshot", "test_iterators",
    "test_expiry", "test_attributes", "test_annotations", "test_archive", "test_maintenance",
)  # fmt: skip


def _environment() -> dict[str, str]:
    """The copy's package and tests before all others, and children that leave by os._exit bring their counts."""
    paths = [TREE / "tests" / "branches" / "child", TREE, TREE / "tests"]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "PYTHONDONTWRITEBYTECODE": "1"}


def _run(command: list[str], say: Callable[[str], None]) -> bool:
    with tempfile.TemporaryDirectory(prefix="streamstore-branches-") as scratch:
        log = TREE / "build" / "run.log"
        begun = time.monotonic()
        environment = {**_environment(), "TMPDIR": scratch}
        with log.open("w") as output:
            done = subprocess.run(
                command, cwd=TREE, env=environment, stdout=output, stderr=output, timeout=SECONDS_MAX, check=False
            )
        name = " ".join(Path(part).name if part.startswith("/") else part for part in command)
        say(f"{time.monotonic() - begun:6.0f} s  {name}")
        if done.returncode:
            say(f"FAILED ({done.returncode})\n" + "\n".join(log.read_text(errors="replace").splitlines()[-40:]))
    return done.returncode == 0


def _c(pattern: str, *arguments: str) -> Iterator[list[str]]:
    yield from ([str(program), *arguments] for program in programs(pattern))


def _pytest() -> Iterator[list[str]]:
    chosen = sorted(str(path.relative_to(TREE)) for name in TESTS for path in (TREE / "tests").glob(f"{name}.py"))
    yield [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen]


def _suite(name: str, *options: str) -> Iterator[list[str]]:
    yield [sys.executable, "-m", name, *options, "--seed", "1", "--figures", str(TREE / "build")]


RUNS: dict[str, Callable[[], Iterator[list[str]]]] = {
    "c": lambda: _c("test_*.c"),
    "fault": lambda: _c("fault_*.c", "", "3"),
    "kill": lambda: _c("kill_*.c"),
    "pytest": _pytest,
    "rot": lambda: _suite("rot", "--cases", "400"),
    "cuts": lambda: _suite("cuts", "--images", "4000"),
    "faults": lambda: _suite("faults", "--stride", "7"),
}
"""By name; each makes its commands when its turn comes."""


def run(names: list[str], say: Callable[[str], None]) -> int:
    """Run them; returns how many commands failed."""
    return sum(not _run(command, say) for name in names for command in RUNS[name]())
