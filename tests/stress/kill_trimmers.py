"""A program that kills writers and maintainers with kill -9 at random moments, again and again, and looks what is left.

Retention of a fraction of a second, tiny segments and a catalog that is snapshotted every few kilobytes: most kills hit
a trim, a roll or a snapshot of the catalog. After each the store opens, nothing that was acknowledged and never expires
is lost, and no file is damaged or belongs to nothing.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import time
from pathlib import Path

import proof

import streamstore
from streamstore import limits, retention

KIB = 1024


def work(path: Path, told: int, turn: int) -> None:
    """Put to both streams and maintain, until killed; say what was acknowledged for ever."""
    limits.CATALOG_ROLL_SIZE = 4 * KIB
    with streamstore.open(path, maintenance=False) as store:
        kept, passing = store.stream("kept"), store.stream("passing")
        n = 0
        while True:
            passing.put_records([(b"x" * 3000, f"k{n}-{i}") for i in range(20)])
            number = kept.put_record(b"%d" % n, "k").sequence_number
            os.write(told, number.encode() + b"\n")
            report = store.maintain()
            if report.problems:
                raise proof.Failure(str(report.problems))
            if n % 7 == 6:
                store.delete_stream(store.create_stream(f"short-{turn}-{n}").name)
            n += 1


def check(path: Path, acknowledged: list[str]) -> None:
    """All of it is there, and the store is whole."""
    with streamstore.open(path, maintenance=False) as store:
        found = [record.sequence_number for record in store.stream("kept").read()]
        if lost := set(acknowledged) - set(found):
            raise proof.Failure(f"{len(lost)} acknowledged records are lost")
        if len(set(found)) != len(found):
            raise proof.Failure("a number was given twice")
        list(store.stream("passing").read(on_trimmed="skip"))
        limits.PURGE_AFTER_US = 0
        store.rounds.run()
        store.rounds.run()
        if store.catalog.refresh().deleting:
            raise proof.Failure(f"half deleted: {store.catalog.refresh().deleting}")
    report = streamstore.verify(path)
    if report.damage or report.notes:
        raise proof.Failure(f"damage {report.damage}, notes {report.notes}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with streamstore.open(options.path, durability="process", maintenance=False) as store:
        kept = store.create_stream("kept", segment_size=128 * KIB, compact_after=None)
        store.catalog.publish("alter", kept.info, set={"retention_us": retention.FOREVER})
        passing = store.create_stream("passing", 3, segment_size=128 * KIB, compact_after=None)
        store.catalog.publish("alter", passing.info, set={"retention_us": 40_000})
    acknowledged: list[str] = []
    for turn in range(options.kills):
        hear, told = os.pipe()
        pids = [proof.in_child(work, options.path, told, turn * 2 + who) for who in range(chance.choice((1, 2)))]
        os.close(told)
        time.sleep(chance.uniform(0.05, 0.4))
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for pid in pids:
            _, status = os.waitpid(pid, 0)
            if not os.WIFSIGNALED(status):
                raise proof.Failure(f"a worker ended by itself, with status {status}")
        with os.fdopen(hear) as lines:
            acknowledged += [line[:-1] for line in lines.read().splitlines(keepends=True) if line.endswith("\n")]
        check(options.path, acknowledged)
    if not acknowledged:
        raise proof.Failure("nobody got anything done")
    print(f"{options.kills} kills, {len(acknowledged)} records kept")


if __name__ == "__main__":
    main()
