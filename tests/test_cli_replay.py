"""streamstore.cli.replay: options, what is shown, keys, and what an interrupt leaves."""

from __future__ import annotations

import json
import math
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from command_line import ROOT, run, start, succeed

import streamstore
from streamstore import PutEntry
from streamstore.cli.replay.keys import pressed
from streamstore.cli.replay.report import histogram_lines, status_text
from streamstore.histogram import Histogram
from streamstore.replay import Replay

BEGIN = 1_431_857_103


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A store with a stream of fifty records, ten seconds of event time apart."""
    with streamstore.open(tmp_path / "store", durability="process") as store:
        stream = store.create_stream("s", shard_count=2)
        stream.put_records(
            [
                PutEntry(b'{"n": %d, "user": "u%d"}' % (n, n % 3), f"k{n % 5}", event_time=BEGIN + n * 10)
                for n in range(50)
            ]
        )
    return tmp_path / "store"


def sent(out: bytes) -> list[int]:
    """Which records stand in an output."""
    return [json.loads(line)["n"] for line in out.splitlines()]


def test_it_sends_to_stdout_and_says_how_late_it_was(place):
    """The data on stdout in order; the summary and the histogram on stderr."""
    done = succeed("replay", place, "s", "--by", "event", "--speed", "100000x")
    assert sent(done.out) == list(range(50))
    assert "50 records" in done.err
    assert "timing error in ms: p50" in done.err
    assert all(len(line) <= 80 for line in done.err.splitlines()[1:])


def test_flat_out_has_no_timing(place):
    """Nothing was due, so nothing is late."""
    done = succeed("replay", place, "s", "null:", "--speed", "max", "--json")
    assert done.json["timing_error_ms"] is None
    assert (done.json["records"], done.json["target"]) == (50, "null")


def test_a_dry_run_sends_nothing(place, tmp_path):
    """It says how much, from when to when, and how long."""
    target = tmp_path / "out.jsonl"
    options = ("--by", "event", "--speed", "10", "--dry-run")
    plan = succeed("replay", place, "s", target, *options, "--json").json
    assert plan == {
        "records": 50,
        "bytes": plan["bytes"],
        "without_time": 0,
        "duration_s": 49.0,
        "peak_rate": 1,
        "first": "2015-05-17T10:05:03.000000Z",
        "last": "2015-05-17T10:13:13.000000Z",
    }
    text = succeed("replay", place, "s", target, *options).text
    assert "takes     49 s at 10x" in text
    assert "flat out" in succeed("replay", place, "s", "--dry-run", "--speed", "max").text
    assert "5 records/s" in succeed("replay", place, "s", "--dry-run", "--rate", "5").text
    assert not target.exists()


def test_start_end_and_filters(place, monkeypatch, tmp_path):
    """A part of the log's own time, and of the records."""
    (tmp_path / "mine_to_ask.py").write_text("def even(record): return b'2' in record.data\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    by_event = ("--by", "event", "--speed", "max")
    part = succeed("replay", place, "s", *by_event, "--start", "2015-05-17T10:06:43Z", "--end", str(BEGIN + 200))
    assert sent(part.out) == list(range(10, 20))
    found = succeed("replay", place, "s", *by_event, "--key", "k1", "--key", "k2", "--match", '"u1"')
    assert sent(found.out) == [n for n in range(50) if n % 5 in (1, 2) and n % 3 == 1]
    found = succeed("replay", place, "s", *by_event, "--where", "mine_to_ask:even", "--hash-keys", f"0-{2**128 - 1}")
    assert sent(found.out) == [n for n in range(50) if "2" in f'{{"n": {n}, "user": "u{n % 3}"}}']


def test_new_keys_into_another_store(place, tmp_path):
    """Keys from the data, times from now, into a stream that is made for it."""
    copy = tmp_path / "copy"
    options = ("--speed", "max", "--new-key-field", "user", "--new-times", "--shards", "3", "--durability", "process")
    succeed("replay", place, "s", f"store:{copy}#c", *options)
    with streamstore.open(copy, create=False) as store:
        records = list(store.stream("c").read())
        assert len(store.stream("c").shards()) == 3
    assert all(record.partition_key == json.loads(record.data)["user"] for record in records)
    assert all(record.event_time.year > 2015 for record in records)
    assert len(records) == 50


WRONG = [
    ["--speed", "fast"],
    ["--speed", "0"],
    ["--rate", "0"],
    ["--hash-keys", "5"],
    ["--hash-keys", "5-4"],
    ["--match", "("],
    ["--new-key-regex", "("],
    ["--new-key-regex", "a", "--new-key-field", "b"],
    ["--where", "nothing"],
    ["--where", "json:nothing"],
    ["--start", "4" * 56],
    ["nowhere"],
    ["--loop", "2", "--follow"],
]


@pytest.mark.parametrize("options", WRONG, ids=" ".join)
def test_wrong_usage_is_refused(place, options):
    """One line on stderr, exit code 2, nothing sent."""
    result = run("replay", place, "s", *options)
    assert (result.code, result.out) == (2, b"")


def test_an_interrupt_says_where_to_go_on(place):
    """Ctrl-C in a long gap; what it says as --start sends just the rest."""
    with start("replay", place, "s", "--by", "event", "--rate", "20") as process:
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    again = err.decode().split("--start '")[1].split("'")[0]
    rest = succeed("replay", place, "s", "--by", "event", "--speed", "max", "--start", again)
    assert sent(first + out) + sent(rest.out) == list(range(50))


def test_keys_on_a_terminal(place):
    """Pause, go on, faster; q ends it; the terminal is as it was."""
    parent, child = pty.openpty()
    command = [sys.executable, "-m", "streamstore", "replay", place, "s", "null:", "--by", "event", "--speed", "0.01"]
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    process = subprocess.Popen(
        [str(part) for part in command], stdin=child, stdout=child, stderr=child, env={**os.environ, "PYTHONPATH": path}
    )
    os.close(child)
    shown = b""
    while b"records" not in shown:
        shown += os.read(parent, 1000)
    os.write(parent, b" ")
    time.sleep(0.2)
    os.write(parent, b" ")
    time.sleep(0.2)
    os.write(parent, b"q")
    assert process.wait(timeout=30) == 0
    os.close(parent)


@pytest.fixture
def playing(place: Path) -> Any:
    """A replay that stands at its first record."""
    with streamstore.open(place, create=False) as store, Replay(store.stream("s"), by="event", speed=4) as replay:
        next(iter(replay))
        yield replay


def test_each_key_does_what_it_is_for(playing):
    """Space, + and -, the arrows, q, and any other."""
    pressed(playing, b" ")
    assert playing.is_paused
    pressed(playing, b" ")
    assert not playing.is_paused
    pressed(playing, b"+")
    assert playing.speed == 8
    pressed(playing, b"-")
    pressed(playing, b"-")
    assert playing.speed == 2
    pressed(playing, b"x")
    pressed(playing, b"\x1b[C")
    assert json.loads(next(iter(playing)).data)["n"] in (2, 3)
    pressed(playing, b"\x1b[D")
    assert json.loads(next(iter(playing)).data)["n"] in (0, 1, 2)
    playing.set_speed(math.inf)
    pressed(playing, b"+")
    pressed(playing, b"\x1b[C")
    assert playing.speed == math.inf
    pressed(playing, b"q")
    assert list(playing) == []


def test_the_status_is_one_line_of_a_narrow_terminal(playing):
    """At most 80 columns, with recorded time, count, rate, speed and lateness."""
    line = status_text(playing, 1.0)
    assert line.startswith("2015-05-17T10:05:")
    assert "1 records  1/s  4x  late p99 " in line
    assert len(line) < 80
    playing.set_speed(math.inf)
    assert status_text(playing, 1.0).startswith("-  1 records")


def test_a_histogram_is_readable():
    """A line for each step up to the last one that has any, with counts that add up."""
    timing = Histogram()
    timing.add(40, 90)
    timing.add(4_000, 9)
    timing.add(3_000_000, 1)
    lines = histogram_lines(timing)
    assert lines[0] == "timing error in ms: p50 0.040, p90 0.040, p99 4.001, p99.9 3000.000, max 3000.000"
    assert lines[1].split() == ["up", "to", "0.05", "ms", "90", "90.0", "%", "#" * 30]
    assert lines[-1].split()[:2] == ["more", "1"]
    assert sum(int(line.split("ms" if "ms" in line else "more")[1].split()[0]) for line in lines[1:]) == 100
