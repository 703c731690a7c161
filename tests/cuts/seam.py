"""The library that stands between the core and the system (tests/c/seam.h), as Python objects.

Only a process that was started with it preloaded can use it: see `preloaded`.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

from streamstore import clock

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCES = sorted((ROOT / "tests" / "c").glob("seam_*.c"))
MODES = ("lost", "kept", "cut", "files", "pages", "sectors", "torn", "last", "each")


def build(directory: Path) -> Path:
    """Compile the library into a directory, unless it is there and newer than its sources; returns its path."""
    library = directory / "seam.so"
    newest = max(path.stat().st_mtime for path in [*SOURCES, ROOT / "tests" / "c" / "seam.h"])
    if not library.exists() or library.stat().st_mtime < newest:
        directory.mkdir(parents=True, exist_ok=True)
        compiler = os.environ.get("CC", "gcc")
        command = [compiler, "-std=c11", "-O2", "-g", "-fPIC", "-shared", "-pthread", "-o", str(library)]
        subprocess.run([*command, *map(str, SOURCES), "-ldl"], check=True)
    return library


def preloaded(module: str, arguments: Sequence[str], library: Path) -> tuple[list[str], dict[str, str]]:
    """Return the command and the environment of a Python that runs a module of the tests with the library below it."""
    paths = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "stress")]
    environment = {**os.environ, "LD_PRELOAD": str(library), "PYTHONPATH": os.pathsep.join(paths)}
    return [sys.executable, "-m", module, *arguments], environment


def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(None)
    library.seam_begin.restype = ctypes.c_void_p
    library.seam_begin.argtypes = [ctypes.c_char_p]
    library.seam_mark.restype = ctypes.c_uint32
    library.seam_units.restype = ctypes.c_uint32
    library.seam_print.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    for name in ("seam_end", "seam_free", "seam_mark"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
    library.seam_units.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    library.seam_image.argtypes = [
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_int,
        ctypes.c_uint64,
        ctypes.c_char_p,
    ]
    library.seam_freeze.argtypes = [ctypes.c_uint64]
    library.seam_boot.argtypes = [ctypes.c_char_p]
    library.seam_fail.argtypes = [ctypes.c_int, ctypes.c_uint64, ctypes.c_int, ctypes.c_int, ctypes.c_int]
    library.seam_fail.restype = None
    library.seam_calls.restype = library.seam_failed.restype = ctypes.c_uint64
    library.seam_name.restype = ctypes.c_char_p
    return library


LIBRARY = _library() if "seam" in os.environ.get("LD_PRELOAD", "") else None


def _loaded() -> ctypes.CDLL:
    if LIBRARY is None:
        raise RuntimeError("this program runs below its own library only: LD_PRELOAD")
    return LIBRARY


def by_pwrite(on: bool) -> None:
    """From now on the core takes the file system for one where it must not store through maps."""
    _loaded().seam_backend(int(on))


_frozen_us = 0


def freeze(wall_us: int) -> None:
    """Let the core's wall clock stand still; 0 lets it go again."""
    global _frozen_us
    _frozen_us = wall_us
    _loaded().seam_freeze(wall_us)


def frozen_us() -> int:
    """Where the core's wall clock stands still; 0 where it goes."""
    return _frozen_us


def wall_us() -> int:
    """The wall clock as the core has it."""
    return _frozen_us or clock.now_us()


def boot(identity: Path | None) -> None:
    """From now on the machine is in the boot that this file names; None: in the one that it is in."""
    _loaded().seam_boot(None if identity is None else str(identity).encode())


def fail(kind: int, first: int, error: int, *, lasting: bool, short_write: bool) -> None:
    """Let the first-th call of that kind that the core makes from now on fail, and where lasting all after it."""
    _loaded().seam_fail(kind, first, error, int(lasting), int(short_write))


def failed() -> int:
    """How many calls were failed since."""
    return int(_loaded().seam_failed())


def heal() -> int:
    """The same; and nothing fails any more."""
    count = failed()
    _loaded().seam_fail(-1, 0, 0, 0, 0)
    return count


class Trace:
    """What happens below a directory from now until the end of the block."""

    def __init__(self, root: Path) -> None:
        self._library = _loaded()
        self._trace = self._library.seam_begin(str(root).encode())
        if not self._trace:
            raise RuntimeError(f"{root}: no trace")
        self.moments = 0

    def __enter__(self) -> Trace:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.end()

    def mark(self) -> int:
        """End a moment; returns its number: all that came before has one up to it."""
        return int(self._library.seam_mark(self._trace))

    def end(self) -> None:
        """Record no more."""
        self.moments = self.mark()
        self._library.seam_end(self._trace)

    def units(self, moment: int) -> int:
        """How many sectors, lengths and names a cut in that moment leaves open."""
        return int(self._library.seam_units(self._trace, moment))

    def image(self, moment: int, mode: str, seed: int, target: Path) -> None:
        """Make a directory as the cut could leave it."""
        error = self._library.seam_image(self._trace, moment, MODES.index(mode), seed, str(target).encode())
        if error:
            raise OSError(error, os.strerror(error), str(target))

    def print(self, path: Path) -> None:
        """Write it all down, a line an operation."""
        self._library.seam_print(self._trace, str(path).encode())

    def free(self) -> None:
        """Forget it all."""
        self._library.seam_free(self._trace)


class Untraced:
    """Stands for a trace where nobody will cut: it only counts."""

    def __init__(self) -> None:
        self.moments = 0

    def __enter__(self) -> Untraced:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        pass

    def mark(self) -> int:
        """The next number."""
        self.moments += 1
        return self.moments


def call_kinds() -> Iterator[tuple[int, str]]:
    """Yield the kinds of calls that can be failed, by number and name."""
    kind = 0
    while name := _loaded().seam_name(kind):
        yield kind, name.decode()
        kind += 1
