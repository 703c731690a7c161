"""Backup of encrypted streams: nothing of it needs a key, and with one verify looks behind the checks."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import xxhash

import streamstore
from streamstore.backup import layout

pytest.importorskip("cryptography", reason="the extra crypto is not installed")


@pytest.fixture
def place(tmp_path: Path, ring: str) -> Path:
    """A closed store with an encrypted stream of a hundred records, under two data keys."""
    with streamstore.open(tmp_path / "store", key_ring=ring, durability="process") as store:
        stream = store.create_stream("s")
        stream.start_encryption()
        stream.put_records([(b"secret %d" % number, "k") for number in range(50)])
        stream.rotate_key()
        stream.put_records([(b"secret %d" % number, "k") for number in range(50, 100)])
    return tmp_path / "store"


def data_of(path: Path, ring: str) -> list[bytes]:
    with streamstore.open(path, create=False, key_ring=ring) as store:
        return [record.data for record in store.stream("s").read()]


def test_a_snapshot_and_a_restore_need_no_key(place, tmp_path, ring):
    """Whoever has the key reads them as they read the original."""
    with streamstore.open(place) as store:
        store.snapshot(tmp_path / "copy")
    streamstore.restore(tmp_path / "copy", tmp_path / "restored")
    expected = [b"secret %d" % number for number in range(100)]
    assert data_of(tmp_path / "copy", ring) == expected
    assert data_of(tmp_path / "restored", ring) == expected


def test_a_lost_catalog_takes_no_key_along(tmp_path, ring):
    """The wrapped data keys that there were when a segment was begun are in it too."""
    with streamstore.open(tmp_path / "data", key_ring=ring, durability="process") as store:
        stream = store.create_stream("s")
        stream.start_encryption()
        stream.put_record(b"secret", "k")
    lose_the_catalog(tmp_path / "data")
    assert streamstore.repair(tmp_path / "data").damage == []
    assert data_of(tmp_path / "data", ring) == [b"secret"]


def test_a_lost_event_takes_no_key_along(tmp_path, ring):
    """Of a catalog the event that told of the key is lost, and the one that made the stream is not. The stream came
    back as one in plain: what was encrypted could not be read, and what came would have been written for all to see.
    """
    with streamstore.open(tmp_path / "data", key_ring=ring, durability="process") as store:
        stream = store.create_stream("s")
        stream.put_record(b"in plain", "k")
        stream.start_encryption()
        stream.put_record(b"secret", "k")
    (catalog,) = (tmp_path / "data" / "catalog").iterdir()
    raw = bytearray(catalog.read_bytes())
    raw[raw.index(b"key_id", raw.index(b"alter"))] ^= 1
    catalog.write_bytes(raw)
    assert streamstore.repair(tmp_path / "data").damage == []
    assert data_of(tmp_path / "data", ring) == [b"in plain", b"secret"]
    with streamstore.open(tmp_path / "data", key_ring=ring) as store:
        stream = store.stream("s")
        assert (stream.info.key_id, stream.info.terms) == (1, 1)
        stream.put_record(b"another secret", "k")
        assert stream.last(1)[0].data == b"another secret"
    assert not any(b"another secret" in file.read_bytes() for file in (tmp_path / "data").rglob("*.seg"))


@pytest.mark.parametrize("compacted", [False, True])
def test_every_key_is_found_in_the_segments(tmp_path, ring, compacted):
    """Each rotation begins segments that know its key, whoever writes; more keys than one description has room for."""
    path, put = tmp_path / "data", []
    with (
        streamstore.open(path, key_ring=ring, durability="process", maintenance=False) as store,
        streamstore.open(path, key_ring=ring, create=False, maintenance=False) as other,
    ):
        streams = [store.create_stream("s", 2), other.stream("s")]
        streams[0].put_record(b"in plain", "k")
        for turn in range(40):
            streams[turn % 3 % 2].rotate_key()
            for stream in streams:
                put += [b"%d" % (len(put) + n) for n in range(8)]
                stream.put_records([(data, data.decode()) for data in put[-8:]])
            if turn == 20:
                other.stream("s").log(0).roll()
                if compacted:
                    assert streams[0].compact(rate=0).left_alone == []
    lose_the_catalog(path)
    assert streamstore.repair(path).damage == []
    assert sorted(data_of(path, ring)) == sorted([b"in plain", *put])
    with streamstore.open(path, key_ring=ring) as store:
        stream = store.stream("s")
        assert 40 in [key.key_id for key in stream.encryption.keys]
        stream.put_record(b"goes on", "k")
        assert stream.last(1)[0].data == b"goes on"


def test_who_puts_no_record_writes_no_segment_for_a_key(tmp_path, ring):
    """A rotation makes no file; the first record under it makes one, and a reopened store goes on in it."""
    path = tmp_path / "data" / "streams" / "1" / "0"
    for turn in range(3):
        with streamstore.open(tmp_path / "data", key_ring=ring, durability="process") as store:
            stream = store.create_stream("s", exist_ok=True)
            stream.put_record(b"first", "k")
            assert len(list(path.glob("*.seg"))) == 1 + turn
            stream.rotate_key()
            stream.rotate_key()
            assert len(list(path.glob("*.seg"))) == 1 + turn
            stream.put_record(b"then", "k")
            stream.put_record(b"and then", "k")
            assert len(list(path.glob("*.seg"))) == 2 + turn


def lose_the_catalog(path: Path) -> None:
    shutil.rmtree(path / "catalog")
    (path / "control").unlink()


def test_without_the_key_verify_says_what_it_did_not_look_at(place, ring):
    """The checks hold all the same."""
    report = streamstore.verify(place)
    assert (report.damage, report.records) == ([], 100)
    assert "key is not here" in report.notes[0]
    assert streamstore.verify(place, key_ring=ring).notes == []


def test_a_record_changed_on_purpose_does_not_open(place, ring):
    """Its checks were made to fit, which without the key they alone can be."""
    path = min((place / "streams" / "1" / "0").glob("*.seg"))
    raw = bytearray(path.read_bytes())
    salt = layout.parse_header(bytes(raw[:4096])).salt
    size = int.from_bytes(raw[4100:4104], "little")
    raw[4096 + size - 16] ^= 1
    held = xxhash.xxh3_64_intdigest(bytes(raw[4100:4136]), salt)
    check = xxhash.xxh3_64_intdigest(bytes(raw[4144 : 4096 + size]), salt) ^ held
    raw[4136:4144] = check.to_bytes(8, "little")
    path.write_bytes(raw)
    assert streamstore.verify(place).damage == []
    (found,) = streamstore.verify(place, key_ring=ring).damage
    assert (found["kind"], found["begin"], found["end"]) == ("seal", 64, 64 + size)
