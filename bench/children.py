"""The other process of a row: each task is run as `python -m bench.children TASK ...` and speaks through its pipes."""

from __future__ import annotations

import contextlib
import json
import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
READY = b"ready..."
STAMP = struct.Struct("<q")
STREAM = "volume"
BATCH = 500
SAMPLES_MAX = 2_000


@dataclass(frozen=True)
class Child:
    """A running task: what is written to `input` it reads, what it says is read from `output`."""

    process: subprocess.Popen[bytes]
    input: int
    output: int

    def line(self) -> Any:
        """Return the next line it says, decoded from JSON."""
        assert self.process.stdout is not None
        text = self.process.stdout.readline()
        if not text:
            raise RuntimeError(f"the child process ended with {self.process.wait()}")
        return json.loads(text)

    def kill(self) -> None:
        """End it with SIGKILL and wait until it is gone."""
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def child(task: str, *arguments: object) -> Iterator[Child]:
    """Start a task; leaving kills it."""
    command = [sys.executable, "-m", "bench.children", task, *map(str, arguments)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Child(process, process.stdin.fileno(), process.stdout.fileno())
        finally:
            process.kill()


def echo() -> None:
    """Send back whatever comes."""
    while received := os.read(0, 8):
        os.write(1, received)


def follow(directory: str, name: str) -> None:
    """Wait at the end of a stream; answer each record with the moment at which its data was in hand."""
    import streamstore

    clock, write, pack = time.perf_counter_ns, os.write, STAMP.pack
    with streamstore.open(directory) as store, store.stream(name).read("LATEST", follow=True) as reader:
        write(1, READY)
        for record in reader:
            _data = record.data
            write(1, pack(clock()))


def work(directory: str) -> None:
    """Wait on a queue; answer each message with the moment at which its body was in hand, then acknowledge it."""
    import streamstore

    clock, write, pack = time.perf_counter_ns, os.write, STAMP.pack
    with streamstore.open(directory) as store:
        queue = store.queue("jobs")
        write(1, READY)
        for message in queue:
            _body = message.body
            seen = pack(clock())
            message.ack()
            write(1, seen)


def work_off(directory: str, kind: str, count: str) -> None:
    """Pass so many messages through a queue, put one more, say so, and hold that one until killed. The queue has a
    stream of its own, or, where `kind` is "kept", stands on one that keeps its records.
    """
    import streamstore
    from bench import workload

    store = streamstore.open(directory, durability="process")
    if kind == "kept":
        store.create_stream(STREAM, shard_count=1)
        queue = store.create_queue("jobs", stream=STREAM, start="TRIM_HORIZON")
    else:
        queue = store.queue("jobs", codec="bytes")
    bodies = workload.records(BATCH)
    for _ in range(int(count) // BATCH):
        queue.put_many(bodies)
        queue.ack_many(queue.get_many(BATCH))
    queue.put(bodies[0])
    _held = queue.get()
    os.write(1, b"{}\n")
    os.read(0, 1)


def take(directory: str) -> None:
    """Open a store and get the message that a dead process had; say how long that took and what memory is in use."""
    import streamstore
    from streamstore.bench import machine

    _imported = streamstore.Queue  # when it is first named, whatever there is behind it
    started = time.perf_counter()
    message = streamstore.open(directory).open_queue("jobs").get(timeout=60)
    seconds = time.perf_counter() - started
    assert message.receive_count > 1
    os.write(1, json.dumps({"seconds": seconds, "memory": machine.private_bytes()}).encode() + b"\n")
    os.read(0, 1)


def fill(directory: str, size: str, record_size: str) -> None:
    """Put `size` bytes in batches, say what memory that took and some numbers given, then put on until killed."""
    import streamstore
    from bench import workload
    from streamstore.bench import machine

    store = streamstore.open(directory, durability="process")
    stream = store.create_stream(STREAM, shard_count=1, durability="process", exist_ok=True)
    entries = workload.keyed(workload.records(BATCH, int(record_size)))
    batches = max(int(size) // (BATCH * int(record_size)), 1)
    step = max(batches // SAMPLES_MAX, 1)
    samples, peak = [], 0
    for number in range(batches):
        results = stream.put_records(entries)
        if number % step == 0:
            samples.append(results[number % BATCH].sequence_number)
        if number % 64 == 0:
            peak = max(peak, machine.private_bytes())
    peak = max(peak, machine.private_bytes())
    os.write(
        1, json.dumps({"peak": peak, "bytes": batches * BATCH * int(record_size), "samples": samples}).encode() + b"\n"
    )
    while True:
        stream.put_records(entries[:10])
        time.sleep(0.001)


def drain(directory: str) -> None:
    """Read a stream from its start to its end, and say how much that was and what memory it took."""
    import streamstore
    from streamstore.bench import machine

    count = size = peak = 0
    with streamstore.open(directory) as store, store.stream(STREAM).read("TRIM_HORIZON") as reader:
        for record in reader:
            size += len(record.data)
            count += 1
            if count % 32_768 == 1:
                peak = max(peak, machine.private_bytes())
    os.write(1, json.dumps({"peak": peak, "bytes": size, "records": count}).encode() + b"\n")


TASKS: dict[str, Callable[..., None]] = {
    task.__name__: task for task in (echo, follow, work, work_off, take, fill, drain)
}

if __name__ == "__main__":
    TASKS[sys.argv[1]](*sys.argv[2:])
