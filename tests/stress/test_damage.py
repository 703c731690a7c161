"""Random damage, many times: verify finds it, repair makes the store whole, and no record that reads is another one."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

import streamstore
from streamstore.compaction import Compactor

ROUNDS = 150


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A closed store: plain and compacted segments, a split, a merge, a queue, attributes, several epochs."""
    path = tmp_path / "store"
    for turn in range(3):
        with streamstore.open(path, durability="process", maintenance=False) as store:
            stream = store.create_stream("s", 2, segment_size=131072, exist_ok=True)
            for first in range(0, 400, 40):
                entries = [(os.urandom(700), f"key-{number}") for number in range(first, first + 40)]
                stream.put_records(entries)
            if turn == 0:
                stream.split_shard("shardId-000000000000", 1 << 125)
            elif turn == 1:
                stream.merge_shards("shardId-000000000002", "shardId-000000000003")
                for index in (0, 1):
                    log = stream.log(index)
                    Compactor(rate=0).compact(log, now_us=1 << 60, after_us=0, size_max=1 << 19)
            queue = store.queue("jobs")
            queue.put({"turn": turn})
    assert streamstore.verify(path).damage == []
    return path


def records(path: Path) -> dict[str, bytes]:
    with streamstore.open(path, create=False, maintenance=False) as store:
        return {record.sequence_number: record.data for record in store.stream("s").read()}


def hurt(path: Path, chosen: random.Random) -> str:
    """One act of damage somewhere; returns what it was."""
    files = sorted(each for each in path.rglob("*") if each.suffix == ".seg" or each.name == "manifest")
    file = chosen.choice(files)
    size = file.stat().st_size
    kind = chosen.choice(["bit", "bit", "bytes", "sector", "cut", "gone", "zeros", "copy"])
    at = chosen.randrange(min(size, 4096) if chosen.random() < 0.3 else size)
    if kind == "gone":
        file.unlink()
    elif kind == "cut":
        os.truncate(file, at)
    elif kind == "copy":
        file.write_bytes(chosen.choice(files).read_bytes())
    else:
        count = {"bit": 1, "bytes": 16, "sector": 512, "zeros": 4096}[kind]
        with open(file, "r+b") as handle:
            handle.seek(at)
            old = handle.read(count)
            new = bytes(len(old)) if kind == "zeros" else os.urandom(len(old))
            if kind == "bit":
                new = bytes([old[0] ^ 1 << chosen.randrange(8)]) if old else b""
            handle.seek(at)
            handle.write(new)
    return f"{kind} of {file.relative_to(path)} at {at} of {size}"


@pytest.mark.parametrize(
    "seed", [pytest.param(seed, marks=() if seed < 4 else pytest.mark.stress) for seed in range(ROUNDS)]
)
def test_random_damage_is_found_and_repaired(place, tmp_path, seed):
    """Whatever is hit: what reads afterwards is what was written, nothing raises, and new records go in."""
    before = records(place)
    chosen = random.Random(seed)
    acts = [hurt(place, chosen) for _ in range(chosen.choice([1, 1, 2, 5]))]
    if chosen.random() < 0.3:
        (place / "control").unlink()
    result = streamstore.repair(place)
    assert result.damage == [], (acts, result)
    after = records(place)
    assert after.items() <= before.items(), acts
    with streamstore.open(place, maintenance=False) as store:
        results = store.stream("s").put_records([(b"new", f"key-{number}") for number in range(50)])
        assert not {each.sequence_number for each in results} & before.keys(), acts
    assert len(records(place)) == len(after) + 50, acts
    assert streamstore.verify(place).damage == [], acts
