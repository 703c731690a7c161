"""A program that forks again and again while its threads put: each child puts through the same objects and ends.

Then every record that anybody was told about is there once, under the number told.
"""

from __future__ import annotations

import argparse
import os
import threading
import warnings

import proof

import streamstore

PUTS_OF_A_CHILD = 5


def put(stream: streamstore.Stream, writer: int, count: int) -> list[str]:
    """Put `count` records of a writer; return their numbers."""
    return [
        stream.put_record(proof.payload(writer, n, 60 + n % 500), f"{writer}-{n}").sequence_number for n in range(count)
    ]


class Storm:
    """The parent's threads, which put until told to stop, and its children."""

    def __init__(self, stream: streamstore.Stream, threads: int) -> None:
        self.stream = stream
        self.told: dict[int, list[str]] = {writer: [] for writer in range(threads)}
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self.put_on, args=(writer,)) for writer in range(threads)]

    def put_on(self, writer: int) -> None:
        """One thread."""
        numbers = self.told[writer]
        while not self.stop.wait(0.0002):
            record = proof.payload(writer, len(numbers), 100)
            numbers.append(self.stream.put_record(record, f"{writer}").sequence_number)

    def child(self, writer: int, pipe: int) -> None:
        """What a child does: put, read one's own, tell the numbers."""
        numbers = put(self.stream, writer, PUTS_OF_A_CHILD)
        for n, number in enumerate(numbers):
            shard = self.stream.shard(f"shardId-{int(number) >> 4 & 0xFFFFFFFF:012d}")
            if proof.recognize(shard.get(number).data) != (writer, n):
                raise proof.Failure(f"{number} is not record {n} of {writer}")
        os.write(pipe, " ".join(numbers).encode())

    def fork(self, writer: int) -> None:
        """Fork one child and take in what it tells."""
        reading, writing = os.pipe()
        pid = proof.in_child(self.child, writer, writing)
        os.close(writing)
        told = b""
        while more := os.read(reading, 4096):
            told += more
        os.close(reading)
        if os.waitpid(pid, 0)[1]:
            raise proof.Failure(f"child {writer} failed")
        self.told[writer] = told.decode().split()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory")
    parser.add_argument("--forks", type=int, default=20)
    parser.add_argument("--durability", default="interval")
    parser.add_argument("--threads", type=int, default=3)
    options = parser.parse_args()
    # Newer Pythons warn of just what is proved here.
    warnings.filterwarnings("ignore", message=".*multi-threaded.*", category=DeprecationWarning)
    ledger = proof.Ledger()
    with streamstore.open(options.directory) as store:
        stream = store.create_stream("s", 3, durability=options.durability, segment_size=128 * 1024)
        storm = Storm(stream, options.threads)
        for thread in storm.threads:
            thread.start()
        try:
            for child in range(options.forks):
                storm.fork(options.threads + child)
        finally:
            storm.stop.set()
            for thread in storm.threads:
                thread.join()
    for writer, numbers in storm.told.items():
        ledger.attempted[writer] = len(numbers)
        for n, number in enumerate(numbers):
            ledger.ack(writer, n, number)
    with streamstore.open(options.directory, create=False) as store:
        print(f"{options.forks} forks, {ledger.check(store.stream('s'))} records")


if __name__ == "__main__":
    main()
