"""The servers of the rows over HTTP: ours as a process, kinesalite from npm, and ours with constant answers."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
PLACE = ROOT / "build" / "rivals"


@contextlib.contextmanager
def ours(directory: Path, durability: str) -> Iterator[tuple[subprocess.Popen[str], str, float]]:
    """`streamstore serve` in a process of its own: the process, its URL, and the seconds to its ready line."""
    command = [sys.executable, "-m", "streamstore", "serve", str(directory), "--port", "0", "--durability", durability]
    # As on a user's machine, where a second start finds the modules compiled.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(ROOT / "build" / "compiled")
    started = time.perf_counter()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            seconds = time.perf_counter() - started
            yield process, line.split()[1], seconds
        finally:
            process.terminate()
            process.wait()


@contextlib.contextmanager
def kinesalite() -> Iterator[tuple[str, str]]:
    """kinesalite in memory, its default: its URL and version. Skips where npm is absent or cannot fetch it."""
    if shutil.which("npm") is None:
        pytest.skip("there is no npm on this machine")
    home = PLACE / "node_modules" / "kinesalite"
    if not home.exists():
        PLACE.mkdir(parents=True, exist_ok=True)
        install = ["npm", "install", "--silent", "--no-audit", "--no-fund", "kinesalite"]
        done = subprocess.run(install, cwd=PLACE, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"kinesalite cannot be installed: {done.stderr[-200:]}")
    version = json.loads((home / "package.json").read_text(encoding="utf-8"))["version"]
    port = _free_port()
    command = ["node", str(home / "cli.js"), "--port", str(port), "--createStreamMs", "0"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            _wait(port)
            yield f"http://127.0.0.1:{port}", version
        finally:
            process.terminate()
            process.wait()


@contextlib.contextmanager
def constant(answers: dict[str, tuple[list[tuple[str, str]], bytes]], scratch: Path) -> Iterator[str]:
    """The HTTP stack of ours in a process of its own that reads each request and answers what is given."""
    path, port = scratch / "answers.json", _free_port()
    path.write_text(
        json.dumps({name: [headers, base64.b64encode(body).decode()] for name, (headers, body) in answers.items()}),
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "bench.http_servers", str(path), str(port)]
    with subprocess.Popen(command, cwd=ROOT) as process:
        try:
            _wait(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(port: int) -> None:
    for _ in range(500):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise RuntimeError(f"nobody listens at port {port}")


def _answer_constantly(path: str, port: str) -> None:
    """What the process of `constant` does: granian as ours starts it, and as little as can be behind it."""
    from granian.constants import HTTPModes, Interfaces
    from granian.server.embed import Server

    answers = {
        name: ([(key, value) for key, value in headers], base64.b64decode(body))
        for name, (headers, body) in json.loads(Path(path).read_text(encoding="utf-8")).items()
    }

    async def application(scope: Any, protocol: Any) -> None:
        headers, body = answers[scope.headers.get("x-amz-target").rpartition(".")[2]]
        await protocol()
        protocol.response_bytes(200, headers, body)

    server = Server(
        application, address="127.0.0.1", port=int(port), interface=Interfaces.RSGI, http=HTTPModes.auto,
        websockets=False, log_enabled=False,
    )  # fmt: skip
    asyncio.run(server.serve())


if __name__ == "__main__":
    _answer_constantly(*sys.argv[1:])
