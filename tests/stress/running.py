"""Starting the programs beside this file, and the seed of a test: drawn in the long runs, fixed in the short.

A program that ends by a signal nobody sent (SIGBUS, SIGSEGV, SIGABRT of an assert) fails the test like any other end.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
STRESS = pytest.mark.stress
# A program of another PID namespace, as in a container, and one whose mounts are its own; only root may.
ELSEWHERE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
MOUNTS_ALONE = ["unshare", "--mount"]


def seed(short: bool) -> int:
    """The seed of this run, printed: STREAMSTORE_SEED, else 1 for a short run and a new one for a long."""
    chosen = int(os.environ.get("STREAMSTORE_SEED", "1" if short else str(secrets.randbelow(1 << 30))))
    print(f"seed {chosen} (STREAMSTORE_SEED={chosen} for the same once more)")
    return chosen


def skip_without(prefix: list[str]) -> None:
    """Skip the test where this user, or this kernel, makes no such namespace."""
    if os.geteuid() != 0 or subprocess.run([*prefix, "true"], capture_output=True).returncode != 0:
        pytest.skip(f"{' '.join(prefix)} needs root, and a kernel that lets it")


def program(
    name: str, *arguments: Any, before: list[str] | None = None, more: dict[str, str] | None = None, **options: Any
) -> subprocess.Popen[str]:
    """Start a program of this directory; `before` goes in front of its command line, `more` into its environment."""
    command = [sys.executable, "-X", "dev", "-W", "error", str(HERE / name), *map(str, arguments)]
    options.setdefault("stdout", subprocess.PIPE)
    options.setdefault("stderr", subprocess.STDOUT)
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    environment = {**os.environ, "PYTHONPATH": path, **(more or {})}
    return subprocess.Popen([*(before or []), *command], text=True, env=environment, **options)


def output(process: subprocess.Popen[str], timeout: float = 100) -> str:
    """Wait for its end, which must be status 0, and return what it said."""
    try:
        said, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        said, _ = process.communicate()
        pytest.fail(f"{process.args} did not end within {timeout} s:\n{said}")
    assert process.returncode == 0, f"{process.args} ended with {process.returncode}:\n{said}"
    return said


def run(name: str, *arguments: Any, timeout: float = 100, **options: Any) -> str:
    """Run a program to its end, which must be status 0, and return what it said."""
    return output(program(name, *arguments, **options), timeout)
