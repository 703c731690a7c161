"""`maintain`, `retention`, and what `create` and `stat` say about both."""

from __future__ import annotations

import json
import signal

import pytest
from command_line import run, start, succeed

import streamstore
from streamstore import limits


@pytest.fixture
def directory(tmp_path):
    path = tmp_path / "data"
    succeed("create", path, "clicks", "--durability", "process")
    return path


def test_maintain_says_what_it_did(directory):
    """A line for people, a document for programs, and 0."""
    assert "0 B freed" in succeed("maintain", directory).err
    report = succeed("maintain", directory, "--json").json
    assert report["freed_bytes"] == 0
    assert not report["busy"]
    assert report["problems"] == []
    assert succeed("stat", directory, "--interval", "0", "--json").json["maintained"]


def test_maintain_leaves_it_to_who_is_at_it(directory):
    """That is no failure."""
    with (
        streamstore.open(directory, maintenance=False) as store,
        store.attachment.hold(limits.HOLD_MAINTENANCE) as hold,
    ):
        assert hold
        assert "another process is at it" in succeed("maintain", directory).err


def test_maintain_as_a_daemon(directory):
    """Round after round until Ctrl-C."""
    process = start("maintain", directory, "--daemon", "--every", "0.1", "--json", start_new_session=True)
    assert [json.loads(process.stdout.readline())["busy"] for _ in range(3)] == [False] * 3
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130


def test_a_jumped_clock_is_told(directory, monkeypatch):
    """With what to do about it, and exit code 1."""
    monkeypatch.setattr(streamstore.store.Store, "_jump_us", lambda self: 30 * 3_600_000_000)
    monkeypatch.setattr(streamstore.clock, "is_synchronised", lambda: False)
    result = run("maintain", directory)
    assert result.code == 1
    assert "--accept-clock" in result.err
    assert succeed("stat", directory, "--interval", "0", "--json").json["clock_trusted"] is False


def test_retention_is_shown_and_changed(directory):
    """Hours and bytes, in one call."""
    assert succeed("retention", directory, "clicks", "--json").json["retention_hours"] == 24
    options = ("--hours", 48, "--max-bytes", "2MiB", "--on-full", "drop_oldest")
    changed = succeed("retention", directory, "clicks", *options, "--json").json
    assert (changed["retention_hours"], changed["max_bytes"], changed["on_full"]) == (48, 2 << 20, "drop_oldest")
    assert "48 hours" in succeed("retention", directory, "clicks").text
    assert "at most 2.0 MiB" in succeed("stat", directory, "--interval", "0").err
    assert succeed("retention", directory, "clicks", "--max-bytes", "0", "--json").json["max_bytes"] is None
    assert run("retention", directory, "clicks", "--hours", 3).code == 2
    assert run("retention", directory, "nothing").code == 3


def test_create_takes_a_limit(directory):
    """As create_stream does."""
    succeed("create", directory, "small", "--max-bytes", "1MiB", "--on-full", "block")
    shown = succeed("retention", directory, "small", "--json").json
    assert (shown["max_bytes"], shown["on_full"]) == (1 << 20, "block")
