"""`ingest` under many random kills: two sources into one stream at once, nothing lost, nothing twice, order kept."""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path

import pytest
from command_line import start

import streamstore

LINES = 60_000


def make_file(path: Path, name: str, chance: random.Random) -> Path:
    """A file of numbered lines of many sizes, some of them empty, some without a key, the last without a newline."""
    with open(path, "wb") as file:
        for number in range(LINES):
            kind = chance.random()
            key = b"" if kind < 0.2 else b"%s-%d " % (name.encode(), chance.randrange(50))
            file.write(
                b""
                if kind < 0.01 and number < LINES - 1
                else key + b"%d " % number + b"x" * int(chance.expovariate(1 / 80))
            )
            file.write(b"\n" if number < LINES - 1 else b"")
    return path


def run_with_kills(store: Path, files: list[Path], durability: str, chance: random.Random) -> int:
    """Ingest all files at once, killing each run at random until it gets through; returns how many kills hit."""
    kills = 0
    waiting: dict[Path, subprocess.Popen[bytes] | None] = dict.fromkeys(files)
    while waiting:
        for file, process in list(waiting.items()):
            if process is None:
                batch = chance.choice([3, 20, 200, 1000])
                options = ["--create", "--shards", 5, "--durability", durability, "--batch", batch]
                waiting[file] = start("ingest", store, "s", file, "--key-regex", r"^(\S+-\d+) ", *options)
            elif process.poll() is not None:
                _, error = process.communicate()
                assert process.returncode in (0, -9), error
                if process.returncode == 0:
                    del waiting[file]
                else:
                    waiting[file] = None
            elif chance.random() < 0.05:
                process.kill()
                kills += 1
        time.sleep(0.01)
    return kills


@pytest.mark.stress
@pytest.mark.parametrize("durability", ["sync", "interval", "process"])
@pytest.mark.parametrize("seed", range(4))
def test_every_line_once_after_many_kills(durability: str, seed: int, tmp_path: Path) -> None:
    """However often the runs are killed, both files are there whole, each line once, each key in order."""
    chance = random.Random(seed)
    files = [make_file(tmp_path / name, name, chance) for name in ("first", "second")]
    kills = run_with_kills(tmp_path / "store", files, durability, chance)
    assert kills > 0
    with streamstore.open(tmp_path / "store", create=False) as store:
        records = list(store.stream("s").read("TRIM_HORIZON"))
    assert len(records) == 2 * LINES
    newest: dict[tuple[str, str, str | None], int] = {}
    found: dict[str, dict[int, bytes]] = {}
    for record in records:
        source, position = record.source["id"], record.source["position"]
        place = source, record.shard_id, record.partition_key
        assert position > newest.get(place, -1), "out of order, or twice"
        newest[place] = position
        found.setdefault(source, {})[position] = record.data
    whole = {b"\n".join(data for _, data in sorted(each.items())) for each in found.values()}
    assert whole == {file.read_bytes() for file in files}
