"""What this machine and this interpreter do by themselves, taken in the same run: no subject can be faster."""

from __future__ import annotations

import os
import socket
import statistics
import threading
import time
from pathlib import Path

from streamstore.bench.result import Figure

_TIMES = 200


def calibrate(directory: Path) -> dict[str, Figure]:
    """Some figures by name, in about a second; `directory` is one on the disk in question."""
    return {
        "fdatasync p50": Figure(_sync(directory), "s", "pwrite of 4 KiB + fdatasync"),
        "loopback p50": Figure(_loopback(), "s", "100 B there and back over TCP, two threads of one process"),
        "sleep p50": Figure(_oversleep(50), "s", "how much longer a sleep of 1 ms takes"),
        "sleep p99": Figure(_oversleep(99), "s", "how much longer a sleep of 1 ms takes"),
        "copy": Figure(_copy(), "bytes/s", "1 MiB between buffers"),
    }


def _sync(directory: Path) -> float:
    path = directory / f".calibrate-{os.getpid()}"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, 4096)
        took = []
        for _ in range(_TIMES):
            began = time.perf_counter()
            os.pwrite(descriptor, b"\x01" * 4096, 0)
            os.fdatasync(descriptor)
            took.append(time.perf_counter() - began)
    finally:
        os.close(descriptor)
        path.unlink()
    return statistics.median(took)


def _loopback() -> float:
    left, right = _tcp_pair()

    def echo() -> None:
        while data := right.recv(4096):
            right.sendall(data)

    thread = threading.Thread(target=echo)
    thread.start()
    took = []
    with left, right:
        for _ in range(_TIMES):
            began = time.perf_counter()
            left.sendall(b"\x01" * 100)
            left.recv(4096)
            took.append(time.perf_counter() - began)
        left.shutdown(socket.SHUT_WR)
        thread.join()
    return statistics.median(took)


def _tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        left = socket.create_connection(server.getsockname())
        right, _ = server.accept()
    for end in (left, right):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return left, right


def _oversleep(share: int) -> float:
    over = []
    for _ in range(_TIMES):
        began = time.perf_counter()
        time.sleep(0.001)
        over.append(time.perf_counter() - began - 0.001)
    return max(0.0, sorted(over)[len(over) * share // 100])


def _copy() -> float:
    source, target = bytearray(1 << 20), bytearray(1 << 20)
    began = time.perf_counter()
    for _ in range(_TIMES):
        target[:] = source
    return _TIMES * len(source) / (time.perf_counter() - began)
