"""streamstore.cli.ingest: what goes in, once each, and what is refused."""

from __future__ import annotations

import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from command_line import run, start, succeed

import streamstore
from streamstore.cli.ingest.source import file_source, position_hash
from streamstore.routing import hash_key
from streamstore.values import PutEntry

LINES = [f"user-{number % 17} line {number}".encode() for number in range(1000)]
CONTENT = b"\n".join(LINES) + b"\n"
KEYS = ["--key-regex", r"^(\S+)"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of a thousand lines."""
    path = tmp_path / "input.log"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where a store can be made."""
    return tmp_path / "store"


def ingest(place: Path, file: object, *options: object, stdin: bytes = b"") -> Any:
    """Run `ingest` into the stream `s`, which must succeed; returns its summary."""
    return succeed("ingest", place, "s", file, "--create", "--json", *options, stdin=stdin).json


def stored(place: Path) -> list[bytes]:
    """All lines in the stream."""
    return succeed("read", place, "s", "--raw").out.split(b"\n")[:-1]


def once_each(place: Path, lines: list[bytes]) -> bool:
    """Whether the stream holds just these lines."""
    return Counter(stored(place)) == Counter(lines)


def put_lines(place: Path, file: Path, numbers: list[int], *, keyed: bool = True) -> None:
    """Put some lines of `file` as a run would have that was killed after them."""
    source = file_source(file)
    positions = [0]
    for line in LINES:
        positions.append(positions[-1] + len(line) + 1)
    entries = [
        PutEntry(
            LINES[number],
            LINES[number].split()[0].decode() if keyed else None,
            None if keyed else position_hash(positions[number]),
            source={"id": source.id, "position": positions[number], "line": number + 1},
        )
        for number in numbers
    ]
    with streamstore.open(place, create=False) as store:
        store.stream("s").put_records(entries)


EDGES = {
    "no newline at the end": b"a\nb",
    "only empty lines": b"\n\n\n",
    "carriage returns": b"a\r\n\r\nb\r\n",
    "not UTF-8": b"\xff\xfe\n\x00\n",
    "nothing": b"",
    "one byte": b"x",
}


@pytest.mark.parametrize("content", EDGES.values(), ids=EDGES.keys())
def test_one_shard_gives_the_file_back(content: bytes, tmp_path: Path, place: Path) -> None:
    """`read --raw` of one shard is the file, byte for byte."""
    path = tmp_path / "f"
    path.write_bytes(content)
    ingest(place, path)
    assert succeed("read", place, "s", "--raw").out == content


def test_several_shards_keep_each_keys_order(file: Path, place: Path) -> None:
    """Every line is there once, each key's in the order of the file, in the shard of its key."""
    summary = ingest(place, file, "--shards", 4, *KEYS)
    assert summary["records"] == 1000
    assert summary["bytes"] == len(CONTENT) - 1000
    lines = stored(place)
    for user in range(17):
        mine = [line for line in lines if line.startswith(b"user-%d " % user)]
        assert mine == [line for line in LINES if line.startswith(b"user-%d " % user)]
    shards = {row["partition_key"]: set() for row in succeed("read", place, "s", "--json").json_lines}
    for row in succeed("read", place, "s", "--json").json_lines:
        shards[row["partition_key"]].add(row["shard_id"])
    assert all(len(each) == 1 for each in shards.values())


def test_a_second_run_takes_nothing(file: Path, place: Path) -> None:
    """What is there stays there once."""
    ingest(place, file, "--shards", 4)
    assert ingest(place, file)["records"] == 0
    assert once_each(place, LINES)


@pytest.mark.parametrize("keyed", [True, False], ids=["keyed", "keyless"])
def test_a_batch_that_reached_only_some_shards_is_completed(file: Path, place: Path, keyed: bool) -> None:
    """After a kill between two shards of a batch, each shard takes just what it lacks."""
    succeed("create", place, "s", "--shards", 4)
    with streamstore.open(place, create=False) as store:
        ranges = [shard.hash_range for shard in store.stream("s").shards()]
    position, in_shard = 0, {}
    for number, line in enumerate(LINES):
        key = hash_key(line.split()[0].decode()) if keyed else position_hash(position)
        in_shard[number] = next(index for index, each in enumerate(ranges) if each.start <= key <= each.end)
        position += len(line) + 1
    # Shard 0 has nothing of the source, 1 its part of 300 lines, 2 and 3 theirs of 600.
    ends = [0, 300, 600, 600]
    there = [number for number, shard in in_shard.items() if number < ends[shard]]
    put_lines(place, file, there, keyed=keyed)
    summary = ingest(place, file, *(KEYS if keyed else []))
    assert summary["records"] == 1000 - len(there)
    assert summary["there_already"] == len(there)
    assert once_each(place, LINES)


def test_the_last_record_is_found_behind_those_of_other_sources(file: Path, place: Path, tmp_path: Path) -> None:
    """Many records of another source in between do not hide where the source stands."""
    succeed("create", place, "s", "--shards", 2)
    put_lines(place, file, list(range(400)))
    other = tmp_path / "other.log"
    other.write_bytes(b"".join(b"other %d\n" % number for number in range(30_000)))
    ingest(place, other)
    assert ingest(place, file, *KEYS)["records"] == 600
    assert once_each(place, LINES + [b"other %d" % number for number in range(30_000)])


def test_a_file_that_grew_or_was_renamed_goes_on(file: Path, place: Path, tmp_path: Path) -> None:
    """The same first bytes are the same source: only what was added goes in, also where they were few at first."""
    file.write_bytes(b"one\n")
    ingest(place, file)
    file.write_bytes(b"one\ntwo\n" + CONTENT)
    assert ingest(place, file)["records"] == 1001
    moved = file.rename(tmp_path / "input.log.1")
    assert ingest(place, moved)["records"] == 0
    assert stored(place) == [b"one", b"two", *LINES]


def test_a_new_file_under_an_old_name_is_a_new_source(file: Path, place: Path) -> None:
    """After rotation the same path holds other bytes, and all of them go in."""
    ingest(place, file)
    file.write_bytes(b"x" + CONTENT)
    assert ingest(place, file)["records"] == 1000


def test_the_same_file_goes_into_two_streams_and_under_two_names(file: Path, place: Path) -> None:
    """A source is what --source-id says, in each stream for itself."""
    ingest(place, file)
    assert ingest(place, file, "--source-id", "again")["records"] == 1000
    assert succeed("ingest", place, "other", file, "--create", "--json").json["records"] == 1000


def test_a_changed_file_is_refused(file: Path, place: Path) -> None:
    """Where the last line that went in is another one now, nothing goes in and the line is named."""
    ingest(place, file, "--source-id", "x")
    file.write_bytes(CONTENT.replace(b"line 999", b"LINE 999") + b"more\n")
    result = run("ingest", place, "s", file, "--source-id", "x")
    assert result.code == 1
    assert "line 1000" in result.err
    assert "--source-id" in result.err
    assert once_each(place, LINES)


def test_other_key_options_are_refused(file: Path, place: Path) -> None:
    """Another way to take keys would put lines into other shards, and is refused."""
    put_first = ingest(place, file, "--shards", 2, *KEYS)
    assert put_first["records"] == 1000
    result = run("ingest", place, "s", file)
    assert result.code == 1
    assert "key" in result.err


def test_a_last_line_that_was_not_complete_is_noticed(file: Path, place: Path) -> None:
    """A line that grew after it went in is an error that names it, not lost bytes."""
    file.write_bytes(b"one\ntw")
    ingest(place, file)
    file.write_bytes(b"one\ntwo\nthree\n")
    result = run("ingest", place, "s", file)
    assert result.code == 1
    assert "line 2" in result.err
    assert "--complete-lines" in result.err


def test_complete_lines_waits_for_the_newline(file: Path, place: Path) -> None:
    """With --complete-lines the last line goes in once it has its newline."""
    file.write_bytes(b"one\ntw")
    assert ingest(place, file, "--complete-lines")["records"] == 1
    file.write_bytes(b"one\ntwo\nthree\n")
    assert ingest(place, file, "--complete-lines")["records"] == 2
    assert stored(place) == [b"one", b"two", b"three"]


def test_stdin_goes_on_under_its_name(place: Path) -> None:
    """From stdin a run with the same --source-id takes what is new, and one without takes all."""
    ingest(place, "-", "--source-id", "feed", "--shards", 3, stdin=b"a\nb\n")
    assert ingest(place, "-", "--source-id", "feed", stdin=b"a\nb\nc\n")["records"] == 1
    assert ingest(place, "-", stdin=b"a\n")["records"] == 1
    assert ingest(place, "-", stdin=b"a\n")["records"] == 1
    assert once_each(place, [b"a", b"b", b"c", b"a", b"a"])


def test_json_keys_and_times(tmp_path: Path, place: Path) -> None:
    """Key and event time come out of JSON lines; lines without are counted and go in all the same."""
    path = tmp_path / "f.jsonl"
    path.write_bytes(b'{"u":{"id":7},"ts":1431864000000}\nnot json\n')
    summary = ingest(place, path, "--key-field", "u.id", "--time-field", "ts", "--time-format", "ms", "--shards", 2)
    assert (summary["without_key"], summary["without_time"]) == (1, 1)
    rows = {row["data"]: row for row in succeed("read", place, "s", "--json", "--attributes").json_lines}
    first, second = rows['{"u":{"id":7},"ts":1431864000000}'], rows["not json"]
    assert (first["partition_key"], first["event_time"]) == ("7", "2015-05-17T12:00:00.000000Z")
    assert (second["partition_key"], second.get("event_time")) == (None, None)
    assert (second["source"]["position"], second["source"]["line"]) == (34, 2)


def test_strict_stops_at_a_line_without_a_key(tmp_path: Path, place: Path) -> None:
    """With --strict the line is named, what stood before it is in, and nothing after."""
    path = tmp_path / "f"
    path.write_bytes(b"k1 a\n\nk2 b\n")
    result = run("ingest", place, "s", path, "--create", "--strict", *KEYS)
    assert result.code == 1
    assert "line 2" in result.err
    assert stored(place) == [b"k1 a"]


def test_a_line_over_the_limit_is_named(tmp_path: Path, place: Path) -> None:
    """A line that is longer than a record may be ends the run with its number; what stood before it is in."""
    succeed("create", place, "s", "--max-record-size", 10)
    path = tmp_path / "f"
    path.write_bytes(b"short\n" + b"x" * 11 + b"\n")
    result = run("ingest", place, "s", path)
    assert result.code == 1
    assert "line 2 (at byte 6)" in result.err


def test_two_runs_of_one_source_at_once_are_refused(place: Path) -> None:
    """While a run takes a source in, a second one is told so, and one of another source is not."""
    process = start("ingest", place, "s", "-", "--create", "--source-id", "x", stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(b"one\n")
    process.stdin.flush()
    _wait_until(lambda: run("tail", place, "s", "--raw").out == b"one\n")
    refused = run("ingest", place, "s", "-", "--source-id", "x", stdin=b"one\n")
    assert refused.code == 1
    assert "another ingest" in refused.err
    assert ingest(place, "-", "--source-id", "y", stdin=b"two\n")["records"] == 1
    process.communicate()
    assert ingest(place, "-", "--source-id", "x", stdin=b"one\nthree\n")["records"] == 1
    assert once_each(place, [b"one", b"two", b"three"])


def test_a_slow_pipe_is_not_held_back(place: Path) -> None:
    """Lines of a pipe go in when it falls silent, however large the batch."""
    process = start("ingest", place, "s", "-", "--create", "--batch", 100_000, stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(b"now\nlater")
    process.stdin.flush()
    _wait_until(lambda: run("tail", place, "s", "--raw").out == b"now\n")
    process.communicate()
    assert succeed("read", place, "s", "--raw").out == b"now\nlater"


def test_ctrl_c_ends_with_130_and_says_how_to_go_on(place: Path) -> None:
    """SIGINT ends a run at once with one line, exit code 130, and what was read from the pipe so far is in."""
    process = start("ingest", place, "s", "-", "--create", "--source-id", "x", stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(b"one\n")
    process.stdin.flush()
    _wait_until(lambda: run("tail", place, "s", "--raw").out == b"one\n")
    process.send_signal(signal.SIGINT)
    error = process.stderr.read().decode() if process.stderr else ""
    process.communicate()
    assert process.returncode == 130
    assert "1 records are in; run the same command again to go on" in error
    assert "Traceback" not in error
    assert ingest(place, "-", "--source-id", "x", stdin=b"one\ntwo\n")["records"] == 1


def test_a_run_can_strengthen_durability_only(file: Path, place: Path) -> None:
    """A new stream gets the durability asked for; an existing one is synced more, never less."""
    ingest(place, file, "--durability", "process")
    assert succeed("describe", place, "s", "--json").json["durability"] == "process"
    ingest(place, file, "--durability", "sync", "--source-id", "2")
    refused = run("ingest", place, "s", file, "--durability", "interval", "--source-id", "3")
    assert refused.code == 1
    assert "strengthen" in refused.err


def test_what_is_missing_is_said(file: Path, place: Path, tmp_path: Path) -> None:
    """No store, no stream, no file: exit code 3 and what to do; two ways to take a key: 2."""
    assert run("ingest", place, "s", file).code == 3
    succeed("create", place, "other")
    missing = run("ingest", place, "s", file)
    assert missing.code == 3
    assert "--create" in missing.err
    assert run("ingest", place, "other", tmp_path / "nothing").code == 3
    assert run("ingest", place, "other", file, "--key-field", "a", "--key-regex", "b").code == 2
    assert run("ingest", place, "other", file, "--key-regex", "(").code == 2


def test_progress_in_lines_where_there_is_no_terminal(file: Path, place: Path) -> None:
    """The summary comes on stderr, and stdout stays empty for a run without --json."""
    result = succeed("ingest", place, "s", file, "--create", "--progress")
    assert result.out == b""
    assert "1,000 records" in result.err


def _wait_until(condition: Any) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)
