"""A program that kills captures of log files at random moments, under load, while the files are rotated in four ways.

Renamed, followed by a new name, truncated (when all was read), copied and truncated. In the end every line that stands
in the live file or a rotated one was captured once; of lines that only copytruncate's own gap took some may be missing,
which are counted. Ends with status 0 and figures, or with an assertion.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import shutil
import time
from collections import Counter
from pathlib import Path
from typing import Any

import proof

import streamstore
from streamstore.capture import Capture
from streamstore.capture.files import FileSource

FORK = multiprocessing.get_context("fork")


def write(directory: Path, name: str, kind: str, seed: int, over: Any, answer: Any) -> None:
    """Write numbered lines until told to end, and rotate every now and then; gives how many, and how often."""
    proof.die_with_parent()
    chance = random.Random(seed)
    path = directory / name
    number = rotations = 0
    while not over.is_set():
        with open(path, "ab") as file:
            for _ in range(chance.randrange(1, 200)):
                file.write(b"%s %d %s\n" % (name.encode(), number, b"x" * chance.randrange(80)))
                number += 1
        time.sleep(chance.uniform(0, 0.02))
        if chance.random() < 0.03:
            rotations += 1
            path = rotate(kind, path, directory, name, rotations)
    answer.put((kind, number, rotations))


def rotate(kind: str, path: Path, directory: Path, name: str, count: int) -> Path:
    """What log rotation does; gives the path to write to from now on."""
    if kind == "create":
        return directory / f"{name}-{count}"
    if kind == "rename":
        path.rename(directory / f"{name}.{count}")
    elif kind == "copytruncate":
        shutil.copy(path, directory / f"{name}.{count}")
        os.truncate(path, 0)
    return path


def capture_until_killed(place: Path, pattern: str) -> None:
    """A capture that only a kill ends."""
    proof.die_with_parent()
    with streamstore.open(place, durability="process") as store:
        stream = store.create_stream("s", shard_count=2, exist_ok=True)
        with Capture(stream, FileSource([pattern], interval=0.05)) as capture:
            capture.run()


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    logs, place = options.directory / "logs", options.directory / "store"
    logs.mkdir(parents=True)
    chance = random.Random(options.seed)
    over, answer = FORK.Event(), FORK.Queue()
    kinds = ("rename", "create", "copytruncate")
    writers = [
        FORK.Process(target=write, args=(logs, f"{kind}.log", kind, options.seed + index, over, answer))
        for index, kind in enumerate(kinds)
    ]
    for writer in writers:
        writer.start()
    for _ in range(options.kills):
        process = FORK.Process(target=capture_until_killed, args=(place, f"{logs}/*.log*"))
        process.start()
        process.join(chance.uniform(0.2, 2.5))
        assert process.exitcode is None, f"a capture ended by itself: {process.exitcode}"
        process.kill()
        process.join()
    over.set()
    said = [answer.get(timeout=60) for _ in writers]
    for writer in writers:
        writer.join()
    finish(place, logs, {kind: number for kind, number, _ in said})
    print(f"{sum(rotations for _, _, rotations in said)} rotations, {options.kills} kills")


def finish(place: Path, logs: Path, written: dict[str, int]) -> None:
    """Take the rest, and truncate in place what was taken; then compare."""
    with streamstore.open(place, create=False) as store:
        stream = store.stream("s")
        for text in (b"", b"truncated 1\n", b"truncated 2\ntruncated 3\n"):
            if text:
                os.truncate(logs / "truncated.log", 0)
            with open(logs / "truncated.log", "ab") as file:
                file.write(text or b"truncated 0, which was longer\n")
            with Capture(stream, FileSource([f"{logs}/*.log*"], interval=0.05)) as capture:
                capture.run(follow=False)
                notes = capture.source.notes()
        found = Counter(record.data for record in stream.read())
    standing = Counter(line for path in logs.iterdir() for line in path.read_bytes().split(b"\n")[:-1])
    missing = standing - found
    assert not missing, f"{len(missing)} lines that stand in a file are missing: {sorted(missing)[:5]}"
    twice = [line for line, count in found.items() if count > 1]
    assert not twice, f"{len(twice)} lines came twice: {sorted(twice)[:5]}"
    assert found[b"truncated 0, which was longer"] == 1
    for kind, count in written.items():
        have = sum(1 for line in found if line.startswith(kind.encode()))
        assert have <= count
        assert have == count or kind == "copytruncate", f"{kind}: {have} of {count}"
    taken = sum(written.values()) + 4 == sum(found.values())
    assert not (taken and notes.get("bytes_lost")), f"all lines are in, and {notes} are said to be lost"
    print(f"{sum(found.values())} lines, each once; {notes}; of {written}")


if __name__ == "__main__":
    main()
