"""A program that has a thousand clients wait for records on one server, in a process of its own, and prints what that
costs it: threads, memory, processor time while nothing comes, and how long it takes until all have a record.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from pathlib import Path

import proof

import streamstore
from streamstore.kinesis import handles
from streamstore.kinesis.service import Service
from streamstore.queue import attach

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "kinesis"))
from waiting_clients import ask

IDLE_S = 3.0
THREADS_MAX = 60
SHARE_MAX = 0.5


def figures(pid: int) -> tuple[int, float, float]:
    """Threads, private memory in MiB and processor seconds of a process."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return int(status["Threads"]), int(status["RssAnon"].split()[0]) / 1024, ticks / os.sysconf("SC_CLK_TCK")


async def wait_all(port: int, arns: list[str], pid: int, store: streamstore.Store, count: int) -> str:
    """Have all wait, look at the server, wake all, and hold them to a record each."""
    _, before_mib, _ = figures(pid)
    options = {"Limit": 1, "WaitTimeSeconds": 20, "VisibilityTimeoutSeconds": 1000}
    waits = [
        asyncio.ensure_future(ask(port, "ReceiveQueueRecords", {"QueueARN": arns[n % len(arns)], **options}))
        for n in range(count)
    ]
    await asyncio.sleep(4)
    if any(wait.done() for wait in waits):
        raise proof.Failure(f"a wait ended early: {next(wait for wait in waits if wait.done())}")
    threads, mib, cpu_s = figures(pid)
    await asyncio.sleep(IDLE_S)
    share = (figures(pid)[2] - cpu_s) / IDLE_S
    began = time.monotonic()
    for number in range(len(arns)):
        store.stream(f"s{number}").put_records([(b"x", "k")] * (count // len(arns)))
    answers = await asyncio.gather(*waits)
    took = time.monotonic() - began
    ids = {(record["RecordId"], record["ReceiptHandle"]) for answer in answers for record in answer["QueueRecords"]}
    if len(ids) != count:
        raise proof.Failure(f"{len(ids)} records for {count} that waited")
    if threads > THREADS_MAX or share > SHARE_MAX:
        raise proof.Failure(f"{threads} threads, {share:.2f} of a core while nothing came")
    return (
        f"{count} waits on {len(arns)} queues: {threads} threads, {mib - before_mib:.0f} MiB more, {share:.3f} of a "
        f"core while nothing came, all served {took:.2f} s after {count} records were put"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path")
    parser.add_argument("--waits", type=int, default=1000)
    parser.add_argument("--queues", type=int, default=1)
    options = parser.parse_args()
    with streamstore.open(options.path, durability="process") as store:
        key = Service(store).key
        arns = []
        for number in range(options.queues):
            store.create_stream(f"s{number}")
            store.create_queue(f"q{number}", stream=f"s{number}", start="TRIM_HORIZON")
            identifier = handles.queue_id(key, attach.kept_of(store)[f"q{number}"].id)
            arns.append(f"arn:aws:kinesis:us-east-1:000000000000:queue/{identifier}")
        with proof.served(options.path) as (port, pid):
            print(asyncio.run(wait_all(port, arns, pid, store, options.waits)))


if __name__ == "__main__":
    main()
