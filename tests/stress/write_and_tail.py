"""One of several programs on one directory: writes so many records of one writer, or tails until it has seen them all.

Prints what it acknowledged or saw as one line of JSON; the test holds the lines of all against each other.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from typing import Any

import proof

import streamstore


def write(stream: Any, writer: int, count: int, seed: int) -> list[str]:
    """Put records 0 to count - 1, now one, now many in a call; return their shards and numbers."""
    chance = random.Random(seed << 8 | writer)
    told: list[str] = []
    while len(told) < count:
        size = min(chance.choice((1, 1, 7, 50)), count - len(told))
        entries = [
            (
                proof.payload(writer, len(told) + i, chance.choice((16, 60, 300, 2000))),
                f"{writer}-{chance.randrange(99)}",
            )
            for i in range(size)
        ]
        if size == 1:
            told.append(stream.put_record(*entries[0]).sequence_number)
        else:
            told += [result.sequence_number for result in stream.put_records(entries)]
    return told


def tail(stream: Any, total: int, timeout: float) -> list[tuple[int, int, str]]:
    """Follow from the start until `total` records were seen, or none came for `timeout` seconds."""
    seen = []
    with stream.read(follow=True, timeout=timeout) as reader:
        for record in reader:
            seen.append((*proof.recognize(record.data), record.sequence_number))
            if len(seen) == total:
                break
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory")
    parser.add_argument("role", choices=("write", "tail", "hold"))
    parser.add_argument("--writer", type=int, default=0)
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=30)
    parser.add_argument("--read-only", action="store_true")
    options = parser.parse_args()
    with streamstore.open(options.directory, create=False, read_only=options.read_only) as store:
        stream = store.stream("s")
        if options.role == "tail":
            print(json.dumps(tail(stream, options.count, options.timeout)))
            return
        print("ready", flush=True)
        if options.role == "hold":  # writes until it is killed
            write(stream, options.writer, sys.maxsize, options.seed)
        print(json.dumps(write(stream, options.writer, options.count, options.seed)))


if __name__ == "__main__":
    main()
