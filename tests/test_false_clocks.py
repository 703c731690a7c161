"""Wall clocks that are wrong, or jump, for Python and the core (tests/c/false_clock.c): no record suffers by it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from compiling import shared_library

ROOT = Path(__file__).resolve().parent.parent
BEGIN = """
import ctypes, itertools, sys, time
import streamstore
path, *numbers = sys.argv[1:]
def be_wrong_by(seconds):
    ctypes.CDLL(None).false_clock_set(ctypes.c_int64(round(seconds * 1_000_000)))
truth = time.time()
"""
# A life at a time that somebody set before it began, and another one at the right time or as wrong as the first.
LIVES = f"""{BEGIN}
be_wrong_by(float(numbers[0]) - truth)
for life in range(2):
    with streamstore.open(path) as store:
        stream = store.create_stream("s", exist_ok=True)
        before = [record.data for record in stream.read()]
        assert before == [b"%d" % n for n in range(3 * life)], before
        results = [stream.put_record(b"%d" % (3 * life + n), "k") for n in range(3)]
        records = list(stream.read())
        assert [record.data for record in records[-3:]] == [b"%d" % (3 * life + n) for n in range(3)]
        assert all(a.arrival_us <= b.arrival_us for a, b in itertools.pairwise(records))
        assert records[0].arrival_time.year in range(1970, 2113)
        assert not store.maintain().problems
        assert len(list(stream.read())) == len(records)
        for result in results:
            stream.shard(result.shard_id).get(result.sequence_number)
        queue = store.queue("q", codec="bytes")
        queue.put(b"%d" % life)
        message = queue.get(block=False)
        assert message.body == b"%d" % life
        message.ack()
print("well")
"""
# Between any two calls the clock is set anew.
JUMPS = f"""{BEGIN}
YEAR = 365 * 86_400
jumps = itertools.cycle((0, 10 * YEAR, -20 * YEAR, 3600, -3601, 30 * YEAR, -(2**33)))
with streamstore.open(path, maintenance=False) as store:
    stream = store.create_stream("s", 2)
    queue = store.queue("q", codec="bytes")
    for n in range(20):
        be_wrong_by(next(jumps))
        stream.put_record(b"%d" % n, "k")
        queue.put(b"%d" % n)
        be_wrong_by(next(jumps))
        store.maintain()
        if n % 5 == 4:
            stream.split_shard(stream.put_record(b"split", "k").shard_id)
        be_wrong_by(next(jumps))
        assert [int(record.data) for record in stream.read() if record.data != b"split"] == list(range(n + 1))
        message = queue.get(block=False)
        assert message.body == b"%d" % n
        be_wrong_by(next(jumps))
        message.ack()
    arrivals = [record.arrival_us for record in stream.read()]
    assert arrivals == sorted(arrivals)
print("well")
"""


@pytest.fixture(scope="module")
def false_clock(tmp_path_factory):
    """The library, compiled."""
    return shared_library("false_clock.c", tmp_path_factory.mktemp("false_clock") / "false_clock.so")


def run(library, program, *arguments):
    environment = os.environ | {"LD_PRELOAD": str(library), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout) == (0, "well\n"), done.stderr


@pytest.mark.parametrize("seconds", [-(2**33), -1e6, 0, 1e6, 2**31, 2**32, 2**52 / 1e6 - 1e5], ids=str)
def test_a_clock_that_stands_anywhere(tmp_path, false_clock, seconds):
    """From the time before 1970 to the year 2112, which is the last that a frame can say."""
    run(false_clock, LIVES, tmp_path / "store", seconds)


def test_a_clock_that_jumps(tmp_path, false_clock):
    """By years and to and fro: nothing is lost, hidden, out of order, or trimmed before its time."""
    run(false_clock, JUMPS, tmp_path / "store")
