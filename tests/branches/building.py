"""The counting build: a copy of the tree whose two modules and C programs say at their end which branches they took.

All count into the same files, one beside each object; libgcov adds up what several processes bring, under a lock.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from figures import ROOT

TREE = ROOT / "build" / "branches"
CC = os.environ.get("CC", "gcc").split()[0]
LEFT_OUT = ("build", "dist", ".git", ".venv", "*.so", "__pycache__", "*.egg-info", ".*_cache", ".hypothesis")


class NotBuilt(Exception):
    """What the compiler said."""


def _run(command: list[str], **environment: str) -> None:
    done = subprocess.run(
        command, cwd=TREE, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise NotBuilt(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")


def build(source: Path = ROOT) -> None:
    """Copy the tree and build both modules in it, counts at zero; raises NotBuilt."""
    shutil.rmtree(TREE, ignore_errors=True)
    shutil.copytree(source, TREE, symlinks=True, ignore=shutil.ignore_patterns(*LEFT_OUT))
    _run([sys.executable, "setup.py", "-q", "build_ext", "--inplace"], STREAMSTORE_COVERAGE="1")


def objects() -> Path:
    """The directory of the core's objects, with those of the _hot extension below it."""
    found = list((TREE / "build").glob("temp.*/csrc"))
    if len(found) != 1:
        raise NotBuilt(f"{TREE}: {len(found)} directories of objects")
    return found[0]


def programs(pattern: str) -> list[Path]:
    """The C programs of that name in tests/c, linked with the core's counting objects; raises NotBuilt.

    Their forked children leave by _exit, which runs no handler: tests/c/counted.h brings their counts out.
    """
    core = [str(path) for path in sorted(objects().glob("*.o"))]
    flags = ["-std=c11", "-g", "-O1", "-w", "-pthread", "-DSS_COUNTED", "-Icsrc", "-Itests/c"]
    made = []
    for source in sorted((TREE / "tests" / "c").glob(pattern)):
        made.append(TREE / "build" / source.stem)
        calls = ["@tests/c/calls_wrapped"] if source.name.startswith("fault_") else []
        _run([CC, *flags, "-include", "counted.h", str(source), *core, "--coverage", *calls, "-o", str(made[-1])])
    return made
