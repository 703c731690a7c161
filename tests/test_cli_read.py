"""streamstore.cli.put, read, tail and records: one record in, records out."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
from command_line import run, start, succeed

import streamstore


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A store with the stream `s` of two shards and nothing in it."""
    directory = tmp_path / "store"
    succeed("create", directory, "s", "--shards", 2)
    return directory


def fill(place: Path, count: int) -> list[str]:
    """Put records r0, r1, ... with the keys k0 to k9; returns the sequence numbers."""
    with streamstore.open(place) as store:
        stream = store.stream("s")
        entries = [(b"r%d" % number, f"k{number % 10}") for number in range(count)]
        # One by one, so that each arrives at a time of its own; many at once, where only their number matters.
        results = stream.put_records(entries) if count > 1000 else [stream.put_record(*entry) for entry in entries]
    return [result.sequence_number for result in results]


# --- put ---------------------------------------------------------------------------------------------------------


def test_put_prints_the_sequence_number(place: Path) -> None:
    """The number that put prints is the one that read shows; --json adds the shard."""
    number = succeed("put", place, "s", "hello", "--key", "k").text.strip()
    (row,) = succeed("read", place, "s", "--json").json_lines
    assert (row["sequence_number"], row["data"], row["partition_key"]) == (number, "hello", "k")
    result = succeed("put", place, "s", "hello", "--key", "k", "--json").json
    assert result["shard_id"] == row["shard_id"]


@pytest.mark.parametrize("arguments", [["-"], []], ids=["dash", "nothing"])
def test_put_takes_stdin_byte_for_byte(place: Path, arguments: list[str]) -> None:
    """stdin goes in as one record, newlines, zeros and all."""
    data = b"a\nb\0\xff\n"
    succeed("put", place, "s", *arguments, "--sync", stdin=data)
    assert succeed("read", place, "s", "--raw").out == data + b"\n"


def test_put_takes_attributes_time_and_hash_key(place: Path) -> None:
    """Attributes and event time come back; an explicit hash key chooses the shard."""
    options = ["-a", "color=red", "-a", "empty=", "--event-time", "2015-05-17T12:00:00Z"]
    for hash_key in (0, 2**128 - 1):
        succeed("put", place, "s", "x", "--hash-key", hash_key, *options)
    rows = succeed("read", place, "s", "--json", "--attributes").json_lines
    assert sorted(row["shard_id"][-1] for row in rows) == ["0", "1"]
    assert rows[0]["attributes"] == {"color": "red", "empty": ""}
    assert rows[0]["event_time"] == "2015-05-17T12:00:00.000000Z"


@pytest.mark.parametrize(
    "options",
    [["-a", "novalue"], ["--event-time", "soon"], ["--hash-key", str(2**128)], ["--key", ""], ["--key", "x" * 257]],
    ids=["attribute", "time", "hash key", "empty key", "long key"],
)
def test_put_refuses_what_is_out_of_range(place: Path, options: list[str]) -> None:
    """Exit code 2 and no record."""
    assert run("put", place, "s", "x", *options).code == 2
    assert succeed("read", place, "s", "--raw").out == b""


# --- read --------------------------------------------------------------------------------------------------------


def test_read_raw_is_the_data_and_newlines(place: Path) -> None:
    """Every record's bytes and a newline; each key's in order."""
    fill(place, 25_000)
    lines = succeed("read", place, "s", "--raw").out.split(b"\n")
    assert lines.pop() == b""
    assert len(lines) == 25_000
    for key in range(10):
        mine = [int(line[1:]) for line in lines if int(line[1:]) % 10 == key]
        assert mine == list(range(key, 25_000, 10))


def test_read_merge_is_in_order_of_arrival(place: Path) -> None:
    """With --merge the shards are interleaved as the records came."""
    fill(place, 100)
    assert succeed("read", place, "s", "--raw", "--merge").out.split() == [b"r%d" % number for number in range(100)]


