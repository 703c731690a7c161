"""streamstore.cli.demo: the whole story in small, and that its checks would notice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from command_line import run, start, succeed

import streamstore
from streamstore.cli.demo.checks import check_store
from streamstore.cli.demo.child import Ack
from streamstore.cli.demo.command import file_system
from streamstore.cli.demo.story import Story, quantiles
from streamstore.generate.clickstream import clickstream

EVENTS = 6_000


def test_the_demo_holds_what_it_says(tmp_path: Path) -> None:
    """Every check holds, every figure is there, and the store it leaves in a given directory has all events."""
    place = tmp_path / "demo"
    document = succeed("demo", place, "--events", EVENTS, "--json").json
    assert document["ok"] is True
    assert len(document["checks"]) == 7
    assert all(document["checks"].values())
    assert (document["records"], document["lost"], document["twice"]) == (EVENTS, 0, 0)
    assert 0 < document["acknowledged_before_kill"] < EVENTS
    assert document["acknowledged"] <= EVENTS
    for name in ("records_per_s", "bytes_per_s", "read_records_per_s", "reopen_ns", "taken_over_after_ns"):
        assert document[name] > 0, name
    for name in ("put_one_ns", "put_batch_ns", "tail_ns", "tail_loaded_ns"):
        assert 0 < document[name]["p50"] <= document[name]["p99"] <= document[name]["max"], name
    assert len(succeed("read", place / "store", "clickstream", "--raw").out.splitlines()) == EVENTS
    assert run("demo", place).code == 1


def test_the_demo_cleans_up_and_looks_sane_without_a_terminal(tmp_path: Path) -> None:
    """In a temporary directory: a table without colours, plain lines on stderr, and nothing left behind."""
    process = start("demo", "--events", EVENTS, stdin=subprocess.DEVNULL, cwd=tmp_path)
    out, error = process.communicate(timeout=100)
    assert process.returncode == 0, error
    assert b"\x1b" not in out + error
    assert "0 lost, 0 twice" in out.decode()
    assert "kill" in error.decode()


def test_ctrl_c_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted in the middle, the demo ends with 130, its processes end, and its directory goes."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    process = start("demo", "--events", 100_000, start_new_session=True)
    end = time.monotonic() + 30
    while not list(tmp_path.glob("streamstore-demo-*/store/streams/*/*/*.seg")):
        assert time.monotonic() < end
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, error = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"Traceback" not in error
    assert list(tmp_path.iterdir()) == []
    assert [pid for pid in _processes_naming(str(tmp_path)) if pid != process.pid] == []


def _processes_naming(text: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if (
                entry.name.isdigit()
                and text.encode() in (entry / "cmdline").read_bytes()
                and int(entry.name) != os.getpid()
            ):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("fault", ["none", "lost", "twice", "changed", "swapped", "other number"])
def test_the_checks_bite(fault: str, tmp_path: Path) -> None:
    """A record that is missing, doubled, changed, out of order or under another number fails its check."""
    events = [event for event in clickstream(400) if event.user]
    part = tmp_path / "part"
    part.write_bytes(b"".join(event.data + b"\n" for event in events))
    stored = [(event.data, event.user) for event in events]
    users = [user for _, user in stored]
    first = next(index for index, user in enumerate(users) if users.count(user) > 1)
    second = users.index(users[first], first + 1)
    if fault == "lost":
        del stored[first]
    elif fault == "twice":
        stored.append(stored[second])
    elif fault == "changed":
        stored[first] = (stored[first][0].replace(b'"load_ms":', b'"load_ns":'), stored[first][1])
    elif fault == "swapped":
        stored[first], stored[second] = stored[second], stored[first]
    with streamstore.open(tmp_path / "store") as store:
        stream = store.create_stream("s", shard_count=2)
        results = stream.put_records(stored)
        by_event = {
            json.loads(data)["event"]: result.sequence_number for (data, _), result in zip(stored, results, strict=True)
        }
        numbers = [by_event.get(number, "0") for number in range(len(events))]
        if fault == "other number":
            numbers[first] = numbers[second]
        checks: dict[str, bool] = {}
        check_store(stream, [part], [Ack("batch", 0, 1, list(range(len(events))), numbers)], {}, checks)
    assert all(checks.values()) == (fault == "none"), checks


@pytest.mark.parametrize(
    ("seen", "holds"), [([0, 1, 2], True), ([0, 1], False), ([0, 1, 1], False), ([0, 1, 2, 2], False)]
)
def test_the_tailing_process_must_see_each_once(seen: list[int], holds: bool, tmp_path: Path) -> None:
    """Fewer than all, or one twice, is noticed."""
    story = Story(tmp_path, 3, lambda line: None)
    story.tailed = {"count": len(seen), "distinct": len(set(seen)), "out_of_order": 0, "latencies_us": [1] * len(seen)}
    story.check_tail()
    assert story.checks["the tailing process saw every record once"] is holds
    assert story.checks["and each shard in order"] is True


def test_quantiles() -> None:
    """The middle, the 99th of 100, the largest; zeros where nothing was measured."""
    assert quantiles(range(1, 101)) == {"p50": 50, "p99": 99, "max": 100, "count": 100}
    assert quantiles([7]) == {"p50": 7, "p99": 7, "max": 7, "count": 1}
    assert quantiles([])["count"] == 0


def test_file_system_is_what_the_kernel_says() -> None:
    """The type of the innermost mount."""
    assert file_system(Path("/proc/self")) == "proc"
