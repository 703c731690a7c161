"""streamstore.cli.inspect, segment_file and verify: bytes explained, and damage found where it is."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from command_line import run, succeed

import streamstore
from streamstore.cli.segment_file import SegmentFile

COUNT = 500


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A closed store with a stream `s` of one shard and 500 records."""
    directory = tmp_path / "store"
    with streamstore.open(directory) as store:
        stream = store.create_stream("s")
        stream.put_records([(b"record %d" % number, f"key-{number}") for number in range(COUNT)])
    return directory


def segment(place: Path) -> Path:
    """The one segment file of the shard."""
    (path,) = (place / "streams").glob("*/0/*.seg")
    return path


def frames(place: Path) -> list[dict[str, Any]]:
    """All frames of the segment, as inspect shows them."""
    return [
        row
        for row in succeed("inspect", segment(place), "--json").json_lines
        if row["kind"] not in ("segment", "index")
    ]


def snapshot(directory: Path) -> dict[Path, tuple[bytes, int]]:
    """Every file's bytes and time of change."""
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in directory.rglob("*") if path.is_file()}


# --- inspect -----------------------------------------------------------------------------------------------------


def test_inspect_shows_every_frame_and_changes_nothing(place: Path) -> None:
    """Header and frames as they are in the file, for a name, a number and a path; not a byte of the store changes."""
    before = snapshot(place)
    rows = succeed("inspect", place, "s", "0", "--json").json_lines
    assert snapshot(place) == before
    assert rows == succeed("inspect", place, "1", "shardId-000000000000", "--json").json_lines
    assert rows == succeed("inspect", segment(place), "--json").json_lines
    header, *frames = rows
    assert header["kind"] == "segment"
    assert header["header_holds"] is True
    assert (header["version"], header["stream"], header["shard"], header["base"]) == (1, 1, 0, 64)
    assert header["description"]["name"] == "s"
    data = [frame for frame in frames if frame["kind"] == "data"]
    assert [frame["ordinal"] for frame in data] == list(range(1, COUNT + 1))
    with streamstore.open(place, read_only=True) as store:
        records = list(store.stream("s").read("TRIM_HORIZON"))
    assert [frame["position"] for frame in data] == [record.position for record in records]
    assert [frame["arrival_us"] for frame in data] == [record.arrival_us for record in records]


def test_inspect_explains_in_text(place: Path) -> None:
    """Field names, meanings, keys and sequence numbers stand beside the bytes."""
    number = next(iter(succeed("read", place, "s", "--json", "--limit", 1).json_lines))["sequence_number"]
    text = succeed("inspect", place, "s", "0", "--limit", 1, "--hex").text
    assert "header, 4096 bytes, check holds" in text
    assert "previous_end" in text
    assert f"number {number}" in text
    assert "'key-0'" in text
    assert "record 0" in text
    assert "00001000  " in text
    assert "zeros, allocated and not written" in text


def test_inspect_from_and_limit(place: Path) -> None:
    """Only frames from a position on, and at most so many."""
    all_frames = frames(place)
    middle = all_frames[200]["position"]
    rows = succeed("inspect", segment(place), "--json", "--from", middle, "--limit", 3).json_lines
    assert [row["position"] for row in rows[1:4]] == [frame["position"] for frame in all_frames[200:203]]
    assert len([row for row in rows if row["kind"] == "data"]) == 3


