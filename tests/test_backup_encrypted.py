"""Backup of encrypted streams: nothing of it needs a key, and with one verify looks behind the checks."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import xxhash

import streamstore
from streamstore import key_file
from streamstore.backup import layout

pytest.importorskip("cryptography", reason="the extra crypto is not installed")


@pytest.fixture
def ring(tmp_path: Path) -> str:
    """The path of a key file."""
    key_file.create(str(tmp_path / "master.key"))
    return str(tmp_path / "master.key")


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
    shutil.rmtree(tmp_path / "data" / "catalog")
    (tmp_path / "data" / "control").unlink()
    assert streamstore.repair(tmp_path / "data").damage == []
    assert data_of(tmp_path / "data", ring) == [b"secret"]


def test_without_the_key_verify_says_what_it_did_not_look_at(place, ring):
    """The checks hold all the same."""
    report = streamstore.verify(place)
    assert (report.damage, report.records) == ([], 100)
    assert "key is not here" in report.notes[0]
    assert streamstore.verify(place, key_ring=ring).notes == []


def test_a_record_changed_on_purpose_does_not_open(place, ring):
    """Its checks were made to fit, which without the key they alone can be."""
    path = next((place / "streams" / "1" / "0").glob("*.seg"))
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
