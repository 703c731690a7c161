"""streamstore.cli.capture: options, what is made, what is said, and how it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
from command_line import run, start, succeed

import streamstore
from streamstore.capture import Capture
from streamstore.cli.capture.command import status_text


@pytest.fixture
def origin(tmp_path: Path) -> str:
    """The address of a stream with a hundred records on three shards."""
    with streamstore.open(tmp_path / "origin", durability="process") as store:
        store.create_stream("s", shard_count=3).put_records([(b"%d" % n, f"k{n % 7}") for n in range(100)])
    return f"store:{tmp_path / 'origin'}#s"


def test_it_makes_the_stream_like_the_source_and_takes_all(origin, tmp_path):
    """As many shards, a year of retention; once more takes nothing."""
    place = tmp_path / "copy"
    done = succeed("capture", place, "c", origin, "--create", "--once", "--json").json
    assert (done["records"], done["bytes"], done["notes"]) == (100, 190, {})
    assert "0 records" in succeed("capture", place, "c", origin, "--once", "--progress").err
    with streamstore.open(place, create=False) as store:
        stream = store.stream("c")
        assert (len(stream.shards()), stream.info.retention_hours) == (3, 8760)
        assert sum(1 for _ in stream.read()) == 100


def test_what_is_not_there_is_said(origin, tmp_path):
    """No stream without --create, no source, no address."""
    streamstore.open(tmp_path / "copy").close()
    assert run("capture", tmp_path / "copy", "c", origin, "--once").code == 3
    assert run("capture", tmp_path / "copy", "c", f"store:{tmp_path / 'none'}#s", "--create").code != 0
    assert run("capture", tmp_path / "copy", "c", "nonsense:x", "--create").code == 2
    assert run("capture", tmp_path / "copy", "c", origin, "--create", "--start", "never").code == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_what_it_has(origin, tmp_path, number):
    """It follows until then; the next run goes on."""
    place = tmp_path / "copy"
    with start("capture", place, "c", origin, "--create") as process:
        limit = time.monotonic() + 60
        while time.monotonic() < limit:
            if run("read", place, "c", "--raw").out.count(b"\n") == 100:
                break
            time.sleep(0.05)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGINT else 0)
    assert b"100 records" in err
    assert "0 records" in succeed("capture", place, "c", origin, "--once").err


def test_the_status_is_one_line_of_a_narrow_terminal(origin, tmp_path):
    """Records, bytes, rate, how far behind, how many shards."""
    with streamstore.open(tmp_path / "copy", durability="process") as store:
        with Capture(store.create_stream("c"), origin) as capture:
            capture.run(follow=False)
            line = status_text(capture, 2.0)
    assert line.startswith("100 records  190 B  50/s  ")
    assert line.endswith("behind  1 open")


def test_files_are_captured_with_keys_and_times(tmp_path):
    """As `ingest` has them, of all files of a pattern, also a second time; wrong options are refused."""
    (tmp_path / "logs").mkdir()
    for name in ("a", "b"):
        (tmp_path / "logs" / f"{name}.log").write_text(f"{name}1 2024-05-17T10:05:03Z x\n  more\n{name}2 never y\n")
    source = f"{tmp_path / 'logs'}/*.log"
    fields = ("--key-regex", r"^(\w+)", "--time-regex", r"^\S+ (\S+)", "--multi-line", r"^\w")
    done = succeed("capture", tmp_path / "copy", "c", source, "--create", "--shards", "2", "--once", "--json", *fields)
    assert done.json["records"] == 4
    assert succeed("capture", tmp_path / "copy", "c", source, "--once", "--json", *fields).json["records"] == 0
    with streamstore.open(tmp_path / "copy", create=False) as store:
        found = {record.partition_key: (record.data, record.event_time) for record in store.stream("c").read()}
    assert found.keys() == {"a1", "a2", "b1", "b2"}
    assert found["a1"][0] == b"a1 2024-05-17T10:05:03Z x\n  more"
    assert found["a1"][1].year == 2024
    assert found["a2"][1] is None
    for wrong in (["--key-regex", "("], ["--key-regex", "a", "--key-field", "b"], ["--region", "x"], ["--start", "5"]):
        assert run("capture", tmp_path / "copy", "c", source, *wrong).code == 2
    assert run("capture", tmp_path / "copy", "c", "kinesis:x", "--key-field", "a").code == 2


def test_stdin_is_captured_and_gone_on_with_by_its_name(tmp_path):
    """A line each; the same bytes again, with more behind them, give only what is new where the pipe has a name."""
    place = tmp_path / "copy"

    def capture(lines: int, *options: object, end: bytes = b"") -> int:
        with start("capture", place, "c", "-", "--create", "--json", *options, stdin=subprocess.PIPE) as process:
            out, err = process.communicate(b"".join(b"line %d\n" % n for n in range(lines)) + end, timeout=60)
        assert process.returncode == 0, err
        return int(json.loads(out)["records"])

    assert capture(50, "--source-id", "mine") == 50
    assert capture(70, "--source-id", "mine", "--key-regex", r"(\d+)", end=b"end") == 21
    assert capture(3) == 3
    assert capture(3) == 3
    with streamstore.open(place, create=False) as store:
        found = [record for record in store.stream("c").read() if record.source["from"] == "mine"]
    assert sorted(record.data for record in found) == sorted([b"line %d" % n for n in range(70)] + [b"end"])
    assert [record.data for record in found if record.source.get("newline") is False] == [b"end"]
