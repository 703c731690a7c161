"""streamstore.repair: each kind of damage is put right, what was good stays as it was, and nothing is deleted."""

from __future__ import annotations

import json
import os
import shutil
from functools import partial
from pathlib import Path

import pytest
from command_line import run
from dying_child import ended

import streamstore
from streamstore import errors
from streamstore.backup import packed as backup_packed
from streamstore.compaction import Compactor


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A closed store with a stream of two shards, several sealed segments and their indexes in each."""
    with streamstore.open(tmp_path / "store", durability="process") as store:
        stream = store.create_stream("clicks", 2, segment_size=131072)
        for first in range(0, 800, 50):
            stream.put_records([(b"%06d" % n + bytes(994), f"key-{n}") for n in range(first, first + 50)])
    return tmp_path / "store"


def segments(place: Path, shard: int = 0) -> list[Path]:
    return sorted((place / "streams" / "1" / str(shard)).glob("*.seg"))


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def records(place: Path) -> dict[str, bytes]:
    """Sequence number to data, of every record; reading raises for damage."""
    with streamstore.open(place, create=False) as store:
        return {record.sequence_number: record.data for record in store.stream("clicks").read()}


def repaired(place: Path, before: dict[str, bytes], lost: int | None = None) -> streamstore.backup.RepairResult:
    """Repair must leave a store that verifies, with the same numbers for the same data, that can be written to."""
    result = streamstore.repair(place)
    assert result.damage == [], result
    after = records(place)
    assert after.items() <= before.items()
    if lost is not None:
        assert len(before) - len(after) == lost
    with streamstore.open(place) as store:
        stream = store.stream("clicks")
        new = [stream.put_record(b"new", f"key-{n}") for n in range(20)]
        assert all(result.sequence_number not in before for result in new)
        assert [record.data for record in stream.last(20)] == [b"new"] * 20
    assert len(records(place)) == len(after) + 20
    assert streamstore.verify(place).damage == []
    compacted(place)
    return result


def compacted(place: Path) -> None:
    """What was repaired can be compacted as all else: numbers and ordinals stay."""

    def content(stream: streamstore.Stream) -> list[tuple[str, bytes, int]]:
        return [(record.sequence_number, record.data, record.ordinal) for record in stream.read()]

    with streamstore.open(place, maintenance=False) as store:
        stream = store.stream("clicks")
        before = content(stream)
        done = stream.compact(rate=0)
        assert (done.left_alone, done.unfinished) == ([], False)
        assert content(stream) == before
    assert streamstore.verify(place).damage == []


def test_a_good_store_is_left_as_it_is(place):
    """Nothing is changed, nothing is made."""
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*.seg")}
    result = streamstore.repair(place)
    assert (result.steps, result.damage, result.kept) == ([], [], None)
    assert {path: path.stat().st_mtime_ns for path in place.rglob("*.seg")} == before
    assert not (place / "damaged").exists()


@pytest.mark.parametrize("which", [0, 1, -1], ids=["first", "middle", "newest"])
@pytest.mark.parametrize("count", [1, 3])
def test_damaged_frames_become_a_known_gap(place, which, count):
    """Exactly the records hit are gone; a get of one says that there is none, counts go on."""
    before = records(place)
    path = segments(place)[which]
    for number in range(count):
        overwrite(path, 4096 + 5000 + 1064 * 2 * number, b"DAMAGE")
    found = streamstore.verify(place).damage
    low, high = int(found[0]["first_sequence_number"]), int(found[0]["last_sequence_number"])
    gone = next(n for n in before if low <= int(n) <= high and int(n) >> 4 & 0xFFFFFFFF == 0)
    result = repaired(place, before, count)
    assert len(result.steps) == 1
    assert sum(each["records_lost"] for each in result.steps[0]["lost"]) == count
    with streamstore.open(place) as store:
        shard = store.stream("clicks").shard("shardId-000000000000")
        with pytest.raises(errors.StreamStoreError):
            shard.get(gone)
        assert all(record.sequence_number > gone for record in shard.read(after=gone, limit=1))


def test_originals_are_kept_with_a_list(place):
    """The damaged bytes are under damaged/, and repair.json says why."""
    path = segments(place)[0]
    overwrite(path, 6000, b"DAMAGE")
    raw = path.read_bytes()
    result = streamstore.repair(place)
    kept = Path(result.kept)
    assert (kept / "streams/1/0" / path.name).read_bytes() == raw
    (step,) = json.loads((kept / "repair.json").read_text())["steps"]
    assert step["path"] == str(path)
    assert step["lost"][0]["records_lost"] == 1


def test_a_dry_run_changes_nothing(place):
    """It says what it would do first."""
    overwrite(segments(place)[0], 6000, b"DAMAGE")
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    result = streamstore.repair(place, dry_run=True)
    assert len(result.steps) == 1
    assert result.damage
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("offset", [0, 10, 20, 42, 50, 66, 75, 82, 100, 110, 130, 4090])
def test_one_damaged_byte_of_a_header_is_put_right(place, offset):
    """No record is lost."""
    before = records(place)
    overwrite(segments(place)[1], offset, bytes([segments(place)[1].read_bytes()[offset] ^ 0x40]))
    repaired(place, before, 0)


@pytest.mark.parametrize("which", [0, 1, -1], ids=["first", "middle", "newest"])
def test_a_header_is_made_again_from_its_frames(place, which):
    """As long as its salt is there, all records are."""
    before = records(place)
    overwrite(segments(place)[which], 32, b"\xff" * 40)
    overwrite(segments(place)[which], 88, b"\xff" * 32)
    repaired(place, before, 0)


@pytest.mark.parametrize("which", [0, 1], ids=["first", "middle"])
@pytest.mark.parametrize("how", ["header", "missing"])
def test_a_segment_that_is_lost_becomes_a_gap(place, which, how):
    """Without salt, or without the file: what it held is gone, the rest is as it was."""
    before = records(place)
    path = segments(place)[which]
    if how == "missing":
        path.unlink()
    else:
        overwrite(path, 0, os.urandom(4096))
    repaired(place, before)


def test_the_newest_segment_is_lost(place):
    """Numbers go on behind what was known durable."""
    before = records(place)
    segments(place)[-1].unlink()
    repaired(place, before)


def test_all_segments_of_a_shard_are_lost(place):
    """The other shard is as it was."""
    before = records(place)
    for path in segments(place):
        path.unlink()
    repaired(place, before)


def test_a_damaged_index_is_made_again(place):
    """No record is hit, and the new one holds."""
    before = records(place)
    path = segments(place)[0]
    overwrite(path, path.read_bytes().rindex(b"SSIDX") + 60, b"DAMAGE")
    repaired(place, before, 0)
    with streamstore.open(place, read_only=True) as store:
        assert store.stream("clicks").log(0).segments()[0].index_present


def test_a_foreign_file_is_taken_out(place):
    """It is kept aside; the range that it took the place of is a gap."""
    before = records(place)
    shutil.copy(segments(place, 1)[0], segments(place, 0)[0])
    result = repaired(place, before)
    assert (Path(result.kept) / "streams/1/0" / segments(place, 1)[0].name).exists()


@pytest.mark.parametrize("how", ["byte", "zeros", "missing"])
def test_a_manifest_is_made_again(place, how):
    """Under the same store id."""
    before = records(place)
    raw = (place / "manifest").read_bytes()
    if how == "missing":
        (place / "manifest").unlink()
    else:
        overwrite(place / "manifest", 30, b"\x55" if how == "byte" else bytes(30))
    repaired(place, before, 0)
    assert (place / "manifest").read_bytes()[24:40] == raw[24:40]


@pytest.mark.parametrize("how", ["frame", "header", "missing", "gone"])
def test_a_catalog_is_made_again(place, how):
    """Streams come back from their segments, with their settings and all records."""
    before = records(place)
    with streamstore.open(place) as store:
        settings = store.stream("clicks").info
        store.create_stream("later").put_record(b"x", "k")
        store.create_stream("deleted").put_record(b"x", "k")
        store.delete_stream("deleted")
    path = place / "catalog" / "000000000001.seg"
    if how == "frame":
        overwrite(path, 4096 + 60, b"DAMAGE")
    elif how == "header":
        overwrite(path, 0, os.urandom(4096))
    elif how == "missing":
        path.unlink()
    else:
        shutil.rmtree(place / "catalog")
    repaired(place, before, 0)
    with streamstore.open(place) as store:
        assert store.list_streams() == ["clicks", "later"]
        found = store.stream("clicks").info
        assert (found.uniform, found.durability, found.segment_size) == (2, "process", settings.segment_size)
        assert [record.data for record in store.stream("later").read()] == [b"x"]
        assert store.create_stream("new").info.id > 2


def lose_the_catalog(place: Path) -> None:
    """Nothing is left of it."""
    shutil.rmtree(place / "catalog")
    (place / "control").unlink()


def test_settings_come_back_with_the_catalog(tmp_path):
    """What a stream was made with is in its segments, also what others keep with it."""
    with streamstore.open(tmp_path / "store") as store:
        made = store.create_stream("s", 3, retention_hours=100, max_record_size=5000)
        made.put_records([(b"x", f"key-{n}") for n in range(30)])
        queue = store.queue("jobs")
        for n in range(5):
            queue.put({"n": n})
        queue.get(timeout=1).ack()
        before = made.info
    lose_the_catalog(tmp_path / "store")
    result = streamstore.repair(tmp_path / "store")
    assert result.damage == [], result
    with streamstore.open(tmp_path / "store") as store:
        after = store.stream("s").info
        assert after.to_map() == {**before.to_map(), "epoch_floor": after.epoch_floor}
        queue = store.queue("jobs")
        assert [queue.get(timeout=1).body["n"] for _ in range(4)] == [1, 2, 3, 4]


@pytest.mark.parametrize("expired", [False, True], ids=["all there", "roots expired"])
def test_lineage_comes_back_with_the_catalog(tmp_path, expired):
    """Splits and merges are found again in close frames, or in what the children of expired shards say."""
    with streamstore.open(tmp_path / "store") as store:
        stream = store.create_stream("s", 2)
        for turn in range(4):
            stream.put_records([(b"%d %d" % (turn, n), f"key-{n}") for n in range(40)])
            if turn == 0:
                stream.split_shard("shardId-000000000000", 1 << 125)
            elif turn == 1:
                stream.split_shard("shardId-000000000003", 1 << 126)
            elif turn == 2:
                stream.merge_shards("shardId-000000000002", "shardId-000000000004")
        if expired:
            closed = [index for index in (0, 3) if not stream.check().lineage.is_open(index)]
            store.catalog.publish("expire", stream.info, shards=closed)
            for index in closed:
                shutil.rmtree(tmp_path / "store" / "streams" / "1" / str(index))
        lineage = stream.check().lineage
        before = [(record.shard_id, record.data) for record in stream.read()]
        family = {index: (lineage[index].parents, lineage[index].children) for index in lineage.indexes()}
    lose_the_catalog(tmp_path / "store")
    assert streamstore.repair(tmp_path / "store").damage == []
    with streamstore.open(tmp_path / "store") as store:
        stream = store.stream("s")
        found = stream.check().lineage
        assert (list(found.open), list(found.open_ranges)) == (list(lineage.open), list(lineage.open_ranges))
        assert {index: (found[index].parents, found[index].children) for index in found.indexes()} == family
        assert sorted((record.shard_id, record.data) for record in stream.read()) == sorted(before)
        results = stream.put_records([(b"new", f"key-{n}") for n in range(40)])
        numbers = {record.sequence_number for record in stream.read()}
        assert len(numbers) == len(before) + 40
        assert all(result.sequence_number in numbers for result in results)
    assert streamstore.verify(tmp_path / "store").damage == []


@pytest.mark.parametrize("count", [0, 40], ids=["never written", "written"])
def test_a_close_frame_is_made_again(tmp_path, count):
    """A shard that was closed stays so: who reads on from it finds its children."""
    path = tmp_path / "store"
    with streamstore.open(path) as store:
        stream = store.create_stream("s", 1)
        stream.put_records([(b"%d" % n, f"key-{n}") for n in range(count)])
        stream.split_shard("shardId-000000000000")
        stream.put_records([(b"%d" % n, f"key-{n}") for n in range(count, count + 40)])
        closed = segments(path)[-1]
    overwrite(closed, 4096 + 100, b"DAMAGE")
    assert streamstore.verify(path).damage
    assert streamstore.repair(path).damage == []
    with streamstore.open(path) as store:
        stream = store.stream("s")
        with stream.read(follow=True, timeout=0.2) as reader:
            assert sorted(int(record.data) for record in reader) == list(range(count + 40))
        assert stream.shards()[0].is_closed


def test_all_at_once(place):
    """Manifest, catalog, headers, frames and a missing file together."""
    before = records(place)
    (place / "manifest").unlink()
    overwrite(place / "catalog" / "000000000001.seg", 4096 + 60, b"DAMAGE")
    overwrite(segments(place)[0], 50, b"\xff\xff\xff")
    overwrite(segments(place)[1], 6000, b"DAMAGE")
    segments(place, 1)[1].unlink()
    repaired(place, before)


@pytest.fixture
def packed(place: Path) -> Path:
    """The store with all its sealed segments compacted into one file a shard."""
    with streamstore.open(place) as store:
        stream = store.stream("clicks")
        for index in range(2):
            log = stream.log(index)
            log.roll()
            log.sync()
            Compactor(rate=0).compact(log, now_us=1 << 60, after_us=0, size_max=1 << 24)
            assert next(segment.packed for segment in log.segments() if segment.live)
    assert streamstore.verify(place).damage == []
    return place


@pytest.mark.parametrize("blocks", [(0,), (2,), (1, 2), (-1,)])
def test_damaged_blocks_of_a_compacted_segment_become_a_known_gap(packed, blocks):
    """What stands in other blocks stays as it was."""
    before = records(packed)
    path = segments(packed)[0]
    offsets = [mark.offset for mark in backup_packed.marks(path.read_bytes())]
    assert len(offsets) > 4
    for block in blocks:
        overwrite(path, offsets[block] + 80, b"DAMAGE")
    lost = sum(each["records_lost"] for each in streamstore.verify(packed).damage)
    assert lost
    result = repaired(packed, before, lost)
    assert [step["what"] for step in result.steps] == ["damaged blocks made pads"]


def test_the_index_of_a_compacted_segment_is_made_again(packed):
    """No record is hit."""
    before = records(packed)
    path = segments(packed)[0]
    said = backup_packed.fields(path.read_bytes()[:4096])
    overwrite(path, said.index_offset + 20, b"DAMAGE")
    assert {each["kind"] for each in streamstore.verify(packed).damage} == {"index"}
    repaired(packed, before, 0)


@pytest.mark.parametrize("offset", [40, 50, 3970, 4000])
def test_a_header_of_a_compacted_segment_is_put_right(packed, offset):
    """One wrong byte is found by the check."""
    before = records(packed)
    overwrite(segments(packed)[0], offset, bytes([segments(packed)[0].read_bytes()[offset] ^ 0x21]))
    repaired(packed, before, 0)


def test_an_open_store_is_not_repaired(place):
    """Whoever has it open would not know."""
    overwrite(segments(place)[0], 6000, b"DAMAGE")
    with streamstore.open(place), pytest.raises(errors.StorageError, match="has the store open"):
        streamstore.repair(place)


def test_a_snapshot_shares_no_repair(place, tmp_path):
    """Links to the same file elsewhere keep what they had."""
    overwrite(segments(place)[0], 6000, b"DAMAGE")
    with streamstore.open(place) as store:
        store.snapshot(tmp_path / "copy")
    raw = segments(tmp_path / "copy")[0].read_bytes()
    assert streamstore.repair(place).damage == []
    assert segments(tmp_path / "copy")[0].read_bytes() == raw
    assert streamstore.verify(tmp_path / "copy").damage


STEPS = ("fsync", "link", "rename", "pwrite", "unlink", "makedirs", "ftruncate")


def test_a_killed_repair_is_taken_up_by_the_next(place, tmp_path):
    """At whatever step it dies: the next one ends it, and loses no more than the first would have."""
    before = records(place)
    overwrite(segments(place)[0], 6000, b"DAMAGE")
    overwrite(place / "catalog" / "000000000001.seg", 4096 + 60, b"DAMAGE")
    segments(place, 1)[0].unlink()
    step, done = 1, False
    expected = None
    while not done:
        copy = tmp_path / f"copy{step}"
        shutil.copytree(place, copy)
        done = ended(partial(streamstore.repair, copy), step, STEPS)
        assert streamstore.repair(copy).damage == []
        after = records(copy)
        assert after.items() <= before.items()
        expected = expected or after
        assert after == expected
        shutil.rmtree(copy)
        step += 11
    assert step > 40


def test_the_verb_shows_the_plan_and_does_it_when_told(place):
    """Without --yes nothing is changed; the exit code says whether damage is left."""
    assert run("repair", place).code == 0
    overwrite(segments(place)[0], 6000, b"DAMAGE")
    shown = run("repair", place)
    assert shown.code == 4
    assert "--yes" in shown.err
    assert "lost: 1 records of clicks shardId-000000000000" in shown.text
    assert run("verify", place).code == 4
    done = run("repair", place, "--yes", "--json")
    assert done.code == 0
    assert done.json["damage"] == []
    assert run("verify", place).code == 0
    assert "nothing to repair" in run("repair", place, "--yes").err
