"""The verb `generate`."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path

import pytest
from command_line import run, start, succeed

import streamstore


def test_into_a_new_stream(tmp_path: Path) -> None:
    """The stream is made, the records are there, and the report says so."""
    done = succeed(
        "generate", f"store:{tmp_path}/data#clicks", "--scenario", "clickstream", "--count", 1200, "--shards", 3,
        "--seed", 1, "--json", "--durability", "process",
    )  # fmt: skip
    assert done.json["records"] == 1200
    with streamstore.open(tmp_path / "data", create=False) as store:
        stream = store.stream("clicks")
        assert stream.durability == "process"
        records = list(stream.read("TRIM_HORIZON"))
    assert len(records) == 1200
    assert sum(len(record.data) for record in records) == done.json["bytes"]
    assert len({record.shard_id for record in records}) == 3


def test_preview(tmp_path: Path) -> None:
    """Nothing is sent, and no target is needed; a template may come from a file."""
    (tmp_path / "t").write_text("n={{sequence.number}}\n")
    done = succeed("generate", "-t", f"@{tmp_path}/t", "--key", "k{{sequence.number}}", "--preview", "--count", 2)
    assert done.text == "k1\tn=0\nk2\tn=1\n"


def test_to_stdout_the_report_goes_to_stderr() -> None:
    """So that the records alone can be piped on."""
    done = succeed("generate", "json:-", "-t", "x", "-n", 2, "--start", "2026-01-01", "-r", 1, "--json")
    times = [document["event_time"] for document in done.json_lines]
    assert times == ["2026-01-01T00:00:00.000000Z", "2026-01-01T00:00:01.000000Z"]
    assert json.loads(done.err)["records"] == 2


def test_a_week_of_rates(tmp_path: Path) -> None:
    """The hours of a week come from a file; a wrong one is told."""
    week = tmp_path / "week.json"
    week.write_text(json.dumps({"means": [2] * 168}))
    done = succeed("generate", "null:", "-t", "x", "--week", week, "--start", "2026-01-05", "-d", 60, "--json")
    assert done.json["records"] == 120
    week.write_text('{"means": [1]}')
    failed = run("generate", "null:", "-t", "x", "--week", week, "-n", 1)
    assert failed.code == 2
    assert "168 hours" in failed.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["null:", "-n", 1], "--template, --scenario and --size"),
        (["null:", "-t", "x", "--size", "5", "-n", 1], "--template, --scenario and --size"),
        (["null:", "-t", "x"], "count or duration"),
        (["-t", "x", "-n", 1], "a TARGET is wanted"),
        (["nowhere", "-t", "x", "-n", 1], "names no target"),
        (["null:", "-t", "{{x", "-n", 1], "is not closed"),
        (["null:", "-t", "x", "-n", 1, "--poisson"], "go with --rate"),
        (["null:", "-t", "x", "-n", 1, "-r", 1, "--start", "soon"], "is no time"),
        (["null:", "--size", "big", "-n", 1], "is no size"),
        (["null:", "--size", "5", "-n", 1, "--key", "x"], "--key goes with --template"),
    ],
)
def test_wrong_usage(arguments: list[object], message: str) -> None:
    """Exit 2 and a line that says what would be right."""
    failed = run("generate", *arguments)
    assert failed.code == 2
    assert message in failed.err


def test_ctrl_c_ends_it_with_a_report(tmp_path: Path) -> None:
    """Exit 130; what the report counts is in the stream."""
    process = start("generate", f"store:{tmp_path}/data#s", "--size", "100", "-r", "500", "-d", "600", "--json")
    with streamstore.open(tmp_path / "data", durability="sync") as store:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if "s" in store.list_streams() and len(list(store.stream("s").read("TRIM_HORIZON"))) > 10:
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 130, err
        report = json.loads(out)
        assert report["stopped"] is True
        assert len(list(store.stream("s").read("TRIM_HORIZON"))) == report["records"] > 10


def offsets(*options: object) -> list[float]:
    """When records come, in seconds from the start of a simulated run on a Monday."""
    done = succeed("generate", "json:-", "-t", "x", "--start", "2026-01-05", "--seed", 7, *options)
    began = datetime(2026, 1, 5, tzinfo=timezone.utc)
    return [
        (datetime.fromisoformat(line["event_time"][:-1] + "+00:00") - began).total_seconds() for line in done.json_lines
    ]


def test_arrivals_are_what_the_options_say(tmp_path: Path) -> None:
    """Even, by chance, in bursts, or by a week with its spread and its slopes; a seed makes chance the same."""
    assert offsets("-n", 4, "-r", 2) == [0, 0.5, 1, 1.5]
    by_chance = offsets("-n", 20, "-r", 2, "--poisson")
    assert len({round(after - before, 6) for before, after in pairwise(by_chance)}) == 19
    assert offsets("-n", 20, "-r", 2, "--poisson") == by_chance != offsets("-n", 20, "-r", 2, "--poisson", "--seed", 8)
    assert offsets("-n", 5, "-r", 2, "--burst", 1, 9) == [0, 0.5, 10, 10.5, 20]
    week = tmp_path / "week.json"
    week.write_text(json.dumps({"means": [0] + [100] * 167, "smooth": True}))
    assert int(offsets("-n", 1, "--week", week)[0]) == 19  # 0.5 of the way to 100 a second is rounded to one record
    week.write_text(json.dumps({"means": [50] * 168, "sigmas": [10] * 168}))
    counts = Counter(map(int, offsets("-d", 20, "--week", week)))
    assert len(set(counts.values())) > 5


def test_keys_and_stamps() -> None:
    """Keys of a set, whatever the source; event times in real time where they are asked for."""
    done = succeed("generate", "json:-", "-s", "iot", "--keys", 3, "--zipf", 0, "-n", 200, "--stamp")
    assert {line["partition_key"] for line in done.json_lines} == {"key-0", "key-1", "key-2"}
    assert all("event_time" in line for line in done.json_lines)
    done = succeed("generate", "json:-", "-s", "iot", "-n", 5)
    assert not any("event_time" in line for line in done.json_lines)