def test_inspect_reads_the_catalog_and_sealed_segments(tmp_path: Path) -> None:
    """The catalog is a log too; sealed segments show their index, and one that does not hold is a hint, not damage."""
    directory = tmp_path / "store"
    with streamstore.open(directory) as store:
        stream = store.create_stream("s", segment_size=1 << 20)
        for _ in range(30):
            stream.put_records([(b"x" * 1000, "k")] * 100)
        assert stream.last(3000)[0].ordinal == 1
    assert "data" in succeed("inspect", directory, "catalog").text
    rows = succeed("inspect", directory, "s", 0, "--json").json_lines
    assert len([row for row in rows if row["kind"] == "segment"]) >= 3
    assert len([row for row in rows if row["kind"] == "data"]) == 3000
    index = next(row for row in rows if row["kind"] == "index")
    assert index["holds"] is True
    assert index["marks"]
    assert "check holds" in succeed("inspect", directory, "s", 0).text
    one = succeed("inspect", directory, "s", 0, "--segment", 2, "--json").json_lines
    assert {row["ordinal"] for row in one if row["kind"] == "segment"} == {2}
    assert run("inspect", directory, "s", 0, "--segment", 99).code == 3
    with open(directory / "streams/1/0" / f"{index['ordinal']:012d}.seg", "r+b") as file:
        file.seek(index["offset"] + 45)
        file.write(b"\xff")
    broken = succeed("inspect", directory, "s", 0, "--segment", index["ordinal"], "--json").json_lines[-1]
    assert (broken["kind"], broken["holds"], broken["marks"]) == ("index", False, [])


def test_inspect_shows_blocks_and_the_frames_in_them(tmp_path: Path) -> None:
    """Of a compacted segment: every record, and which block is damaged; the rest still shows."""
    with streamstore.open(tmp_path, maintenance=False) as store:
        stream = store.create_stream("s", durability="process")
        stream.put_records([(b"record %d of a stream" % number, f"key-{number}") for number in range(3000)])
        stream.log(0).roll()
        store.flush()
        assert stream.compact(rate=0).files == 1
    path = min((tmp_path / "streams").glob("*/0/*.seg"))
    rows = succeed("inspect", path, "--json").json_lines
    kinds = [row["kind"] for row in rows]
    assert kinds.count("block") == rows[0]["blocks"] == len(rows[-1]["marks"]) > 2
    found = [row for row in rows if row["kind"] == "frame"]
    assert [row["ordinal"] for row in found] == list(range(1, 3001))
    assert rows[0]["records"] == 3000
    assert rows[-1]["holds"]
    text = succeed("inspect", path, "--limit", "2").text
    assert "record 0 of a stream" in text
    assert text.count("check holds") == len(rows[-1]["marks"]) + 2
    flip(path, rows[-1]["marks"][1][3] + 100)
    broken = run("inspect", path)
    assert broken.code == 4
    assert broken.text.count("THE CHECK DOES NOT HOLD") == 1
    assert "record 2999 of a stream" in broken.text


def test_inspect_says_what_is_not_there(place: Path, tmp_path: Path) -> None:
    """Missing streams, shards and files give 3, a foreign file 1, a directory alone 2."""
    assert run("inspect", place, "other", "0").code == 3
    assert run("inspect", place, "s", "5").code == 3
    assert run("inspect", tmp_path / "nothing").code == 3
    assert run("inspect", place).code == 2
    foreign = tmp_path / "foreign.seg"
    foreign.write_bytes(b"x" * 5000)
    assert run("inspect", foreign).code == 1
    foreign.write_bytes(b"short")
    assert run("inspect", foreign).code == 1


def test_inspect_shows_a_broken_header(place: Path) -> None:
    """A header whose check does not hold is shown all the same, with exit code 4."""
    data = bytearray(segment(place).read_bytes())
    data[96] ^= 1
    segment(place).write_bytes(data)
    result = run("inspect", segment(place))
    assert result.code == 4
    assert "check DOES NOT HOLD" in result.text


