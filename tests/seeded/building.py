"""Building and running one suite over sources of which one was changed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from seeded.seed import ROOT

CC = os.environ.get("CC", "gcc")
FLAGS = {
    "plain": ["-O2"],
    "kill": ["-O2", "-DSS_KILLPOINTS"],
    "sanitize": ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"],
    "tsan": ["-O1", "-fsanitize=thread", "-fno-omit-frame-pointer", "-Wno-tsan"],
}
COMPILE = ["-std=c11", "-pthread", "-Icsrc", "-Itests/c", "-w"]
SUITE_SECONDS_MAX = 100
SOUND_SECONDS_MAX = 600
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "build", "dist", "__pycache__", "*.egg-info", ".*_cache")


class NotBuilt(Exception):
    """The changed source does not compile: the change is no bug but nonsense."""


class Outcome(NamedTuple):
    """Whether a suite passed, the last of what it said, whether it was stopped, and how long it took."""

    well: bool
    said: str
    late: bool
    seconds: float


def compile_c(source: Path, to: Path, build: str) -> None:
    """One object file; NotBuilt where the compiler refuses."""
    to.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [CC, *COMPILE, *FLAGS[build], "-c", str(source), "-o", str(to)], cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode:
        raise NotBuilt(done.stderr)


class CBuild:
    """Programs of tests/c, linked with the core of which one file may be another; their stores lie in `stores`."""

    def __init__(self, scratch: Path, stores: Path | None = None) -> None:
        self._scratch = scratch
        self._stores = stores or scratch
        self._built: set[str] = set()
        self._compiled: dict[Path, str] = {}
        self._codes: dict[str, bytes] = {}
        self._sound_seconds: dict[str, float] = {}
        scratch.mkdir(parents=True, exist_ok=True)
        # Of two runs in one place each would undo the other's change.
        self._lock = os.open(scratch / "lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def close(self) -> None:
        """Let the next run in."""
        os.close(self._lock)

    def _core(self, build: str) -> Path:
        """The unchanged core as a library: whoever links a changed file before it gets that one."""
        library = self._scratch / build / "libcore.a"
        if build not in self._built:
            headers = list((ROOT / "csrc").glob("*.h"))
            objects = [self._made(source, build, headers) for source in sorted((ROOT / "csrc").glob("*.c"))]
            library.unlink(missing_ok=True)
            subprocess.run(["ar", "rcs", str(library), *map(str, objects)], check=True)
            self._built.add(build)
        return library

    def _made(self, source: Path, build: str, headers: Iterable[Path]) -> Path:
        """The source's object, which is made anew where the source or a header is younger."""
        to = self._scratch / build / f"{source.stem}.o"
        newest = max(path.stat().st_mtime for path in (source, *headers))
        if not to.exists() or to.stat().st_mtime < newest:
            compile_c(source, to, build)
        return to

    def _changed(self, name: str, text: str, build: str) -> Path:
        """The object of other text for a file of the core; one text is compiled once."""
        source = self._scratch / "changed" / name
        to = self._scratch / "changed" / build / f"{source.stem}.o"
        if self._compiled.get(to) != text:
            source.parent.mkdir(parents=True, exist_ok=True)
            source.write_text(text, encoding="utf-8")
            self._compiled.pop(to, None)
            compile_c(source, to, build)
            self._compiled[to] = text
        return to

    def same_code(self, name: str, text: str) -> bool:
        """Whether the compiler makes of this text what it makes of the file as it is; NotBuilt where it refuses."""
        if name not in self._codes:
            plain = (ROOT / "csrc" / name).read_text(encoding="utf-8")
            self._codes[name] = self._changed(name, plain, "plain").read_bytes()
        return self._changed(name, text, "plain").read_bytes() == self._codes[name]

    def link(self, build: str, program: str, changed: dict[str, str]) -> Path:
        """The program, with other text for the core's files that `changed` names (`{"lock.c": text}`)."""
        core = self._core(build)
        headers = [*(ROOT / "csrc").glob("*.h"), *(ROOT / "tests" / "c").glob("*.h")]
        objects = [self._made(ROOT / "tests" / "c" / f"{program}.c", build, headers)]
        objects += [self._changed(name, text, build) for name, text in changed.items()]
        to = self._scratch / "changed" / program
        to.parent.mkdir(parents=True, exist_ok=True)
        wrapped = ["@tests/c/calls_wrapped"] if program.startswith("fault_") else []
        command = [CC, *COMPILE, *FLAGS[build], *map(str, objects), str(core), *wrapped, "-o", str(to)]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        return to

    def run(self, suite: str, changed: dict[str, str], seconds: float = SUITE_SECONDS_MAX) -> Outcome:
        """What became of a suite over a changed core; it is stopped after so long."""
        first, *arguments = shlex.split(suite)
        build, program = first.split("/")
        command = [str(self.link(build, program, changed)), *arguments]
        if build == "tsan":
            command = ["setarch", os.uname().machine, "-R", *command]
        return run(command, self._scratch, self._stores, seconds)

    def holds(self, suite: str, changed: dict[str, str]) -> bool:
        """Whether it passes, and in a time like the unchanged core's on this machine, however busy that is now."""
        if suite not in self._sound_seconds:
            self._sound_seconds[suite] = self._sound(suite, SOUND_SECONDS_MAX).seconds
        limit = max(5.0, 10 * self._sound_seconds[suite])
        for patience in 1, 4:  # it hangs, or something else had the processors: then it ends when it is given more time
            outcome = self.run(suite, changed, patience * limit)
            if not outcome.late:
                return outcome.well
            self._sound_seconds[suite] = max(self._sound_seconds[suite], self._sound(suite, SOUND_SECONDS_MAX).seconds)
            limit = max(limit, 10 * self._sound_seconds[suite])
        return False

    def _sound(self, suite: str, seconds: float) -> Outcome:
        outcome = self.run(suite, {}, seconds)
        if not outcome.well:
            raise RuntimeError(f"{suite} fails without a change:\n{outcome.said}")
        return outcome


class PythonTree:
    """A copy of the whole tree, with what is built in it, for bugs in Python."""

    def __init__(self, scratch: Path) -> None:
        self.root = scratch / "tree"

    def run(self, suite: str, changed: dict[str, str]) -> Outcome:
        """As CBuild.run; names in `changed` are paths from the root."""
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.copytree(ROOT, self.root, ignore=LEFT_OUT, symlinks=True)
        for name, text in changed.items():
            (self.root / name).write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *shlex.split(suite)]
        return run(command, self.root, self.root, SUITE_SECONDS_MAX, {"PYTHONPATH": str(self.root)})


def run(
    command: list[str], directory: Path, stores: Path, seconds: float, environment: dict[str, str] | None = None
) -> Outcome:
    """Run it in `directory` with a TMPDIR in `stores`. A suite that never ends has found something too."""
    begun, late = time.monotonic(), False
    scratch = Path(tempfile.mkdtemp(prefix="streamstore-suite-", dir=stores))
    # A file, not a pipe: what a failed suite left running would hold the pipe's other end.
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=os.environ | {"TMPDIR": str(scratch)} | (environment or {}),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            late = True
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            process.wait()
            shutil.rmtree(scratch, ignore_errors=True)
        output.seek(0)
        said = output.read().strip().splitlines()[-6:]
    said += [f"no end after {seconds:.0f} s"] if late else []
    return Outcome(process.returncode == 0 and not late, "\n".join(said), late, time.monotonic() - begun)
