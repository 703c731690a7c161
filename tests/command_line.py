"""The command line for tests: in this process for speed, as a process of its own where signals and pipes matter."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent


class Result(NamedTuple):
    """What one run of a verb gave."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        """The output as text."""
        return self.out.decode()

    @property
    def json(self) -> Any:
        """The output as one JSON document."""
        return json.loads(self.out)

    @property
    def json_lines(self) -> list[Any]:
        """The output as a JSON document a line."""
        return [json.loads(line) for line in self.out.splitlines()]


def run(*arguments: object, stdin: bytes = b"") -> Result:
    """Run a verb in this process."""
    from streamstore.cli import main

    kept = sys.stdin, sys.stdout, sys.stderr
    out, err = io.BytesIO(), io.StringIO()
    text = io.TextIOWrapper(out, encoding="utf-8", write_through=True)
    sys.stdin, sys.stdout, sys.stderr = io.TextIOWrapper(io.BytesIO(stdin)), text, err
    try:
        code = main([str(argument) for argument in arguments])
        text.flush()
    finally:
        sys.stdin, sys.stdout, sys.stderr = kept
    return Result(code, out.getvalue(), err.getvalue())


def succeed(*arguments: object, stdin: bytes = b"") -> Result:
    """Run a verb that must end with 0."""
    result = run(*arguments, stdin=stdin)
    assert result.code == 0, result
    return result


def start(*arguments: object, **options: Any) -> subprocess.Popen[bytes]:
    """Start a verb as a process of its own."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return subprocess.Popen(
        [sys.executable, "-m", "streamstore", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
        **options,
    )
