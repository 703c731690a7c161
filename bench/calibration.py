"""The machine's own speeds, taken in the same run, and the warming up without which a virtual machine misleads."""

from __future__ import annotations

import mmap
import statistics
import timeit
from pathlib import Path
from typing import Any

from bench import children, floors
from bench.plan import Plan
from streamstore.bench.result import Figure

CHUNK = 256 << 20
HELD = 64
FRAME_SIZE = 168


def warm_memory(size: int) -> list[mmap.mmap]:
    """Touch `size` bytes and give back all but a page in each HELD; hold the returned maps while things are timed.

    The first touch of a virtual machine's page goes to the host, and free runs of 2 MiB may go back to the host and be
    as slow again. The pages held keep free runs short, and the kernel takes from short runs first.
    """
    maps = []
    for _ in range(max(size // CHUNK, 1)):
        block = mmap.mmap(-1, CHUNK, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        block[:: mmap.PAGESIZE] = b"\x01" * (CHUNK // mmap.PAGESIZE)
        maps.append(block)
    for block in maps:
        for start in range(0, CHUNK, HELD * mmap.PAGESIZE):
            block.madvise(mmap.MADV_DONTNEED, start + mmap.PAGESIZE, (HELD - 1) * mmap.PAGESIZE)
    return maps


def calibrate(sizes: Plan) -> dict[str, Figure]:
    """Return the figures of this machine by name."""
    found = {
        "memcpy, cached": Figure(floors.copy_rate(256 << 10, 2_000), "bytes/s", "256 KiB between resident buffers"),
        "memcpy, memory": Figure(floors.copy_rate(256 << 20, 4), "bytes/s", "256 MiB between resident buffers"),
        "page touch": Figure(floors.touch_time(256 << 20, None), "s", "first write to an anonymous 4 KiB page"),
        "page touch, file": Figure(
            floors.touch_time(256 << 20, sizes.directory / "touch"), "s", "first write to a page of a fallocated file"
        ),
    }
    found.update(_sync(sizes.directory))
    found.update(_pipe(sizes.pings))
    found.update(_calls())
    return found


def _sync(directory: Path) -> dict[str, Figure]:
    path = directory / "sync"
    raw = floors.RawFile(path)
    times = sorted(raw.sync_times(b"\x01" * FRAME_SIZE, 300)[50:])
    raw.close()
    path.unlink()
    how = f"pwrite of {FRAME_SIZE} B + fdatasync on a fallocated file"
    return {
        "fdatasync p50": Figure(statistics.median(times), "s", how),
        "fdatasync p99": Figure(times[int(len(times) * 0.99)], "s", how),
    }


def _pipe(count: int) -> dict[str, Figure]:
    with children.child("echo") as echo:
        floors.pipe_round_trips(echo.input, echo.output, count)
        times = floors.pipe_round_trips(echo.input, echo.output, count * 5)
    return {"pipe round trip p50": Figure(statistics.median(times), "s", "8 B between two Python processes, blocking")}


def _calls() -> dict[str, Figure]:
    try:
        from streamstore import _core
    except ImportError:
        return {}
    library: Any = _core.lib
    data = b"\x01" * 8
    best = min(timeit.repeat(lambda: library.ss_xxh3_64_seeded(data, 8, 0), number=100_000, repeat=5)) / 100_000
    empty = min(timeit.repeat(lambda: None, number=100_000, repeat=5)) / 100_000
    return {
        "cffi call": Figure(best - empty, "s", "one bytes argument, hashing 8 B; the Python call around it taken off")
    }
