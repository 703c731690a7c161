"""Four writers and two tailers on one directory, in one PID namespace or two: no loss, no duplicate, order kept."""

from __future__ import annotations

import json
import os
import signal
import statistics
import time
from pathlib import Path

import pytest
from running import ELSEWHERE, STRESS, output, program, seed, skip_without

WRITERS = 4
Sighting = tuple[int, int, str]


def create(path: Path, shards: int, durability: str) -> None:
    """A store with one stream, whose segments are small."""
    import streamstore

    with streamstore.open(path) as store:
        store.create_stream("s", shards, durability=durability, segment_size=256 * 1024)


def check(told: list[list[str]], tails: list[list[Sighting]]) -> None:
    """What writers were told is what each tailer saw, once, and in each shard in the writers' order."""
    numbers = [number for each in told for number in each]
    assert len(set(numbers)) == len(numbers)
    expected = {number: (writer, n) for writer, each in enumerate(told) for n, number in enumerate(each)}
    for seen in tails:
        assert len(seen) == len(expected)
        assert {number: (writer, n) for writer, n, number in seen} == expected
        newest: dict[tuple[int, int], int] = {}
        for writer, n, number in seen:
            shard = int(number) >> 4 & 0xFFFFFFFF
            assert newest.get((shard, writer), -1) < n
            newest[shard, writer] = n


@pytest.mark.parametrize("elsewhere", [False, True], ids=["one-namespace", "two-namespaces"])
@pytest.mark.parametrize("shards", [1, 16])
@pytest.mark.parametrize("durability", ["sync", "interval", "process"])
@pytest.mark.parametrize("count", [pytest.param(800, id="short"), pytest.param(40_000, id="long", marks=STRESS)])
def test_four_writers_and_two_tailers(
    tmp_path: Path, count: int, durability: str, shards: int, elsewhere: bool
) -> None:
    """Every record that was acknowledged is seen by each tailer, once and in order, and no other."""
    if elsewhere:
        skip_without(ELSEWHERE)
    path, chosen = tmp_path / "store", seed(count < 1000)
    create(path, shards, durability)
    total = str(WRITERS * count)
    inside = [ELSEWHERE if elsewhere else [], []]
    tails = [program("write_and_tail.py", path, "tail", "--count", total, before=inside[i]) for i in range(2)]
    writers = [
        program(
            "write_and_tail.py", path, "write", "--writer", i, "--count", count, "--seed", chosen, before=inside[i % 2]
        )
        for i in range(WRITERS)
    ]
    told = [json.loads(output(each).splitlines()[-1]) for each in writers]
    check(told, [json.loads(output(each)) for each in tails])


@pytest.mark.parametrize("kills", [pytest.param(3, id="short"), pytest.param(60, id="long", marks=STRESS)])
@pytest.mark.parametrize("durability", ["sync", "process"])
def test_a_writer_killed_in_another_namespace(tmp_path: Path, kills: int, durability: str) -> None:
    """Whatever locks it held, a writer of this namespace goes on within a second of its death, most of the time."""
    skip_without(ELSEWHERE)
    import streamstore

    path = tmp_path / "store"
    create(path, 1, durability)
    chosen = seed(kills < 10)
    took = []
    with streamstore.open(path) as store:
        stream = store.stream("s")
        for i in range(kills):
            victim = program("write_and_tail.py", path, "hold", "--writer", i, "--seed", chosen, before=ELSEWHERE)
            assert victim.stdout
            assert victim.stdout.readline() == "ready\n"
            for _ in range(20 + 7 * i % 30):
                stream.put_record(b"here", "key")
            os.kill(victim.pid, signal.SIGKILL)  # and with it, by the kernel, the whole namespace
            began = time.monotonic()
            for _ in range(10):
                stream.put_record(b"here", "key")
            took.append(time.monotonic() - began)
            victim.communicate()
        records = sum(1 for _ in stream.read())
        assert stream.shards()[0].record_count == records
    assert statistics.median(took) < 1
