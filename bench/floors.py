"""What the machine itself can do, without any engine: the floors that rows and calibration stand on."""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Sequence
from pathlib import Path


class RawFile:
    """pwrite + fdatasync of the same bytes on a file whose space is allocated: one durable record, nothing else."""

    name = "pwrite + fdatasync"
    durability = "sync"
    setup = "os.pwrite and os.fdatasync of as many bytes as our frames have, on a fallocated file"

    def __init__(self, path: Path, size: int = 256 << 20) -> None:
        self.size = size
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.posix_fallocate(self.descriptor, 0, size)
        os.fsync(self.descriptor)
        self.offset = 0

    def put_each(self, frames: Sequence[bytes]) -> None:
        """Write and sync each frame behind the one before; at the end of the file from its start again."""
        descriptor, offset = self.descriptor, self.offset
        for frame in frames:
            if offset + len(frame) > self.size:
                offset = 0
            os.pwrite(descriptor, frame, offset)
            os.fdatasync(descriptor)
            offset += len(frame)
        self.offset = offset

    def sync_times(self, frame: bytes, count: int) -> list[float]:
        """Return how long each of `count` durable writes took, in seconds."""
        times = []
        for _ in range(count):
            started = time.perf_counter()
            self.put_each((frame,))
            times.append(time.perf_counter() - started)
        return times

    def close(self) -> None:
        """Close the file; it stays."""
        os.close(self.descriptor)


def pipe_round_trips(child_in: int, child_out: int, count: int) -> list[float]:
    """Return the seconds of each round trip of 8 bytes to a process that sends them back."""
    times = []
    for _ in range(count):
        started = time.perf_counter()
        os.write(child_in, b"12345678")
        os.read(child_out, 8)
        times.append(time.perf_counter() - started)
    return times


def copy_rate(size: int, repeats: int) -> float:
    """Return bytes per second of memcpy between two resident buffers of `size` bytes."""
    source, target = memoryview(bytearray(os.urandom(size))), memoryview(bytearray(size))
    target[:] = source
    started = time.perf_counter()
    for _ in range(repeats):
        target[:] = source
    return size * repeats / (time.perf_counter() - started)


def touch_time(size: int, path: Path | None) -> float:
    """Return seconds per page to write one byte into each page of a fresh mapping, of a file where a path is given."""
    pages = size // mmap.PAGESIZE
    if path is None:
        mapping = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    else:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.posix_fallocate(descriptor, 0, size)
        mapping = mmap.mmap(descriptor, size)
        os.close(descriptor)
    ones = b"\x01" * pages
    started = time.perf_counter()
    mapping[:: mmap.PAGESIZE] = ones
    seconds = time.perf_counter() - started
    mapping.close()
    if path is not None:
        path.unlink()
    return seconds / pages
