"""streamstore.verify: every part of a store that can be damaged is looked at; what is no damage is not called so."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import streamstore
from streamstore import errors


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A closed store with a stream of two shards, several sealed segments and their indexes in each."""
    with streamstore.open(tmp_path / "store", durability="process") as store:
        stream = store.create_stream("clicks", 2, segment_size=131072)
        for first in range(0, 600, 50):
            stream.put_records([(b"%06d" % n + bytes(994), f"key-{n}") for n in range(first, first + 50)])
    return tmp_path / "store"


def flip(path: Path, offset: int) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x10]))


def segments(place: Path, shard: int = 0) -> list[Path]:
    return sorted((place / "streams" / "1" / str(shard)).glob("*.seg"))


def kinds(place: Path) -> set[str]:
    return {each["kind"] for each in streamstore.verify(place).damage}


def test_a_good_store_has_no_damage(place):
    """All records are counted, and nothing is noted."""
    report = streamstore.verify(place)
    assert (report.damage, report.notes, report.records, report.shards) == ([], [], 600, 2)
    assert report.bytes > 600_000


def test_an_open_store_is_verified_while_it_is_written_to(place):
    """What others write meanwhile is no damage."""
    with streamstore.open(place) as store:
        store.stream("clicks").put_records([(b"new", f"key-{n}") for n in range(100)])
        report = streamstore.verify(place)
    assert (report.damage, report.records) == ([], 700)


@pytest.mark.parametrize("offset", [3, 30, 60])
def test_a_damaged_manifest(place, offset):
    """Without a manifest nothing opens: it is named, and nothing else is claimed."""
    flip(place / "manifest", offset)
    assert kinds(place) == {"manifest"}
    (place / "manifest").unlink()
    assert kinds(place) == {"manifest"}


def test_what_is_no_store_is_not_called_damaged(tmp_path):
    """An empty directory, a missing one."""
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(errors.StoreNotFoundError):
            streamstore.verify(path)


@pytest.mark.parametrize("offset", [0, 50, 90, 140, 4090])
def test_a_damaged_header_in_the_middle(place, offset):
    """The file is named, and so is the range that it hides."""
    flip(segments(place)[1], offset)
    found = streamstore.verify(place).damage
    assert {each["kind"] for each in found} == {"header", "frames"}
    assert next(each for each in found if each["kind"] == "header")["path"] == str(segments(place)[1])


def test_a_missing_segment(place):
    """At the beginning, in the middle: the range that no file holds."""
    gone = segments(place)
    gone[0].unlink()
    gone[2].unlink()
    found = streamstore.verify(place).damage
    assert found[0]["kind"] == "missing"
    assert found[0]["begin"] == 64
    assert len(found) == 2
    assert found[1]["end"] > found[1]["begin"] >= found[0]["end"]


def test_what_is_lost_is_named_by_its_numbers(place):
    """Segments are gone, the newest too: which epoch they were of nothing says any more, and the numbers that were told
    as lost were of the epoch before, so that the lost ones lay outside. They lie within, and those of all others not.
    """
    with streamstore.open(place) as store:
        stream = store.stream("clicks")
        stream.put_records([(b"newer", f"key-{n}") for n in range(20)])
        shard = stream.shards()[0]
        found = [record for record in stream.read() if record.shard_id == shard.id]
        records = [(record.position, int(record.sequence_number)) for record in found]
    for path in (segments(place)[1], segments(place)[-1]):
        path.unlink()
    told = [each for each in streamstore.verify(place).damage if each["shard_id"] == shard.id and each["end"]]
    assert told
    for each in told:
        lost = [number for position, number in records if each["begin"] <= position < each["end"]]
        low, high = int(each["first_sequence_number"]), int(each["last_sequence_number"])
        assert lost
        assert [number for _, number in records if low <= number <= high] == lost
    with streamstore.open(place) as store, pytest.raises(errors.CorruptRangeError) as raised:
        list(store.stream("clicks").read())
    assert int(raised.value.first or 0) <= min(number for p, number in records if p >= raised.value.begin)
    assert int(raised.value.last or 0) >= max(number for p, number in records if p < raised.value.end)


@pytest.mark.parametrize(("begin", "size"), [(0, 512), (0, 4096), (3584, 512)])
def test_the_only_segment_without_a_header_and_no_hint(tmp_path, begin, size):
    """The only segment of a shard loses sectors of its header, and the control file is gone too: nothing says that
    there was ever anything, but for what stands behind the header. It read as an empty log. It is refused and told;
    a put writes nothing over it; a repair takes it out, or makes its header again from its frames.
    """
    with streamstore.open(tmp_path / "s") as store:
        stream = store.create_stream("clicks")
        stream.put_records([(b"%d" % n, "key") for n in range(5)])
    path = segments(tmp_path / "s")[0]
    raw = bytearray(path.read_bytes())
    raw[begin : begin + size] = bytes(size)
    if begin:  # only where something stood there can it have been lost
        raw[124:128] = (3840).to_bytes(4, "little")
    path.write_bytes(raw)
    (tmp_path / "s" / "control").unlink()
    (found,) = streamstore.verify(tmp_path / "s").damage
    assert (found["kind"], found["path"]) == ("header", str(path))
    with streamstore.open(tmp_path / "s", maintenance=False) as store:
        with pytest.raises(errors.CorruptRangeError):
            list(store.stream("clicks").read())
        with pytest.raises(errors.CorruptRangeError):
            store.stream("clicks").put_record(b"more", "key")
    assert path.read_bytes() == raw
    assert streamstore.repair(tmp_path / "s").damage == []
    with streamstore.open(tmp_path / "s", maintenance=False) as store:
        left = [b"%d" % n for n in range(5)] if begin else []
        assert [record.data for record in store.stream("clicks").read()] == left


