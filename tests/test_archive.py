"""Export and import: every form brings every record back as it was, each exactly once."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest
from command_line import run, succeed

import streamstore
from streamstore import errors

FORMS = ["archive", "jsonl", "parquet"]


def filled(store: streamstore.Store, count: int = 3000) -> streamstore.Stream:
    stream = store.create_stream("clicks", 3)
    stream.put_records([(b"record %d" % number, f"key-{number % 50}") for number in range(count)])
    stream.put_record(bytes(range(256)), "schlüssel", attributes={"raw": b"\xff\x00", "n": 1, "s": "text"})
    stream.put_record(b"", "k", event_time=datetime(2020, 1, 2, 3, 4, 5, 678901, tzinfo=timezone.utc))
    stream.put_record(b"x" * 300_000, explicit_hash_key=2**128 - 1)
    stream.put_record('ünïcode\n"quoted"'.encode(), "k", attributes={"nested": {"list": [1, None, True]}})
    return stream


def content(stream: streamstore.Stream) -> list[tuple[object, ...]]:
    """All that must survive, in an order that does not depend on the shards."""
    return sorted(
        (
            (
                record.data,
                record.partition_key or "",
                record.explicit_hash_key or 0,
                str(record.attributes),
                record.event_us or 0,
            )
            for record in stream.read()
        ),
    )


@pytest.fixture
def other(tmp_path):
    """A second store."""
    with streamstore.open(tmp_path / "other", durability="process") as opened:
        yield opened


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shards", [1, 5])
def test_what_goes_out_comes_back(store, other, tmp_path, form, shards):
    """Into any number of shards: data, keys, attributes and times, and where each record was before."""
    if form == "parquet":
        pytest.importorskip("pyarrow")
    stream = filled(store)
    made = streamstore.export_stream(stream, tmp_path / "file", form=form)
    assert made.records == 3004
    back = other.create_stream("back", shards)
    assert streamstore.import_stream(back, tmp_path / "file").records == 3004
    assert content(back) == content(stream)
    before = {record.sequence_number: record for record in stream.read()}
    for record in back.read():
        origin = before.pop(record.source["sequence_number"])
        assert (record.data, record.source["arrival_us"]) == (origin.data, origin.arrival_us)
        assert (record.source["shard_id"], record.source["stream"]) == (origin.shard_id, "clicks")
    assert not before


def test_order_within_a_key_stays(store, other, tmp_path):
    """Whatever the shards are on both sides."""
    streamstore.export_stream(filled(store), tmp_path / "file")
    back = other.create_stream("back", 4)
    streamstore.import_stream(back, tmp_path / "file")
    seen: dict[str, int] = {}
    for record in back.read():
        if record.data.startswith(b"record "):
            number = int(record.data[7:])
            assert seen.get(record.partition_key, -1) < number
            seen[record.partition_key] = number


@pytest.mark.parametrize("form", FORMS)
def test_an_import_run_again_puts_nothing_twice(store, other, tmp_path, form):
    """Also after more was exported."""
    if form == "parquet":
        pytest.importorskip("pyarrow")
    stream = filled(store)
    streamstore.export_stream(stream, tmp_path / "file", form=form)
    back = other.create_stream("back", 2)
    streamstore.import_stream(back, tmp_path / "file")
    again = streamstore.import_stream(back, tmp_path / "file")
    assert (again.records, again.present) == (0, 3004)
    stream.put_record(b"more", "k")
    streamstore.export_stream(stream, tmp_path / "file2", form=form)
    assert streamstore.import_stream(back, tmp_path / "file2").records == 1
    assert content(back) == content(stream)


KILLED = """
import os, sys
import streamstore
from streamstore.stream import Stream

put, calls = Stream.put_records, 0
def dying(self, entries, **options):
    global calls
    calls += 1
    if calls == int(sys.argv[3]):
        put(self, [entry for number, entry in enumerate(entries) if number % 3 == int(sys.argv[3]) % 3], **options)
        os.kill(os.getpid(), 9)
    return put(self, entries, **options)

Stream.put_records = dying
with streamstore.open(sys.argv[1], durability="process") as store:
    streamstore.import_stream(store.create_stream("back", 3, exist_ok=True), sys.argv[2])
