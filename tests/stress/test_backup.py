"""Snapshots of a store that four processes write to while others reshard, trim and compact it, and die."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import streamstore

WRITERS = 4
SNAPSHOTS = 12

WORKER = """
import os, sys, time
import streamstore
from streamstore import errors
from streamstore.compaction import Compactor

path, role = sys.argv[1:3]
store = streamstore.open(path, create=False, maintenance=False)
stream = store.stream("s")
if role.isdigit():
    ledger = os.open(f"{path}.{role}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    number = 0
    while True:
        number += 1
        done = stream.put_record(b"%s %d " % (role.encode(), number) + bytes(700), f"writer-{role}")
        os.write(ledger, b"%d %d %d\\n" % (int(done.shard_id[-12:]), done.position, done.epoch))
while role == "reshard":
    lineage = stream.check().lineage
    open_shards = [f"shardId-{index:012d}" for index in lineage.open]
    try:
        if len(open_shards) < 6:
            low, high = lineage[lineage.open[0]].hash_range
            stream.split_shard(open_shards[0], (low + high) // 2)
        else:
            stream.merge_shards(open_shards[0], open_shards[1])
    except errors.InvalidArgumentError:
        pass  # another was faster
    time.sleep(0.02)
while role == "maintain":
    for index in stream.written():
        log = stream.log(index)
        state = log.state()
        place = log.seek(state.start + (state.tail - state.start) // 2)
        store.catalog.publish("trim", stream.info, starts={index: place})
        log.trim(place)
        Compactor(rate=0).compact(log, now_us=1 << 60, after_us=0, size_max=1 << 22)
    time.sleep(0.05)
"""


def start(place: Path, role: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WORKER, str(place), role], stderr=subprocess.PIPE)


def acknowledged(place: Path) -> list[tuple[int, int, int]]:
    """Shard, position and epoch of the newest record that each writer had acknowledged and noted."""
    found = []
    for writer in range(WRITERS):
        path = f"{place}.{writer}"
        lines = Path(path).read_bytes().split(b"\n") if os.path.exists(path) else []
        if len(lines) > 1:
            shard, position, epoch = lines[-2].split()
            found.append((int(shard), int(position), int(epoch)))
    return found


@pytest.mark.stress
def test_snapshots_of_a_store_that_never_rests(tmp_path):
    """Each opens, verifies clean, and has of every shard a prefix with all that was acknowledged before it."""
    place = tmp_path / "store"
    store = streamstore.open(place, maintenance=False)
    store.create_stream("s", 2, durability="process", segment_size=131072)
    workers = {role: start(place, role) for role in [*map(str, range(WRITERS)), "reshard", "maintain"]}
    try:
        while len(acknowledged(place)) < WRITERS:
            time.sleep(0.1)
        for turn in range(SNAPSHOTS):
            time.sleep(0.5)
            before = acknowledged(place)
            store.snapshot(tmp_path / f"copy{turn}")
            if turn % 3 == 2:
                workers["reshard"].kill()
                workers["reshard"].communicate()
                workers["reshard"] = start(place, "reshard")
            check(tmp_path / f"copy{turn}", before)
        for role, worker in workers.items():
            assert worker.poll() is None, (role, worker.communicate()[1].decode())
    finally:
        for worker in workers.values():
            worker.kill()
            worker.communicate()
        store.close()


def check(path: Path, before: list[tuple[int, int, int]]) -> None:
    assert streamstore.verify(path).damage == []
    seen: dict[tuple[int, str], list[int]] = {}
    with streamstore.open(path, create=False, maintenance=False) as copy:
        stream = copy.stream("s")
        for record in stream.read():
            writer, number, _ = record.data.split(b" ", 2)
            seen.setdefault((int(writer), record.shard_id), []).append(int(number))
        for shard, position, epoch in before:  # what is not there was trimmed
            log = stream.log(shard)
            assert log.held().tail > position
            assert log.held().start > position or log.get(position, epoch) is not None
    for numbers in seen.values():
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