def test_read_limit(place: Path) -> None:
    """At most so many records, none for 0."""
    fill(place, 100)
    assert succeed("read", place, "s", "--raw", "--merge", "--limit", 3).out == b"r0\nr1\nr2\n"
    assert succeed("read", place, "s", "--raw", "--limit", 0).out == b""
    assert len(succeed("read", place, "s", "--json", "--limit", 1000).json_lines) == 100


def test_read_one_shard_by_id_number_or_sequence_number(place: Path) -> None:
    """A shard's records alone; a sequence number as start or end is read itself, and names the shard."""
    fill(place, 40)
    rows = succeed("read", place, "s", "--json").json_lines
    mine = [row for row in rows if row["shard_id"].endswith("1")]
    assert 2 < len(mine) < 40
    for shard in ("1", "shardId-000000000001"):
        assert succeed("read", place, "s", "--json", "--shard", shard).json_lines == mine
    numbers = [row["sequence_number"] for row in mine]
    assert succeed("read", place, "s", "--json", "--start", numbers[1]).json_lines == mine[1:]
    part = succeed("read", place, "s", "--json", "--start", numbers[1], "--end", numbers[-2]).json_lines
    assert part == mine[1:-1]
    assert succeed("read", place, "s", "--json", "--shard", 1, "--end", "TRIM_HORIZON").json_lines == []
    assert succeed("read", place, "s", "--json", "--shard", 1, "--start", "LATEST").json_lines == []
    assert run("read", place, "s", "--shard", 0, "--start", numbers[1]).code == 2
    assert run("read", place, "s", "--shard", 7).code == 2


def test_read_from_and_to_a_time(place: Path) -> None:
    """Times bound what is read: as ISO 8601, epoch seconds or an age."""
    fill(place, 5)
    time.sleep(0.01)
    middle = time.time()
    fill(place, 3)
    assert len(succeed("read", place, "s", "--json", "--start", f"{middle:.6f}").json_lines) == 3
    assert len(succeed("read", place, "s", "--json", "--end", f"{middle:.6f}").json_lines) == 5
    assert len(succeed("read", place, "s", "--json", "--start", "1h").json_lines) == 8
    assert len(succeed("read", place, "s", "--json", "--start", "2000-01-01T00:00:00Z").json_lines) == 8
    assert succeed("read", place, "s", "--json", "--end", "2000-01-01").json_lines == []
    for shard in (0, 1):
        both = [
            succeed("read", place, "s", "--json", "--shard", shard, *way).json_lines
            for way in (["--start", f"{middle:.6f}"], ["--end", f"{middle:.6f}"])
        ]
        assert len(both[0]) + len(both[1]) == len(succeed("read", place, "s", "--json", "--shard", shard).json_lines)


def test_read_from_a_saved_position(place: Path, tmp_path: Path) -> None:
    """A position that the library saved as JSON is a start here, as text or in a file."""
    fill(place, 10)
    with streamstore.open(place) as store, store.stream("s").read("LATEST") as reader:
        position = json.dumps(reader.position)
    fill(place, 4)
    saved = tmp_path / "position.json"
    saved.write_text(position)
    for start_text in (position, f"@{saved}"):
        assert len(succeed("read", place, "s", "--json", "--start", start_text).json_lines) == 4
    assert run("read", place, "s", "--start", "{}").code == 2
    assert run("read", place, "s", "--start", "@/nonexistent").code == 2


def test_json_carries_bytes_that_are_no_text(place: Path) -> None:
    """Data that is not UTF-8 stands as base64, and the rest as text."""
    succeed("put", place, "s", "Zoë")
    succeed("put", place, "s", stdin=b"\xff\0")
    rows = succeed("read", place, "s", "--json", "--merge").json_lines
    assert rows[0]["data"] == "Zoë"
    assert base64.b64decode(rows[1]["data_base64"]) == b"\xff\0"
    assert "data" not in rows[1]


def test_a_table_never_drives_the_terminal(place: Path) -> None:
    """Control characters in data and keys are escaped in tables."""
    succeed("put", place, "s", "\x1b[31mred\nline", "--key", "a\tb")
    header, row = succeed("read", place, "s").text.splitlines()
    assert header.startswith("ARRIVAL")
    assert "\\x1b[31mred\\nline" in row
    assert "a\\tb" in row


