"""A program that writes at full speed to a stream that keeps its records for seconds, and looks whether anything grows.

Writers in processes of their own, readers that follow, and maintenance in the background of each. What the disk holds,
descriptors, maps and private memory of the watching process must stay where they were once retention came round.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

import proof

import streamstore
from streamstore import limits

MIB = 1 << 20


def write(path: Path, writer: int, seconds: float) -> None:
    """Batches, one after another, until the time is over; a round of maintenance whenever one is due."""
    limits.MAINTENANCE_FIRST_AFTER_US = 100_000
    with streamstore.open(path, create=False) as store:
        stream = store.stream("s")
        end, n = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            stream.put_records([(b"%d:%d:" % (writer, n + i) + b"x" * 900, f"{writer}-{i}") for i in range(200)])
            n += 200


def follow(path: Path, seconds: float) -> None:
    """A reader that keeps up, or skips what was trimmed; and now and then one from the oldest record."""
    with streamstore.open(path, create=False, read_only=True) as store:
        stream = store.stream("s")
        end, seen, last = time.monotonic() + seconds, 0, {}
        with stream.read("LATEST", follow=True, timeout=2.0, on_trimmed="skip") as reader:
            for record in reader:
                writer, n = record.data.split(b":", 2)[:2]
                key = (record.partition_key, writer)
                if int(n) <= last.get(key, -1):
                    raise proof.Failure(f"record {n.decode()} of {key} came out of order")
                last[key] = int(n)
                seen += 1
                if seen % 100_000 == 0:
                    for _, _record in zip(range(1000), stream.read(on_trimmed="skip"), strict=False):
                        pass
                if time.monotonic() > end:
                    break
        if not seen:
            raise proof.Failure("the reader saw nothing")


def usage(path: Path) -> dict[str, int]:
    """What this process and the store take now."""
    status = dict(
        line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("Rss")
    )
    disk = 0
    for file in path.rglob("*"):
        try:
            disk += file.lstat().st_blocks * 512
        except OSError:
            continue
    return {
        "disk": disk,
        "private": int(status["RssAnon"].split()[0]) * 1024,
        "descriptors": len(os.listdir("/proc/self/fd")),
        "maps": len(Path("/proc/self/maps").read_text().splitlines()),
    }


def watch(path: Path, store: Any, kept_s: float, seconds: float) -> dict[str, list[int]]:
    """Sizes over time, from when retention came round for the second time."""
    begun = time.monotonic()
    found: dict[str, list[int]] = {}
    stream = store.stream("s")
    while time.monotonic() - begun < seconds:
        time.sleep(min(0.25, kept_s / 4))
        stream.last(1)
        if time.monotonic() - begun > 2 * kept_s:
            for what, size in usage(path).items():
                found.setdefault(what, []).append(size)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--kept", type=float, default=1.0)
    parser.add_argument("--writers", type=int, default=2)
    options = parser.parse_args()
    limits.MAINTENANCE_FIRST_AFTER_US = 100_000
    with streamstore.open(options.path, durability="process") as store:
        stream = store.create_stream("s", 2, segment_size=4 * MIB, compact_after=None)
        store.catalog.publish("alter", stream.info, set={"retention_us": round(options.kept * 1e6)})
    pids = [proof.in_child(write, options.path, writer, options.seconds) for writer in range(options.writers)]
    pids += [proof.in_child(follow, options.path, options.seconds) for _ in range(2)]
    with streamstore.open(options.path, create=False) as store:
        sizes = watch(options.path, store, options.kept, options.seconds)
        statuses = [os.waitpid(pid, 0)[1] for pid in pids]
        written = sum(shard.tail["shards"][shard.id][0] for shard in store.stream("s").shards())
    if any(statuses):
        raise proof.Failure(f"children ended with {statuses}")
    first, second = ({what: max(part(items)) for what, items in sizes.items()} for part in (early, late))
    print(f"{written / MIB:.0f} MiB written; first half {first}, second half {second}")
    # Bounds with room for a busy machine: what leaks grows with what is written, which is many times these.
    bounds = {"disk": 1.5 * first["disk"] + 64 * MIB, "private": first["private"] + 16 * MIB}
    bounds.update(descriptors=first["descriptors"] + 16, maps=first["maps"] + 32)
    grown = {what: (first[what], second[what]) for what in bounds if second[what] > bounds[what]}
    if grown:
        raise proof.Failure(f"something grows: {grown}")


def early(items: list[int]) -> list[int]:
    return items[: max(1, len(items) // 2)]


def late(items: list[int]) -> list[int]:
    return items[len(items) // 2 :]


if __name__ == "__main__":
    main()
