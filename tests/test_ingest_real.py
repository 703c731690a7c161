"""Real logs through `ingest`, killed three times on the way: back byte for byte, in order per key, each line once."""

from __future__ import annotations

import random
import signal
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import start, succeed

import streamstore

# name, key options, how a key is found in a line without the code under test
APACHE = ("apache_access.log", ["--key-regex", r"^(\S+)"], lambda line: line.split(b" ")[0])
NGINX = ("nginx_plus.jsonl", ["--key-field", "address"], lambda line: line.split(b'"address":"')[1].split(b'"')[0])
OPENSSH = ("openssh.log", [], lambda line: b"")
TIMES = {
    "apache_access.log": ["--time-regex", r"\[([^]]+)\]", "--time-format", "%d/%b/%Y:%H:%M:%S %z"],
    "nginx_plus.jsonl": ["--time-field", "timestamp", "--time-format", "ms"],
    "openssh.log": ["--time-regex", r"^(\w+ +\d+ [\d:]+)", "--time-format", "%b %d %H:%M:%S"],
}
KILLS = 3


def ingest_with_kills(store: Path, file: Path, options: list[str], chance: random.Random) -> int:
    """Run `ingest` until it is through, killing it three times while it puts; returns how many kills hit a run."""
    lines = file.read_bytes().count(b"\n") + 1
    hits = 0
    for kill in range(1, KILLS + 1):
        process = start("ingest", store, "logs", file, *options)
        _wait_for_records(store, process, lines * kill // (KILLS + 1))
        time.sleep(chance.random() * 0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        hits += process.returncode == -signal.SIGKILL
    succeed("ingest", store, "logs", file, *options)
    return hits


def _wait_for_records(store: Path, process: object, count: int) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if _records(store) >= count or process.poll() is not None:  # type: ignore[attr-defined]
            return
        time.sleep(0.001)
    pytest.fail("the ingest made no progress")


def _records(store: Path) -> int:
    with streamstore.open(store, create=False) as opened:
        return sum(shard.record_count for shard in opened.stream("logs").shards())


@pytest.mark.parametrize(("name", "keys", "key_of"), [APACHE, NGINX, OPENSSH], ids=["apache", "nginx", "openssh"])
@pytest.mark.parametrize("shards", [1, 4])
def test_a_real_log_comes_back_whole(
    name: str,
    keys: list[str],
    key_of: Callable[[bytes], bytes],
    shards: int,
    tmp_path: Path,
    data_file: Callable[[str], Path],
) -> None:
    """Killed three times on the way in, a file is there with each line once, each key's lines in their order."""
    file = data_file(name)
    store = tmp_path / "store"
    succeed("create", store, "logs", "--shards", shards)
    options = [*keys, *TIMES[name], "--batch", "7", "--strict", "--no-progress"]
    hits = ingest_with_kills(store, file, options, random.Random(f"{name}{shards}"))
    assert hits == KILLS

    raw = succeed("read", store, "logs", "--raw").out
    content = file.read_bytes()
    if shards == 1:
        assert raw == content
    _check_order(store, content, key_of)
    assert succeed("ingest", store, "logs", file, *options, "--json").json["records"] == 0


def _check_order(store: Path, content: bytes, key_of: Callable[[bytes], bytes]) -> None:
    with streamstore.open(store, create=False, read_only=True) as opened:
        records = list(opened.stream("logs").read("TRIM_HORIZON"))
    positions = [record.source["position"] for record in records]
    assert len(set(positions)) == len(positions), "a line is there twice"
    by_position = {record.source["position"]: record.data for record in records}
    rebuilt = b"\n".join(data for _, data in sorted(by_position.items()))
    assert rebuilt + b"\n" * content.endswith(b"\n") == content
    seen: dict[tuple[str, bytes], int] = defaultdict(lambda: -1)
    for record in records:
        place = record.shard_id, key_of(record.data)
        assert record.source["position"] > seen[place], "out of order"
        seen[place] = record.source["position"]
        assert record.event_time is not None
        if record.partition_key is not None:
            assert record.partition_key.encode() == place[1]