"""


def test_a_killed_import_goes_on_exactly_once(store, tmp_path):
    """However often it dies, with any part of a chunk put: each record is there once."""
    stream = filled(store, 6000)
    streamstore.export_stream(stream, tmp_path / "file")
    for step in (1, 2, 3, 2, 1, 1000):
        child = subprocess.run(
            [sys.executable, "-c", KILLED, str(tmp_path / "killed"), str(tmp_path / "file"), str(step)],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert child.returncode in (0, -9), child.stderr
    assert child.returncode == 0
    with streamstore.open(tmp_path / "killed") as killed:
        assert content(killed.stream("back")) == content(stream)


def test_a_range_is_exported(store, tmp_path):
    """By position and by time, as for read."""
    stream = filled(store, 100)
    position = stream.read("LATEST").position
    stream.put_record(b"new", "k")
    assert streamstore.export_stream(stream, tmp_path / "a", start=position).records == 1
    assert streamstore.export_stream(stream, tmp_path / "b", end=position).records == 104
    assert streamstore.export_stream(stream, tmp_path / "c", end=datetime(2020, 1, 1, tzinfo=timezone.utc)).records == 0


def test_an_empty_stream_makes_a_file_that_imports(store, other, tmp_path):
    """Nothing goes out, nothing comes back, and nothing fails."""
    empty = store.create_stream("empty")
    for form in ("archive", "jsonl"):
        streamstore.export_stream(empty, tmp_path / form, form=form)
        assert streamstore.import_stream(other.create_stream(form), tmp_path / form).records == 0


def test_a_target_that_exists_is_not_written_over(store, tmp_path):
    """Nor is half a file left where something fails."""
    stream = filled(store, 10)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(errors.InvalidArgumentError):
        streamstore.export_stream(stream, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"

    def fail(*figures: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        streamstore.export_stream(stream, tmp_path / "new", progress=fail)
    assert sorted(os.listdir(tmp_path)) == ["file", "store"]


def test_a_damaged_archive_is_refused_where_it_is_damaged(store, other, tmp_path):
    """Every byte is under a check; what stands before the damage was put, and a whole file goes on."""
    stream = filled(store, 20_000)
    file = io.BytesIO()
    streamstore.export_stream(stream, file)
    raw = file.getvalue()
    back = other.create_stream("back")
    for offset in (0, 9, 13, 40, 200, 300, len(raw) // 2, len(raw) - 10):
        hurt = bytearray(raw)
        hurt[offset] ^= 0x20
        with pytest.raises(errors.StreamStoreError):
            streamstore.import_stream(back, io.BytesIO(hurt), form="archive")
    with pytest.raises(errors.StorageError, match="cut off"):
        streamstore.import_stream(back, io.BytesIO(raw[: len(raw) // 2]))
    assert 0 < sum(1 for _ in back.read()) < 20_004
    streamstore.import_stream(back, io.BytesIO(raw))
    assert content(back) == content(stream)


@pytest.mark.parametrize("line", [b"no json\n", b"[]\n", b"{}\n", b'{"from": "a/1", "data": "x"}\n'])
def test_other_peoples_json_is_refused(other, line):
    """The error names the line."""
    with pytest.raises(errors.InvalidArgumentError, match="line 1"):
        streamstore.import_stream(other.create_stream("s"), io.BytesIO(line))


def test_damage_is_passed_over_when_told(store, tmp_path):
    """The rest goes out, and the result says what did not."""
    stream = filled(store, 1000)
    store.close()
    path = next((Path(store.path) / "streams" / "1" / "0").glob("*.seg"))
    with open(path, "r+b") as file:
        file.seek(4096 + 5000)
        file.write(b"DAMAGE")
    with streamstore.open(store.path) as opened:
        stream = opened.stream("clicks")
        with pytest.raises(errors.CorruptRangeError):
            streamstore.export_stream(stream, tmp_path / "a")
        made = streamstore.export_stream(stream, tmp_path / "b", skip_damaged=True)
    assert made.records == 1003
    assert made.skipped[0]["shard_id"] == "shardId-000000000000"


def test_two_imports_of_one_stream_do_not_meet(store, other, tmp_path):
    """The second is refused while the first is under way."""
    streamstore.export_stream(filled(store, 10), tmp_path / "file")
    back = other.create_stream("back")

    def second(*figures: int) -> None:
        with pytest.raises(errors.InvalidArgumentError, match="under way"):
            streamstore.import_stream(back, tmp_path / "file")

    streamstore.import_stream(back, tmp_path / "file", progress=second)


def test_what_was_imported_keeps_its_first_origin(store, other, tmp_path):
    """A second journey adds a source, and loses none."""
    first = store.create_stream("first")
    number = first.put_record(b"x", "k").sequence_number
    streamstore.export_stream(first, tmp_path / "a")
    second = other.create_stream("second")
    streamstore.import_stream(second, tmp_path / "a")
    streamstore.export_stream(second, tmp_path / "b")
    third = store.create_stream("third")
    streamstore.import_stream(third, tmp_path / "b")
    (record,) = third.read()
    assert record.source["stream"] == "second"
    assert record.source["source"]["sequence_number"] == number


def test_the_verbs(tmp_path):
    """Through a file and through a pipe, with figures for programs."""
    for number in range(3):
        succeed("create", tmp_path / "data", "s", "--exist-ok")
        succeed("put", tmp_path / "data", "s", f"data {number}", "--key", "k")
    assert succeed("export", tmp_path / "data", "s", tmp_path / "s.jsonl", "--json").json["records"] == 3
    lines = [json.loads(line) for line in (tmp_path / "s.jsonl").read_text().splitlines()]
    assert [line["data"] for line in lines] == ["data 0", "data 1", "data 2"]
    made = succeed("import", tmp_path / "other", "t", tmp_path / "s.jsonl", "--create", "--shards", 2, "--json").json
    assert (made["records"], made["present"]) == (3, 0)
    piped = succeed("export", tmp_path / "data", "s", "-")
    assert "3 were there already" in succeed("import", tmp_path / "other", "t", "-", stdin=piped.out).err
    assert run("import", tmp_path / "other", "t", tmp_path / "none").code == 3
    assert run("export", tmp_path / "data", "s", tmp_path / "s.jsonl").code == 2