def test_a_trim_that_is_in_doubt_makes_no_segment_missing(tmp_path):
    """A stream is cleared, and the power cut leaves no control file: nothing proves the event that says so, the newest
    of the catalog, durable. To a read-only handle it was not there, and the files that went by it were called missing.
    """
    with streamstore.open(tmp_path / "s", maintenance=False) as store:
        stream = store.create_stream("clicks")
        stream.put_records([(b"%d" % n, "key") for n in range(5)])
        stream.clear()
        stream.put_record(b"after", "key")
        store.flush()
        shutil.copytree(tmp_path / "s", tmp_path / "cut")
    (tmp_path / "cut" / "control").unlink()
    assert streamstore.verify(tmp_path / "cut").damage == []
    with streamstore.open(tmp_path / "cut", read_only=True, create=False) as store:
        assert store.list_streams() == ["clicks"]


def test_a_damaged_index_is_told_and_hits_no_record(place):
    """Reading goes on without it."""
    path = segments(place)[0]
    raw = path.read_bytes()
    at = raw.rindex(b"SSIDX")
    for offset in (at, at + 40, at + 60):
        shutil.copy(path, place.parent / "kept")
        flip(path, offset)
        (found,) = streamstore.verify(place).damage
        assert (found["kind"], found["end"], found["file_offset"]) == ("index", None, at)
        shutil.copy(place.parent / "kept", path)
    assert streamstore.verify(place).damage == []


def test_a_file_of_another_log_is_foreign(place):
    """A copy gone wrong: what it hides is told, and the other shard is good."""
    shutil.copy(segments(place, 1)[0], segments(place, 0)[0])
    report = streamstore.verify(place)
    assert "foreign" in {each["kind"] for each in report.damage}
    assert {each["shard_id"] for each in report.damage} == {"shardId-000000000000"}
    assert 0 < report.records < 600


def test_without_a_catalog_the_streams_are_checked_by_their_directories(place):
    """A damaged catalog hides no damage behind it."""
    flip(place / "catalog" / "000000000001.seg", 4200)
    flip(segments(place)[0], 5000)
    report = streamstore.verify(place)
    assert [each["stream"] for each in report.damage] == ["catalog", "stream 1"]
    assert report.records == 599


def test_files_that_belong_to_nothing_are_noted(place):
    """They are no damage."""
    (place / "notes.txt").touch()
    (place / "streams" / "99").mkdir()
    (place / "streams" / "1" / "7").mkdir()
    (place / "streams" / "1" / "0" / "x.seg.tmp").touch()
    report = streamstore.verify(place)
    assert report.damage == []
    assert [note.split(":")[0] for note in report.notes] == [
        "notes.txt",
        "streams/1/0/x.seg.tmp",
        "streams/1/7",
        "streams/99",
    ]


def test_lineage_that_cannot_be_true_is_damage(place):
    """A shard that the catalog closed has a close frame at its end."""
    with streamstore.open(place) as store:
        stream = store.stream("clicks")
        step = stream.info.lineage.split(0, 1 << 100)
        state = stream.log(0).state()
        store.catalog.publish(
            "resharded",
            stream.info,
            parents={0: {"end": state.tail, "epoch": state.epoch, "records": 1, "arrival_us": 1}},
            children=step.to_map()["children"],
        )
    (found,) = streamstore.verify(place).damage
    assert (found["kind"], found["shard_id"]) == ("lineage", "shardId-000000000000")
    assert "close frame" in found["message"]


def test_one_stream_alone(place):
    """Damage elsewhere is not told; a stream that is not there is an error."""
    with streamstore.open(place) as store:
        store.create_stream("other").put_record(b"x", "k")
    flip(segments(place)[0], 5000)
    assert streamstore.verify(place, "other").records == 1
    assert streamstore.verify(place, "other").damage == []
    with pytest.raises(errors.StreamNotFoundError):
        streamstore.verify(place, "none")


def test_progress_is_told(place):
    """It ends at what there was to do."""
    seen: list[tuple[int, int, int]] = []
    report = streamstore.verify(place, progress=lambda *figures: seen.append(figures))
    assert seen[-1] == (report.bytes, report.bytes, 600)
    assert len(seen) == len(os.listdir(place / "streams" / "1" / "0")) + len(os.listdir(place / "streams" / "1" / "1"))
