"""`streamstore serve` as a process of its own, and one that is killed while clients put."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import streamstore

READY = "ready: "


def serve(directory: Path, *options: str) -> tuple[subprocess.Popen[str], list[str]]:
    """The process, once it is ready, and its URLs."""
    port = () if "--port" in options else ("--port", "0")
    command = [sys.executable, "-m", "streamstore", "serve", str(directory), *port, *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    line = process.stdout.readline()
    assert line.startswith(READY), line
    return process, line.removeprefix(READY).split()


def end(process: subprocess.Popen[str], *, kill: bool = False) -> int:
    """Tell it to end, or kill it; its exit code."""
    process.kill() if kill else process.terminate()
    code = process.wait(60)
    assert process.stdout
    process.stdout.close()
    return code


def killed_under(
    clients: Sequence[Callable[[str, list[bytes]], None]], directory: Path, *, least: int, longer: float = 0.0
) -> list[bytes]:
    """What clients say was acknowledged by a server that is killed `longer` seconds after `least` of it was.

    A client puts until that raises, and appends what was acknowledged.
    """
    process, (url,) = serve(directory)
    acknowledged: list[bytes] = []
    threads = [threading.Thread(target=client, args=(url, acknowledged)) for client in clients]
    for thread in threads:
        thread.start()
    while len(acknowledged) < least:
        time.sleep(0.01)
    time.sleep(longer)
    end(process, kill=True)
    for thread in threads:
        thread.join()
    return acknowledged


def check_each_once(directory: Path, stream: str, acknowledged: Sequence[bytes]) -> None:
    """All that was acknowledged is there, and nothing twice."""
    with streamstore.open(directory) as store:
        found = [record.data for record in store.stream(stream).read()]
    assert set(acknowledged) <= set(found)
    assert len(found) == len(set(found))
