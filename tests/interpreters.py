"""Interpreters of their own that run a piece of code, in developer's mode, and how they ended."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

IMPORTS = "import itertools, os, signal, sys, threading, time\nimport streamstore\n"


def start(code, *arguments, end=subprocess.DEVNULL):
    """An interpreter in developer's mode that runs `code`, its outputs pipes."""
    return subprocess.Popen(
        [sys.executable, "-X", "dev", "-W", "ignore::DeprecationWarning", "-c", IMPORTS + textwrap.dedent(code)]
        + [str(each) for each in arguments],
        stdin=end,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


def finish(process):
    """What it printed; it ended by itself, with status 0 and no complaint."""
    try:
        out, complaints = process.communicate(timeout=100)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert not complaints, complaints
    assert process.returncode == 0, process.returncode
    return out
