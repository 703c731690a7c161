"""C sources of the tests as a shared library."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def shared_library(source: str, library: Path) -> Path:
    """Compile a file of tests/c into `library`, and return that. Skips the test where there is no C compiler."""
    compiler = os.environ.get("CC", "cc").split()[0]
    if shutil.which(compiler) is None:
        pytest.skip("no C compiler on this machine")
    flags = ["-std=c11", "-O1", "-g", "-fPIC", "-shared", "-pthread", f"-I{ROOT / 'csrc'}"]
    subprocess.run([compiler, *flags, str(ROOT / "tests/c" / source), "-o", str(library), "-ldl"], check=True)
    return library