def test_any_bytes_can_be_inspected(place: Path) -> None:
    """Random damage never ends in anything but a dump: exit code 0 or 4, and the good frames are shown."""
    chance = random.Random(7)
    good = segment(place).read_bytes()
    end = frames(place)[-1]["offset"] + 200
    for _ in range(40):
        data = bytearray(good)
        for _ in range(chance.randrange(1, 4)):
            at = chance.randrange(4096, end)
            length = chance.randrange(1, 300)
            data[at : at + length] = chance.choice([chance.randbytes(length), bytes(length), b"\xff" * length])
        segment(place).write_bytes(data[: chance.randrange(end, len(data)) if chance.random() < 0.3 else len(data)])
        result = run("inspect", segment(place), "--json")
        assert result.code in (0, 4), result.err
        for frame in SegmentFile(segment(place)).frames():
            assert frame.size % 8 == 0
            assert frame.size > 0


# --- verify ------------------------------------------------------------------------------------------------------


def damage_frames(place: Path, first: int, last: int) -> tuple[int, int]:
    """Overwrite data frames `first` to `last` (from 0) in part; returns the positions where they begin and end."""
    hit = frames(place)[first : last + 1]
    with open(segment(place), "r+b") as file:
        for frame in hit:
            file.seek(frame["offset"] + 50)
            file.write(b"DAMAGE")
    return hit[0]["position"], hit[-1]["position"] + hit[-1]["size"]


def test_verify_finds_nothing_in_a_good_store(place: Path) -> None:
    """Counts and success, with nothing on stdout for people who pipe it."""
    result = succeed("verify", place, "--json").json
    assert (result["damage"], result["records"], result["shards"]) == ([], COUNT, 1)
    assert succeed("verify", place, "s").out == b""


@pytest.mark.parametrize(("first", "last"), [(0, 0), (100, 100), (100, 104), (COUNT - 2, COUNT - 2)])
def test_verify_tells_the_exact_damage(place: Path, first: int, last: int) -> None:
    """The bytes, the sequence numbers and the number of records hit; every other record can be read."""
    numbers = [row["sequence_number"] for row in succeed("read", place, "s", "--json").json_lines]
    begin, end = damage_frames(place, first, last)
    result = run("verify", place, "--json")
    assert result.code == 4
    damage = result.json["damage"]
    assert (damage[0]["begin"], damage[-1]["end"]) == (begin, end)
    assert sum(each["records_lost"] for each in damage) == last - first + 1
    assert damage[0]["records_before"] == first
    assert damage[0]["file_offset"] == 4096 + begin - 64
    ranges = [(int(each["first_sequence_number"]), int(each["last_sequence_number"])) for each in damage]
    inside = [n for n, number in enumerate(numbers) if any(low <= int(number) <= high for low, high in ranges)]
    assert inside == list(range(first, last + 1))
    assert result.json["records"] == COUNT - len(inside)
    assert run("verify", place).code == 4


def test_the_damaged_numbers_are_told_apart_from_those_of_other_epochs(tmp_path: Path) -> None:
    """Where a segment holds several epochs, the range of numbers still takes in the damaged records and no other."""
    directory = tmp_path / "store"
    for _ in range(3):
        with streamstore.open(directory) as store:
            store.create_stream("s", exist_ok=True).put_records([(b"x" * 50, "k")] * 20)
    assert len(list((directory / "streams").glob("*/0/*.seg"))) == 1
    numbers = [row["sequence_number"] for row in succeed("read", directory, "s", "--json").json_lines]
    data = [frame for frame in frames(directory) if frame["kind"] == "data"]
    with open(segment(directory), "r+b") as file:
        file.seek(data[25]["offset"] + 60)
        file.write(b"DAMAGE")
    (damage,) = run("verify", directory, "--json").json["damage"]
    low, high = int(damage["first_sequence_number"]), int(damage["last_sequence_number"])
    assert [n for n, number in enumerate(numbers) if low <= int(number) <= high] == [25]


