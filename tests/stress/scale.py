"""A program that makes many streams, or one of many shards, puts to all, opens again and reads all.

Does so in 1,024 descriptors, and prints as JSON how long it took to open the store and what it takes on disk.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import proof

import streamstore

DESCRIPTORS = 1024


def fill(path: Path, streams: int, shards: int, durability: str) -> None:
    """One small record into each shard of each stream."""
    with streamstore.open(path, durability=durability) as store:
        for i in range(streams):
            stream = store.create_stream(f"stream-{i}", shards)
            keys = [shard.hash_range.start for shard in stream.shards()]
            for first in range(0, shards, 500):
                stream.put_records(
                    [(proof.payload(i, first + n, 64), None, key) for n, key in enumerate(keys[first : first + 500])]
                )


def read(path: Path, streams: int) -> Iterator[Any]:
    """Every record of every stream, through readers of whole streams."""
    with streamstore.open(path, create=False) as store:
        for i in range(streams):
            yield from store.stream(f"stream-{i}").read()


def seconds_to_open(path: Path) -> float:
    """The quickest of three: opened, and the catalog asked for a stream."""
    taken = []
    for _ in range(3):
        began = time.monotonic()
        store = streamstore.open(path, create=False)
        store.stream("stream-0")
        taken.append(time.monotonic() - began)
        store.close()
    return min(taken)


def disk_bytes(path: Path) -> int:
    """What all files of the store take."""
    return sum(os.lstat(os.path.join(at, name)).st_blocks * 512 for at, _, names in os.walk(path) for name in names)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--streams", type=int, default=1)
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--durability", default="sync")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    pid = proof.in_child(fill, options.directory, options.streams, options.shards, options.durability)
    if os.waitpid(pid, 0)[1]:
        raise proof.Failure("filling failed")
    opened = seconds_to_open(options.directory)
    for _ in range(2):
        found = sorted(proof.recognize(record.data) for record in read(options.directory, options.streams))
        expected = [(i, n) for i in range(options.streams) for n in range(options.shards)]
        if found != expected:
            raise proof.Failure(f"{len(found)} records of {len(expected)}, or not the same ones")
    killed = proof.in_child(put_and_die, options.directory, options.streams, options.shards)
    if os.waitpid(killed, 0)[1] != signal.SIGKILL:
        raise proof.Failure("putting once more failed")
    opened_after_kill = seconds_to_open(options.directory)
    figures = {"open_s": opened, "open_after_kill_s": opened_after_kill, "disk_bytes": disk_bytes(options.directory)}
    print(json.dumps(figures))


def put_and_die(path: Path, streams: int, shards: int) -> None:
    """A record into each tenth stream or shard, and read back by its number; then a death with all of them open."""
    with streamstore.open(path, create=False) as store:
        for i in range(0, streams, 10):
            stream = store.stream(f"stream-{i}")
            for shard in stream.shards()[:: 10 if streams == 1 else 1]:
                result = stream.put_record(b"more", None, explicit_hash_key=shard.hash_range.start)
                if result.shard_id != shard.id or shard.get(result.sequence_number).data != b"more":
                    raise proof.Failure(f"{shard.id} answers for {result}")
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
