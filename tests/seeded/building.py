"""Building and running one suite over sources of which one was changed."""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from seeded.seed import ROOT

CC = os.environ.get("CC", "gcc")
FLAGS = {
    "plain": ["-O2"],
    "kill": ["-O2", "-DSS_KILLPOINTS"],
    "sanitize": ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"],
    "tsan": ["-O1", "-fsanitize=thread", "-fno-omit-frame-pointer", "-Wno-tsan"],
}
COMPILE = ["-std=c11", "-g", "-pthread", "-Icsrc", "-Itests/c", "-w"]
SUITE_SECONDS_MAX = 100
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "build", "dist", "__pycache__", "*.egg-info", ".*_cache")


class NotBuilt(Exception):
    """The changed source does not compile: the change is no bug but nonsense."""


def compile_c(source: Path, to: Path, build: str) -> None:
    """One object file; NotBuilt where the compiler refuses."""
    to.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [CC, *COMPILE, *FLAGS[build], "-c", str(source), "-o", str(to)], cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode:
        raise NotBuilt(done.stderr)


class CBuild:
    """Programs of tests/c, linked with the core of which one file may be another."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._built: set[str] = set()
        scratch.mkdir(parents=True, exist_ok=True)
        # Of two runs in one place each would undo the other's change.
        self._lock = os.open(scratch / "lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def close(self) -> None:
        """Let the next run in."""
        os.close(self._lock)

    def _objects(self, build: str) -> dict[str, Path]:
        directory = self._scratch / build
        found = {source.name: directory / f"{source.stem}.o" for source in sorted((ROOT / "csrc").glob("*.c"))}
        if build not in self._built:
            for name, to in found.items():
                source = ROOT / "csrc" / name
                newest = max(header.stat().st_mtime for header in [source, *(ROOT / "csrc").glob("*.h")])
                if not to.exists() or to.stat().st_mtime < newest:
                    compile_c(source, to, build)
            self._built.add(build)
        return found

    def link(self, build: str, program: str, changed: dict[str, str]) -> Path:
        """The program, with other text for the core's files that `changed` names (`{"lock.c": text}`)."""
        objects = self._objects(build)
        for name, text in changed.items():
            source = self._scratch / "changed" / name
            source.parent.mkdir(parents=True, exist_ok=True)
            source.write_text(text, encoding="utf-8")
            objects[name] = self._scratch / "changed" / f"{Path(name).stem}.o"
            compile_c(source, objects[name], build)
        to = self._scratch / "changed" / program
        to.parent.mkdir(parents=True, exist_ok=True)
        source = ROOT / "tests" / "c" / f"{program}.c"
        command = [CC, *COMPILE, *FLAGS[build], str(source), *map(str, objects.values()), "-o", str(to)]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        return to

    def run(self, suite: str, changed: dict[str, str]) -> tuple[bool, str]:
        """(whether the suite passed, the last of what it said)."""
        first, *arguments = shlex.split(suite)
        build, program = first.split("/")
        command = [str(self.link(build, program, changed)), *arguments]
        if build == "tsan":
            command = ["setarch", os.uname().machine, "-R", *command]
        return run(command, self._scratch)


class PythonTree:
    """A copy of the whole tree, with what is built in it, for bugs in Python."""

    def __init__(self, scratch: Path) -> None:
        self.root = scratch / "tree"

    def run(self, suite: str, changed: dict[str, str]) -> tuple[bool, str]:
        """As CBuild.run; names in `changed` are paths from the root."""
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.copytree(ROOT, self.root, ignore=LEFT_OUT, symlinks=True)
        for name, text in changed.items():
            (self.root / name).write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *shlex.split(suite)]
        return run(command, self.root, {"PYTHONPATH": str(self.root)})


def run(command: list[str], directory: Path, environment: dict[str, str] | None = None) -> tuple[bool, str]:
    """(whether it ended well, its last lines). A suite that never ends has found something too."""
    scratch = directory / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    variables = os.environ | {"TMPDIR": str(scratch)} | (environment or {})
    process = subprocess.Popen(
        command,
        cwd=directory,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=SUITE_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        said, _ = process.communicate()
        said += f"\nno end after {SUITE_SECONDS_MAX} s"
    except BaseException:
        os.killpg(process.pid, 9)
        raise
    shutil.rmtree(scratch, ignore_errors=True)
    return process.returncode == 0, "\n".join(said.strip().splitlines()[-6:])
