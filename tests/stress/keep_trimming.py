"""A program that writes at full speed to a stream that keeps its records for seconds, and looks whether anything grows.

Writers in processes of their own, readers that follow, and maintenance in the background of each. What the disk holds,
and memory, descriptors and maps of every process, must stay where they were once retention came round.
"""

from __future__ import annotations

import argparse
import os
import time
from contextlib import suppress
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
    while not any(
        path.glob("streams/*/*/*.seg")
    ):  # read-only before any writer is in, it would see what was there then
        time.sleep(0.01)
    with streamstore.open(path, create=False, read_only=True) as store:
        stream = store.stream("s")
        # It ends while the writers are still at it; that they pause for long is for a slow disk to do.
        end, seen, last = time.monotonic() + seconds - 1, 0, {}
        with stream.read("LATEST", follow=True, timeout=60, on_trimmed="skip") as reader:
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


def disk(path: Path) -> int:
    """What the store's files take."""
    taken = 0
    for file in path.rglob("*"):
        try:
            taken += file.lstat().st_blocks * 512
        except OSError:
            continue
    return taken


def usage(pid: int) -> dict[str, int]:
    """What a process takes now. Raises OSError where it is gone."""
    place = Path("/proc") / str(pid)
    lines = (line.split(":", 1) for line in (place / "status").read_text().splitlines())
    sizes = {name: int(size.split()[0]) * 1024 for name, size in lines if name in ("VmRSS", "RssAnon")}
    if len(sizes) != 2:
        raise ProcessLookupError(pid)  # it has ended and nobody asked how
    return {
        "rss": sizes["VmRSS"],
        "private": sizes["RssAnon"],
        "descriptors": len(os.listdir(place / "fd")),
        "maps": len((place / "maps").read_text().splitlines()),
    }


Sizes = dict[str, dict[str, list[int]]]


def watch(path: Path, store: Any, kept_s: float, seconds: float, pids: dict[str, int]) -> Sizes:
    """Sizes over time of the store and of each process, from when retention came round for the second time."""
    begun = time.monotonic()
    found: Sizes = {}
    stream = store.stream("s")
    while (now_s := time.monotonic() - begun) < seconds:
        time.sleep(min(0.25, kept_s / 4))
        stream.last(1)
        if now_s > 2 * kept_s:
            found.setdefault("store", {}).setdefault("disk", []).append(disk(path))
            for who, pid in pids.items():
                with suppress(OSError):  # it ended a moment before us
                    for what, size in usage(pid).items():
                        found.setdefault(who, {}).setdefault(what, []).append(size)
    return found


# Room for a busy machine: what leaks grows with what is written, which is many times these. A segment that is kept for
# longer because maintenance came late is a descriptor and perhaps a map in each process.
ROOM = {"disk": 64 * MIB, "rss": 48 * MIB, "private": 16 * MIB, "descriptors": 32, "maps": 32}


def judge(sizes: Sizes) -> list[str]:
    """What grew: of each size, the second half's largest against the first half's."""
    grown = []
    for who, items in sizes.items():
        for what, sampled in items.items():
            first, second = max(early(sampled)), max(late(sampled))
            print(f"{who:12} {what:12} first half {first:>12,}   second half {second:>12,}")
            if second > first * (1.5 if what in ("disk", "descriptors") else 1) + ROOM[what]:
                grown.append(f"{what} of {who}: {first:,} to {second:,}")
    return grown


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
    pids = {
        f"writer {writer}": proof.in_child(write, options.path, writer, options.seconds)
        for writer in range(options.writers)
    }
    pids |= {f"reader {reader}": proof.in_child(follow, options.path, options.seconds) for reader in range(2)}
    with streamstore.open(options.path, create=False) as store:
        sizes = watch(options.path, store, options.kept, options.seconds, {"watcher": os.getpid(), **pids})
        statuses = {who: os.waitpid(pid, 0)[1] for who, pid in pids.items()}
        written = sum(shard.tail["shards"][shard.id][0] for shard in store.stream("s").shards())
    if any(statuses.values()):
        raise proof.Failure(f"children ended with {statuses}")
    print(f"{written / MIB:,.0f} MiB written in {options.seconds:.0f} s, kept for {options.kept} s")
    if grown := judge(sizes):
        raise proof.Failure(f"something grows: {'; '.join(grown)}")


def early(items: list[int]) -> list[int]:
    return items[: max(1, len(items) // 2)]


def late(items: list[int]) -> list[int]:
    return items[len(items) // 2 :]


if __name__ == "__main__":
    main()
