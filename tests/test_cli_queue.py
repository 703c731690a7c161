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

import streamstore


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


@pytest.mark.parametrize("codec", ["msgpack", "bytes"])
def test_what_is_no_text_stays_as_it_is(place: Path, codec: str) -> None:
    """Not a byte of it is changed, alone or in a line; as JSON it is told as base64."""
    with streamstore.open(place) as store:
        store.queue("jobs", codec=codec)
    succeed("queue", "put", place, "jobs", stdin=b"\xff\x00\xfe")
    succeed("queue", "put", place, "jobs", "--lines", stdin=b"text\n\xfa\n")
    (message,) = succeed("queue", "get", place, "jobs", "--keep", "--json").json
    assert message["body"] == {"base64": "/wD+"}
    assert succeed("queue", "get", place, "jobs", "-n", 3).out == b"\xff\x00\xfe\ntext\n\xfa\n"


@pytest.mark.parametrize(
    ("codec", "body", "why"),
    [
        ("json", b"\xff", "the codec json cannot take this body"),
        ("json", b'"\\ud800"', "the codec json cannot take this body"),
        ("msgpack", b"9" * 30, "the codec msgpack cannot take this body"),
        ("json", b"[" * 200_000, "nested too deeply"),
        ("bytes", b"x" * 5_001, "over the limit of 5000 bytes"),
    ],
)
def test_a_body_that_cannot_be_taken_puts_nothing(place: Path, codec: str, body: bytes, why: str) -> None:
    """Alone, or in one line of several: the remark says why, and what was there is still there."""
    with streamstore.open(place) as store:
        store.queue("jobs", codec=codec, max_record_size=5_000)
    succeed("queue", "put", place, "jobs", "7")
    for more, stdin in (([], body), (["--lines"], b"8\n" + body + b"\n")):
        refused = run("queue", "put", place, "jobs", *more, stdin=stdin)
        assert (refused.code in (1, 2), refused.out) == (True, b"")
        assert why in refused.err
    assert succeed("queue", "get", place, "jobs", "-n", 10).text == "7\n"


def test_half_of_a_surrogate_pair_is_printed_escaped(place: Path) -> None:
    """JSON of others can have one; whoever gets it is not stopped by it."""
    with streamstore.open(place) as store:
        store.queue("jobs", codec="json").stream.put_record(b'"a\\ud800"', "k")
    (message,) = succeed("queue", "get", place, "jobs", "--keep", "--json").json
    assert message["body"] == "a\ud800"
    assert succeed("queue", "get", place, "jobs").text == "a\\ud800\n"


def test_work_takes_nothing_for_a_command_that_is_not_there(place: Path, tmp_path: Path) -> None:
    """A slip in its name would make dead letters of all there is."""
    succeed("queue", "put", place, "jobs", "1")
    (tmp_path / "plain").write_text("not executable")
    for command in ("./none", tmp_path / "plain"):
        worked = run("queue", "work", place, "jobs", "--exit-when-empty", "--", command)
        assert (worked.code, "there is no such command" in worked.err) == (2, True)
    (row,) = succeed("queue", "ls", place, "--json").json
    assert (row["fresh"], row["total_received"]) == (1, 0)


def test_work_ends_where_its_queue_ends(place: Path) -> None:
    """Each worker is told, and so is who started them: it is no success."""
    succeed("queue", "put", place, "jobs", "--lines", stdin=b"1\n2\n")
    delete = "import sys, streamstore; streamstore.open(sys.argv[1]).delete_queue('jobs')"
    worked = run("queue", "work", place, "jobs", "-j", 2, "--", sys.executable, "-c", delete, place)
    assert worked.code == 3
    assert "Traceback" not in worked.err
    assert "jobs" in worked.err.splitlines()[-1]


def test_a_command_is_killed_with_what_it_started(place: Path, tmp_path: Path) -> None:
    """Its children would go on with a message that somebody else has by then."""
    succeed("queue", "put", place, "jobs", "1")
    mark = tmp_path / "pid"
    script = f"test $STREAMSTORE_RECEIVE_COUNT = 2 && exit 0; sleep 600 & echo $! > {mark}; wait"
    options = ["--timeout", 1, "--back-off", 0, "--exit-when-empty"]
    worked = run("queue", "work", place, "jobs", *options, "--", "sh", "-c", script)
    assert "1 done, 1 failed" in worked.err
    state = Path(f"/proc/{mark.read_text().strip()}/stat")
    while state.exists() and state.read_text().split()[2] != "Z":
        time.sleep(0.01)  # killed by now, and not yet gone: the end of a hanging test is the end of this one


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
