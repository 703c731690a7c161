"""A program that kills captures of log files at random moments, under load, while the files are rotated in four ways.

Renamed, followed by a new name, truncated in place, copied and truncated while somebody writes. In the end every line
that stands in the live file or a rotated one was captured once. Of what a truncation took away some may be missing:
that is counted here, and what the capture says of it is held against it. Ends with status 0 and figures, or an
assertion.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import proof

import streamstore
from streamstore.capture import Capture
from streamstore.capture.files import FileSource

KINDS = ("rename", "create", "truncate", "copytruncate")
STEADY_SECONDS = 10.0
FORK = multiprocessing.get_context("fork")


class Writer:
    """Writes numbered lines into one log and rotates it. What no file has any more goes into another one, `gone`."""

    def __init__(self, directory: Path, kind: str, seed: int) -> None:
        self.kind = kind
        self.logs = directory / "logs"
        self.path = self.logs / f"{kind}.log"
        self.gone = directory / f"{kind}.gone"
        self.chance = random.Random(seed)
        self.number = self.rotations = 0

    def run(self, over: Any, answer: Any) -> None:
        """Until told to end; gives how many lines, and how many rotations."""
        proof.die_with_parent()
        while not over.is_set():
            self.write()
            time.sleep(self.chance.uniform(0, 0.02))
            if self.chance.random() < 0.03:
                self.rotations += 1
                self.rotate()
        answer.put((self.kind, self.number, self.rotations))

    def write(self) -> None:
        """Some lines, on the disk at return."""
        with open(self.path, "ab") as file:
            for _ in range(self.chance.randrange(1, 200)):
                file.write(b"%s %d %s\n" % (self.kind.encode(), self.number, b"x" * self.chance.randrange(80)))
                self.number += 1

    def rotate(self) -> None:
        """What log rotation does."""
        if self.kind == "create":
            self.path = self.logs / f"create.log-{self.rotations}"
        elif self.kind == "rename":
            self.path.rename(self.logs / f"rename.log.{self.rotations}")
        elif self.kind == "truncate":
            self.truncate(0)
        else:
            shutil.copy(self.path, self.logs / f"copytruncate.log.{self.rotations}")
            copied = self.path.stat().st_size
            if self.chance.random() < 0.5:  # the gap that every copytruncate has
                self.write()
                time.sleep(self.chance.choice((0, 0, 0.1)))
            self.truncate(copied)

    def truncate(self, copied: int) -> None:
        """Take all away; what stands behind the first bytes, which there is a copy of, is gone."""
        with open(self.gone, "ab") as file:
            file.write(self.path.read_bytes()[copied:])
        os.truncate(self.path, 0)


def capture_until_killed(place: Path, pattern: str, begun: Any) -> None:
    """A capture that only a kill ends; it says when it has begun."""
    proof.die_with_parent()
    with streamstore.open(place, durability="process") as store:
        stream = store.create_stream("s", shard_count=2, exist_ok=True)
        with Capture(stream, FileSource([pattern], interval=0.05)) as capture:
            capture.run(progress=lambda _: begun.set())


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
    writers = [
        FORK.Process(target=Writer(options.directory, kind, options.seed + index).run, args=(over, answer))
        for index, kind in enumerate(KINDS)
    ]
    for writer in writers:
        writer.start()
    for number in range(options.kills):
        begun = FORK.Event()
        process = FORK.Process(target=capture_until_killed, args=(place, f"{logs}/*.log*", begun))
        process.start()
        if chance.random() < 0.8:
            begun.wait(60)
        # One is left alone for a while: on a busy machine it gets behind the writers, and its looks get old.
        process.join(STEADY_SECONDS if number == options.kills - 1 else chance.uniform(0, 2))
        assert process.exitcode is None, f"a capture ended by itself: {process.exitcode}"
        process.kill()
        process.join()
    over.set()
    said = [answer.get(timeout=60) for _ in writers]
    for writer in writers:
        writer.join()
    finish(options.directory, {kind: number for kind, number, _ in said})
    print(f"{', '.join(f'{rotations} {kind}' for kind, _, rotations in said)}; {options.kills} kills")
    assert all(rotations for _, _, rotations in said)


def finish(directory: Path, written: dict[str, int]) -> None:
    """Take the rest, and compare."""
    logs = directory / "logs"
    with streamstore.open(directory / "store", create=False) as store:
        stream = store.stream("s")
        with Capture(stream, FileSource([f"{logs}/*.log*"], interval=0.05)) as capture:
            capture.run(follow=False)
            notes = capture.source.notes()
        found = Counter(record.data for record in stream.read())
    standing, gone = lines_of(logs.iterdir()), lines_of(directory.glob("*.gone"))
    assert sum((standing + gone).values()) == sum(written.values()), "this program lost lines itself"
    missing = standing - found
    assert not missing, f"{len(missing)} lines that stand in a file are missing: {sorted(missing)[:5]}"
    twice = [line for line, count in found.items() if count > 1]
    assert not twice, f"{len(twice)} lines came twice: {sorted(twice)[:5]}"
    invented = found - standing - gone
    assert not invented, f"{len(invented)} lines that nobody wrote: {sorted(invented)[:5]}"
    lost = gone - found
    size = sum(len(line) + 1 for line in lost.elements())
    said = notes.get("bytes_lost", 0)
    assert 0 <= said <= size, f"{said} bytes are said to be lost of {size}"
    assert notes.get("truncated"), "no truncation was noticed"
    assert lost != gone, "nothing was captured before it was truncated"
    print(f"{sum(found.values())} lines of {sum(written.values())}, each once; truncations took {sum(gone.values())},")
    print(f"{sum(lost.values())} ({size} bytes) before they were captured, of which {said} had been seen; {notes}")


def lines_of(paths: Iterable[Path]) -> Counter[bytes]:
    """The lines of some files, by how often each stands there."""
    return Counter(line for path in paths for line in path.read_bytes().split(b"\n")[:-1])


if __name__ == "__main__":
    main()