def test_readers_never_create(tmp_path: Path) -> None:
    """No reading verb makes a directory or a stream where there is none."""
    missing = tmp_path / "missing"
    for verb in (
        ["read", missing, "s"],
        ["tail", missing, "s"],
        ["list", missing],
        ["describe", missing, "s"],
        ["stat", missing],
        ["verify", missing],
        ["inspect", missing, "s", "0"],
        ["put", missing, "s", "x"],
    ):
        result = run(*verb)
        assert result.code == 3, verb
        assert result.err.count("\n") == 1, verb
        assert not missing.exists(), verb
    empty = tmp_path / "empty"
    empty.mkdir()
    assert run("read", empty, "s").code == 3
    assert list(empty.iterdir()) == []


def test_a_closed_pipe_ends_quietly(place: Path) -> None:
    """When the reader of the output goes away, read ends with 141 and says nothing."""
    fill(place, 50_000)
    process = start("read", place, "s", "--raw")
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline().startswith(b"r")
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 141
    process.stderr.close()


# --- tail --------------------------------------------------------------------------------------------------------


def test_tail_shows_the_newest(place: Path) -> None:
    """The newest records of all shards in order of arrival."""
    fill(place, 50)
    assert succeed("tail", place, "s", "-n", 3, "--raw").out == b"r47\nr48\nr49\n"
    assert succeed("tail", place, "s", "-n", 0, "--raw").out == b""
    assert len(succeed("tail", place, "s", "--json").json_lines) == 10


def test_tail_follows_until_ctrl_c(place: Path) -> None:
    """What another process puts comes at once, each record once; Ctrl-C ends it with 130 and one line."""
    fill(place, 3)
    process = start("tail", place, "s", "-n", 1, "--follow", "--raw")
    assert process.stdout is not None
    assert process.stdout.readline() == b"r2\n"
    fill(place, 5)
    assert [process.stdout.readline() for _ in range(5)] == [b"r%d\n" % number for number in range(5)]
    process.send_signal(signal.SIGINT)
    rest, error = process.communicate(timeout=20)
    assert (rest, process.returncode) == (b"", 130)
    assert error.decode().strip() == "streamstore: interrupted"


def test_what_comes_while_tail_begins_is_shown_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that arrives between the binding of the reader and the look at the newest shows once."""
    fill(place, 2)
    look = streamstore.Stream.last

    def late_look(stream: streamstore.Stream, count: int, **options: object) -> list[streamstore.Record]:
        fill(place, 1)
        return look(stream, count, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(streamstore.Stream, "last", late_look)
    assert succeed("tail", place, "s", "--follow", "--timeout", 0.2, "--raw").out == b"r0\nr1\nr0\n"


def test_tail_ends_after_a_silence(place: Path) -> None:
    """With --timeout a silent stream ends the following, with success."""
    fill(place, 1)
    assert succeed("tail", place, "s", "--follow", "--timeout", 0.05, "--raw").out == b"r0\n"


def test_tail_on_a_closed_pipe_ends(place: Path) -> None:
    """`tail --follow | head -1` ends once something more comes."""
    fill(place, 1)
    process = start("tail", place, "s", "--follow", "--raw")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    fill(place, 1)
    assert process.wait(timeout=20) == 141
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()


def test_help_of_every_verb_has_an_example() -> None:
    """Every verb explains itself with an example of its own."""
    from streamstore.cli.app import VERBS

    for verb in VERBS:
        text = succeed(verb, "--help").text
        assert f"  streamstore {verb}" in text, verb
        assert "Example" in text, verb


def test_subprocess_is_what_make_installs(place: Path) -> None:
    """`python -m streamstore` is the same command line."""
    process = start("list", place, stdin=subprocess.DEVNULL)
    out, error = process.communicate(timeout=20)
    assert (out, error, process.returncode) == (b"s\n", b"", 0)
