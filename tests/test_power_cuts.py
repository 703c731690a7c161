"""Power cuts, simulated: the short run of `make cuts`, and what it found, each told by hand."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from cuts import seam

import streamstore

HEADER_SIZE = 4096
IMAGES = 2000


def test_nothing_is_lost_however_the_power_goes(tmp_path):
    """Images of short stories and long ones, and of cuts within recoveries, keep every promise."""
    if not shutil.which(os.environ.get("CC", "gcc")):
        pytest.skip("no C compiler")
    library = seam.build(tmp_path)
    base = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else tmp_path
    options = ["--images", str(IMAGES), "--seed", "4", "--base", str(base), "--figures", str(tmp_path)]
    command, environment = seam.preloaded("cuts", [*options, "--build", str(tmp_path)], library)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    told = json.loads((tmp_path / "cuts.json").read_text())
    assert told["cases"] >= IMAGES
    assert told["records"] > IMAGES
    assert told["lost"] == told["damaged"] == told["duplicated"] == 0


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def intact(path: Path, wanted: list[bytes]) -> None:
    """The store gives these records and none besides, goes on, and nothing in it counts as damage."""
    with streamstore.open(path, maintenance=False) as store:
        stream = store.stream("s")
        assert [record.data for record in stream.read()] == wanted
        assert stream.log(0).recovery()["damage_bytes"] == 0
        stream.put_record(b"after", "k")
        assert [record.data for record in stream.read()] == [*wanted, b"after"]
    assert streamstore.verify(path).damage == []


@pytest.mark.parametrize("word", [24, 64, 72, 80, 112, 152])
def test_a_header_torn_within_its_sector_hides_nothing(tmp_path, word):
    """A new segment's header is being written when the power goes: seven of the eight words of its first line reached
    the disk. It has its magic, its check and its description, and was taken for one that was committed and then
    damaged, so that the log could not be opened. Nothing stands behind it: it hides nothing.
    """
    with streamstore.open(tmp_path / "store", maintenance=False) as store:
        stream = store.create_stream("s", durability="process")
        stream.put_record(b"before", "k")
        stream.log(0).roll()
    os.unlink(tmp_path / "store" / "control")
    overwrite(tmp_path / "store" / "streams" / "1" / "0" / "000000000002.seg", word, bytes(8))
    intact(tmp_path / "store", [b"before"])


def test_what_was_trimmed_may_come_back_in_part(tmp_path):
    """A stream of three segments is cleared, and a batch put that the power cut tears. Of the two unlinks one had
    reached the disk, the younger: between the first segment, which is back, and the third there is a gap. It was taken
    for durable data gone, and the search for what stands behind it jumped over the torn batch, which so became damage.
    """
    segments = tmp_path / "store" / "streams" / "1" / "0"
    with streamstore.open(tmp_path / "store", maintenance=False) as store:
        stream = store.create_stream("s", durability="process")
        stream.put_record(b"first", "k")
        hints = (tmp_path / "store" / "control").read_bytes()  # the watermarks that the power cut left
        stream.log(0).roll()
        stream.put_record(b"second", "k")
        stream.log(0).roll()
        kept = (segments / "000000000001.seg").read_bytes()
        stream.clear()
        stream.put_records([(b"torn %d" % n, "k") for n in range(12)])
        begin = stream.log(0).state().segment_base
        shutil.copytree(tmp_path / "store", tmp_path / "cut")
    segments = tmp_path / "cut" / "streams" / "1" / "0"
    (tmp_path / "cut" / "control").write_bytes(hints)
    (segments / "000000000001.seg").write_bytes(kept)
    newest = max(segments.iterdir())
    assert begin > 64
    overwrite(newest, HEADER_SIZE, bytes(8))  # the first frame's first word: its check and its length
    intact(tmp_path / "cut", [])


def indexed(path: Path) -> tuple[Path, int]:
    """A store with a sealed segment that has its index; the file, and where the index stands."""
    with streamstore.open(path, maintenance=False) as store:
        stream = store.create_stream("s", durability="sync")
        for n in range(3):
            stream.put_record(b"%d" % n, "k")
        stream.log(0).roll()
    with streamstore.open(path, maintenance=False) as store:
        store.stream("s").put_record(b"3", "k")
    file = path / "streams" / "1" / "0" / "000000000001.seg"
    return file, file.read_bytes().index(b"SSIDX")


@pytest.mark.parametrize("word", [0, 1, 2, 3, 4, 5, 6, 8])
def test_an_index_that_was_being_written_is_no_damage(tmp_path, word):
    """The index of a sealed segment is a hint that nobody syncs: the power cut took one word of it, and verify called
    that damage in a store in which nothing was lost.
    """
    file, at = indexed(tmp_path / "store")
    overwrite(file, at + 8 * word, bytes(8))
    assert streamstore.verify(tmp_path / "store").damage == []


def test_an_index_is_not_written_over_what_was_cut_away(tmp_path):
    """A torn batch ends a segment, and the frames of it that hold stay where they are, cut away. The index of what is
    before them was written over them; a cut that tore it left words of both, in which no zero said that it was torn.
    """
    with streamstore.open(tmp_path / "store", maintenance=False) as store:
        stream = store.create_stream("s", durability="process")
        stream.put_record(b"before", "k")
        store.flush()
        stream.put_records([(b"torn %d" % n, "k") for n in range(12)])
        shutil.copytree(tmp_path / "store", tmp_path / "cut")
    file = tmp_path / "cut" / "streams" / "1" / "0" / "000000000001.seg"
    at = file.read_bytes().index(b"torn 0") - 48
    overwrite(file, at // 8 * 8, bytes(8))
    left = file.read_bytes()[at // 8 * 8 :].rstrip(b"\0")
    intact(tmp_path / "cut", [b"before"])
    with streamstore.open(tmp_path / "cut", maintenance=False) as store:
        store.flush()
    assert file.read_bytes()[at // 8 * 8 :].rstrip(b"\0") == left


def test_an_expired_shard_may_come_back_in_part(tmp_path):
    """A shard that was split falls out of retention whole: its files go, then its directory. Of that the power cut left
    the directory alone, and hints that knew of the files. Nobody reads the shard any more, but verify called it lost.
    """
    with streamstore.open(tmp_path / "store", maintenance=False) as store:
        stream = store.create_stream("s", durability="process")
        stream.put_record(b"past retention", "k")
        stream.split_shard(stream.shards()[0].id)
        hints = (tmp_path / "store" / "control").read_bytes()
        store.catalog.publish("alter", stream.info, set={"retention_us": 1})
        stream.horizon.forget()
        assert store.maintain().expired_shards == 1
        store.catalog.publish("alter", stream.info, set={"retention_us": 0})
        shutil.copytree(tmp_path / "store", tmp_path / "cut")
    (tmp_path / "cut" / "control").write_bytes(hints)
    (tmp_path / "cut" / "streams" / "1" / "0").mkdir()
    assert streamstore.verify(tmp_path / "cut").damage == []


def test_an_index_behind_which_nothing_is_left_is_no_damage(tmp_path):
    """A segment is sealed and has its index, and the power goes before the directory says that the next one is there:
    whoever made it died, or could not sync the directory, and the index was written by the next process. Behind the
    last frame stood something that was no frame and no zeros, and was taken for damage to records that never were.
    """
    with streamstore.open(tmp_path / "store", maintenance=False) as store:
        stream = store.create_stream("s", durability="sync")
        for n in range(3):
            stream.put_record(b"%d" % n, "k")
        hints = (tmp_path / "store" / "control").read_bytes()  # the watermarks that the power cut left
        stream.log(0).roll()
    with streamstore.open(tmp_path / "store", maintenance=False) as store:
        store.stream("s").put_record(b"3", "k")
    segments = tmp_path / "store" / "streams" / "1" / "0"
    assert b"SSIDX" in (segments / "000000000001.seg").read_bytes()
    for behind in sorted(segments.iterdir())[1:]:
        behind.unlink()
    (tmp_path / "store" / "control").write_bytes(hints)
    intact(tmp_path / "store", [b"0", b"1", b"2"])
