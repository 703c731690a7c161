"""streamstore.cli.queue: queues from a shell."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import run, succeed


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where a store can be made."""
    return tmp_path / "store"


def test_what_is_put_is_got_once(place: Path) -> None:
    """JSON stays JSON, text is text; an empty queue is exit code 5."""
    succeed("queue", "put", place, "jobs", '{"user": 42}')
    succeed("queue", "put", place, "jobs", stdin=b"plain text")
    assert succeed("queue", "get", place, "jobs").text == '{"user": 42}\n'
    assert succeed("queue", "get", place, "jobs", "--json").json[0]["body"] == "plain text"
    assert run("queue", "get", place, "jobs").code == 5
    assert run("queue", "get", place, "none").code == 3


def test_lines_are_messages(place: Path) -> None:
    """--keep looks without taking."""
    assert len(succeed("queue", "put", place, "jobs", "--lines", stdin=b"1\n2\n3\n").text.split()) == 3
    assert succeed("queue", "get", place, "jobs", "-n", 2, "--keep").text == "1\n2\n"
    assert succeed("queue", "get", place, "jobs", "-n", 10).text == "1\n2\n3\n"
    (row,) = succeed("queue", "ls", place, "--json").json
    assert (row["name"], row["total_acknowledged"], row["fresh"]) == ("jobs", 3, 0)
    assert "jobs" in succeed("queue", "ls", place).text


def test_dead_letters_are_listed_restored_and_purged(place: Path) -> None:
    """A command that always fails makes dead letters; restored they are worked on again."""
    succeed("queue", "put", place, "jobs", "--lines", stdin=b"1\n2\n")
    worked = run("queue", "work", place, "jobs", "--back-off", 0, "--exit-when-empty", "--", "false")
    assert "0 done, 12 failed" in worked.err
    rows = succeed("queue", "dead", place, "jobs", "--json").json
    assert [(row["body"], row["receive_count"], row["reason"]) for row in rows] == [
        (1, 6, "exit code 1"),
        (2, 6, "exit code 1"),
    ]
    assert "exit code 1" in succeed("queue", "dead", place, "jobs").text
    assert succeed("queue", "restore", place, "jobs", rows[0]["id"]).text == "restored 1\n"
    assert succeed("queue", "get", place, "jobs").text == "1\n"
    assert succeed("queue", "purge", place, "jobs", "--dead", "--yes", "--json").json == {"removed": 1}
    succeed("queue", "put", place, "jobs", "3")
    assert succeed("queue", "purge", place, "jobs", "--yes").text == "removed 1\n"


def test_work_runs_a_command_for_each_message(place: Path, tmp_path: Path) -> None:
    """The body is on its stdin; a slow one is killed and comes again."""
    succeed("queue", "put", place, "jobs", "--lines", stdin=b'{"n": 1}\n{"n": 2}\n{"n": 3}\n')
    out = tmp_path / "out"
    script = f'cat >> {out}; echo " $STREAMSTORE_RECEIVE_COUNT" >> {out}'
    worked = run("queue", "work", place, "jobs", "--exit-when-empty", "--", "sh", "-c", script)
    assert "3 done, 0 failed" in worked.err
    assert out.read_text().split("\n")[:3] == ['{"n": 1} 1', '{"n": 2} 1', '{"n": 3} 1']
    succeed("queue", "put", place, "jobs", "slow")
    script = "test $STREAMSTORE_RECEIVE_COUNT = 2 || exec sleep 60"
    options = ["--timeout", 0.2, "--back-off", 0, "--exit-when-empty"]
    worked = run("queue", "work", place, "jobs", *options, "--", "sh", "-c", script)
    assert "1 done, 1 failed" in worked.err
    assert "killed after 0.2 s" in worked.err


def test_work_ends_when_told_to(place: Path, tmp_path: Path) -> None:
    """SIGTERM lets the running command finish, and its message is acknowledged."""
    succeed("queue", "put", place, "jobs", "--lines", stdin=b"1\n2\n")
    mark = tmp_path / "mark"
    command = ["sh", "-c", f"touch {mark}; sleep 0.5"]
    arguments = [sys.executable, "-m", "streamstore", "queue", "work", str(place), "jobs", "--", *command]
    root = Path(__file__).parent.parent
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(root)})
    while not mark.exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert b"1 done, 0 failed" in err
    assert succeed("queue", "get", place, "jobs").text == "2\n"
