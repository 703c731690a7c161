"""Records that prove themselves, the ledger of who attempted what and was told what, and its check against a stream.

Used by the drivers beside it, which run as programs of their own. Knows the package's public interface only.
"""

from __future__ import annotations

import ctypes
import os
import random
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

HEAD = struct.Struct("<IIII")  # writer, n, size, CRC-32 of what follows
PR_SET_PDEATHSIG = 1


class Failure(Exception):
    """A promise was broken; the message says which and where."""


def payload(writer: int, n: int, size: int) -> bytes:
    """Record n of a writer: its head, and bytes that follow from writer and n."""
    body = random.Random(writer << 32 | n).randbytes(max(0, size - HEAD.size))
    return HEAD.pack(writer, n, HEAD.size + len(body), zlib.crc32(body)) + body


def recognize(data: bytes) -> tuple[int, int]:
    """Return (writer, n) of a record's data. Raises Failure where no writer ever wrote these bytes."""
    if len(data) >= HEAD.size:
        writer, n, size, check = HEAD.unpack_from(data)
        if size == len(data) and check == zlib.crc32(data[HEAD.size :]) and data == payload(writer, n, size):
            return writer, n
    raise Failure(f"a damaged record of {len(data)} bytes: {data[:32]!r}")


@dataclass
class Ledger:
    """What all writers attempted, what was acknowledged, and every number under which anybody ever saw a record."""

    attempted: dict[int, int] = field(default_factory=dict)  # writer -> records it began to put
    acked: dict[tuple[int, int], str] = field(default_factory=dict)  # (writer, n) -> sequence number
    numbers: dict[str, tuple[int, int]] = field(default_factory=dict)  # sequence number -> (writer, n)
    seen: int = 0

    def ack(self, writer: int, n: int, number: str) -> None:
        """Note an acknowledgement; the number may name no other record."""
        self.acked[writer, n] = number
        self.name(number, writer, n)

    def sight(self, writer: int, n: int, number: str) -> None:
        """Note that a reader saw a record."""
        self.seen += 1
        self.name(number, writer, n)

    def name(self, number: str, writer: int, n: int) -> None:
        """A number names one record, for ever."""
        other = self.numbers.setdefault(number, (writer, n))
        if other != (writer, n):
            raise Failure(f"number {number} names record {other} and record {(writer, n)}")

    def check(self, stream: Any) -> int:
        """Hold a stream against the ledger, shard by shard and number by number; return how many records it has."""
        found: dict[tuple[int, int], str] = {}
        for shard in stream.shards():
            newest: dict[int, int] = {}
            last = ""
            for record in read_shard(shard):
                writer, n = recognize(record.data)
                if n >= self.attempted.get(writer, 0):
                    raise Failure(f"record {(writer, n)} was never attempted")
                if (writer, n) in found:
                    raise Failure(f"record {(writer, n)} stands at {found[writer, n]} and at {record.sequence_number}")
                if n < newest.get(writer, 0) or record.sequence_number <= last:
                    raise Failure(f"record {(writer, n)} at {record.sequence_number} is out of order")
                newest[writer], last = n, record.sequence_number
                found[writer, n] = record.sequence_number
                self.name(record.sequence_number, writer, n)
        lost = [(key, number) for key, number in self.acked.items() if found.get(key) != number]
        if lost:
            raise Failure(f"{len(lost)} acknowledged records are lost or moved, the first: {lost[0]}")
        # A kill takes no page cache away: what somebody saw is still there too.
        gone = [(key, number) for number, key in self.numbers.items() if found.get(key) != number]
        if gone:
            raise Failure(f"{len(gone)} records that were seen are gone, the first: {gone[0]}")
        return len(found)


def read_shard(shard: Any) -> Iterable[Any]:
    """All records of one shard."""
    position: Any = "TRIM_HORIZON"
    while True:
        batch = shard.read(start=position)
        yield from batch
        if not len(batch):
            return
        position = batch.next_position


def die_with_parent() -> None:
    """Let the kernel kill this process when the one that made it dies."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@contextmanager
def served(directory: str) -> Iterator[tuple[int, int]]:
    """`streamstore serve` of a directory, as (port, pid); a Failure is printed, and ends this program with 1."""
    command = [sys.executable, "-m", "streamstore", "serve", directory, "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, preexec_fn=die_with_parent, text=True)
    try:
        assert server.stdout is not None
        with server.stdout as said:
            port = int(said.readline().split()[1].rpartition(":")[2])
        yield port, server.pid
    except Failure as failure:
        print(f"FAILED: {failure}")
        sys.exit(1)
    finally:
        server.terminate()
        server.wait()


def in_child(work: Any, *arguments: Any) -> int:
    """Fork and run; return the child's pid. What it raises is printed, and its exit status is then 1."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        die_with_parent()
        work(*arguments)
        status = 0
    except BaseException as error:
        print(f"process {os.getpid()}: {type(error).__name__}: {error}", flush=True)
    finally:
        os._exit(status)