def test_read_stops_at_damage_unless_told(place: Path) -> None:
    """What stands before damage is printed, then a line and exit code 4; --skip-damaged prints the rest too, with 4."""
    damage_frames(place, 200, 202)
    stopped = run("read", place, "s", "--raw")
    assert stopped.code == 4
    assert stopped.out.splitlines() == [b"record %d" % number for number in range(200)]
    assert stopped.err.count("\n") == 1
    assert "verify" in stopped.err
    rest = run("read", place, "s", "--raw", "--skip-damaged")
    assert rest.code == 4
    assert rest.out.splitlines() == [b"record %d" % number for number in range(COUNT) if not 200 <= number <= 202]
    assert "skipped" in rest.err
    few = run("read", place, "s", "--raw", "--skip-damaged", "--limit", 201)
    assert few.out.splitlines()[-1] == b"record 203"


def flip(path: Path, offset: int) -> None:
    """Damage one byte."""
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0xFF]))


def test_a_damaged_segment_header_is_damage(place: Path) -> None:
    """A segment that its own header hides is reported, with the file that it is."""
    flip(segment(place), 60)
    result = run("verify", place, "--json")
    assert result.code == 4
    damage, lost = result.json["damage"]
    assert (damage["kind"], damage["stream"], damage["segment"], damage["records_lost"]) == ("header", "s", 1, None)
    assert (lost["kind"], lost["begin"]) == ("missing", 64)
    assert run("verify", place).code == 4


@pytest.mark.parametrize("zeroed", [slice(0, 512), slice(3584, 4096)], ids=["first sector", "last sector"])
def test_a_header_that_was_never_finished_is_none(place: Path, zeroed: slice) -> None:
    """A segment whose header lacks a sector was never part of the log: that is what a power cut leaves."""
    header = bytearray(segment(place).read_bytes()[:4096])
    header[zeroed] = bytes(512)
    (segment(place).parent / "000000000002.seg").write_bytes(header + bytes(60_000))
    assert succeed("verify", place, "--json").json["damage"] == []


@pytest.mark.parametrize("offset", [60, 4200], ids=["header", "frame"])
def test_a_damaged_catalog_is_damage(place: Path, offset: int) -> None:
    """What is known about streams is checked too, and damage there is not taken for an empty store."""
    flip(place / "catalog" / "000000000001.seg", offset)
    result = run("verify", place, "--json")
    assert result.code == 4
    assert result.json["damage"][0]["stream"] == "catalog"
    assert "the catalog does not read" in run("verify", place).err


def test_a_segment_that_was_cut_short_is_damage(place: Path) -> None:
    """Where the file ends too early all behind it is damaged, and how many records that were is unknown."""
    cut = frames(place)[300]
    with open(segment(place), "r+b") as file:
        file.truncate(cut["offset"] + 8)
    result = run("verify", place, "--json")
    assert result.code == 4
    (damage,) = result.json["damage"]
    assert (damage["begin"], damage["records_before"], damage["records_lost"]) == (cut["position"], 300, None)
    assert result.json["records"] == 300


@pytest.mark.parametrize("merge", [[], ["--merge"]], ids=["shard by shard", "merged"])
@pytest.mark.parametrize("cut", [False, True], ids=["overwritten", "cut off"])
def test_damage_that_reaches_the_end_is_no_end(place: Path, cut: bool, merge: list[str]) -> None:
    """Where the newest records are damaged, reading says so after the good ones, and does not just end."""
    if cut:
        first = frames(place)[COUNT - 3]
        with open(segment(place), "r+b") as file:
            file.truncate(first["offset"])
    else:
        damage_frames(place, COUNT - 3, COUNT - 1)
    for options, code in (([], 4), (["--skip-damaged"], 4)):
        result = run("read", place, "s", "--raw", *merge, *options)
        assert result.code == code
        assert result.out.splitlines() == [b"record %d" % number for number in range(COUNT - 3)]


def test_verify_changes_nothing(place: Path) -> None:
    """Verifying a damaged store leaves every byte of its data as it is."""
    damage_frames(place, 10, 10)
    copy = place.parent / "copy"
    shutil.copytree(place, copy)
    run("verify", copy)
    assert segment(copy).read_bytes() == segment(place).read_bytes()
