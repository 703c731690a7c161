"""streamstore.cli.stat: sizes and rates, and who holds what."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from command_line import run, start, succeed

import streamstore
from streamstore.cli.stat import disk_bytes, pinned_bytes


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A store with the stream `s` of two shards and four records."""
    directory = tmp_path / "store"
    with streamstore.open(directory) as store:
        store.create_stream("s", shard_count=2).put_records([(b"x" * 100, f"k{number}") for number in range(20)])
    return directory


def test_stat_of_a_store_that_nobody_has_open(place: Path) -> None:
    """Records, sizes, no processes; a frozen view says that it is one."""
    document = succeed("stat", place, "--interval", 0, "--json").json
    assert document["processes"] == []
    assert document["frozen_view"] is True
    assert sum(row["records"] for row in document["shards"]) == 20
    assert document["streams"][0]["record_count"] == 20
    assert all(row["bytes"] > 0 and row["dirty_bytes"] == 0 for row in document["shards"])
    assert document["disk_bytes"] >= sum(row["disk_bytes"] for row in document["shards"]) > 0


def test_stat_sees_the_processes_and_their_syncs(place: Path) -> None:
    """While this process has the store open and puts, its pid, syncs and rates show."""
    with streamstore.open(place) as store:
        stream = store.stream("s")
        for _ in range(10):
            stream.put_record(b"y", "k")
        document = succeed("stat", place, "s", "--interval", 0, "--json").json
        mine = [process for process in document["processes"] if process["pid"] == os.getpid()]
        assert mine
        assert mine[0]["alive"] is True
        assert document["frozen_view"] is False
        assert any(row["sync_mean_us"] and row["sync_max_us"] >= row["sync_mean_us"] for row in document["shards"])


def test_dirty_bytes_show_until_a_flush(tmp_path: Path) -> None:
    """What is published and not synced counts as dirty, and no more after a flush."""
    with streamstore.open(tmp_path / "store", durability="process") as store:
        store.create_stream("s").put_record(b"x" * 1000, "k")
        (row,) = succeed("stat", tmp_path / "store", "--interval", 0, "--json").json["shards"]
        assert row["dirty_bytes"] > 1000
        store.flush()
        (row,) = succeed("stat", tmp_path / "store", "--interval", 0, "--json").json["shards"]
        assert row["dirty_bytes"] == 0


def test_a_follower_shows_as_waiting(place: Path) -> None:
    """A process that sleeps on the tail is seen by stat."""
    process = start("tail", place, "s", "--follow", "--raw")
    assert process.stdout is not None
    process.stdout.readline()
    try:
        document = succeed("stat", place, "--interval", 0.2, "--json").json
        assert process.pid in [each["pid"] for each in document["processes"]]
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)


def test_stat_for_people(place: Path) -> None:
    """A table with a line a shard; an unknown stream is not found."""
    text = succeed("stat", place, "--interval", 0).text
    assert "RECORDS" in text
    assert [line.split()[:2] for line in text.splitlines() if line.startswith("s ")] == [["s", "0"], ["s", "1"]]
    assert run("stat", place, "other").code == 3


def test_watch_goes_on_until_ctrl_c(place: Path) -> None:
    """--watch prints again and again and ends with 130."""
    process = start("stat", place, "--watch", "--interval", 0.1)
    assert process.stdout is not None
    seen = 0
    while seen < 3:
        seen += process.stdout.readline().startswith(b"STREAM")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130


def test_pinned_bytes_are_those_of_deleted_files(tmp_path: Path) -> None:
    """A deleted file that is still open counts, one that was never deleted does not."""
    path = tmp_path / "segment"
    path.write_bytes(b"x" * 100_000)
    with open(path, "rb"):
        assert pinned_bytes(tmp_path, os.getpid()) == 0
        path.unlink()
        assert pinned_bytes(tmp_path, os.getpid()) >= 100_000
    assert pinned_bytes(tmp_path, os.getpid()) == 0
    assert pinned_bytes(tmp_path, 2**22 + 1) is None


def test_disk_bytes_are_what_is_allocated(tmp_path: Path) -> None:
    """A file with a hole counts for what it takes."""
    with open(tmp_path / "hole", "wb") as file:
        file.truncate(1 << 30)
    (tmp_path / "data").write_bytes(b"x" * 50_000)
    assert 50_000 <= disk_bytes(tmp_path) < 1 << 20
