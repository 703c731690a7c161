"""Encrypted streams in several processes: writers that were bound before, forks, pickles, starters that die."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
import textwrap
import time

import pytest
from found_on_disk import KEY, SECRET, on_disk
from model import format as v1

import streamstore
from streamstore import errors

pytest.importorskip("cryptography", reason="the extra crypto is not installed")

WRITER = """
    with streamstore.open(sys.argv[1], create=False, key_ring=sys.argv[2]) as store:
        stream = store.stream("s")
        print("ready", flush=True)
        for turn in range(1_000_000):
            word = f"{sys.argv[3]}-secret-{turn:07d}-".encode()
            if turn % 3 == 0:
                stream.put_record(word, f"k{turn % 7}")
            elif turn % 3 == 1:
                stream.put_records([(word, f"k{turn % 7}"), (word, f"k{turn % 5}")])
            else:
                stream.shards()[turn % 3].append([(word, "k")])
            if turn % 50 == 0:
                print(turn, flush=True)
"""


def start_writer(*arguments):
    return subprocess.Popen(
        [sys.executable, "-c", "import sys, streamstore\n" + textwrap.dedent(WRITER), *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


def plain_turns(directory):
    """By writer, the turns of which something stands in plain on disk."""
    found = {}
    for path in directory.rglob("*.seg"):
        for who, turn in re.findall(rb"([ab])-secret-(\d{7})-", path.read_bytes()):
            found.setdefault(who, set()).add(int(turn))
    return found


def reached(stream):
    """By writer, the newest turn of those that were written last."""
    found = {}
    for record in stream.last(400):
        who, _, turn, _ = record.data.split(b"-")
        found[who] = max(found.get(who, 0), int(turn))
    return found


def go_on(stream):
    """Wait until both writers have written some more."""
    began = reached(stream)
    while not all(reached(stream).get(who, 0) > began.get(who, 0) + 20 for who in (b"a", b"b")):
        time.sleep(0.01)


def test_writers_of_other_processes_obey_at_once(tmp_path, ring):
    """Two writers at full speed: from the return of start_encryption on nothing more gets in in plain, and from that of
    stop_encryption on nothing sealed; they meet no error, and nothing is lost or twice.
    """
    directory = tmp_path / "data"
    with streamstore.open(directory, key_ring=ring, durability="process") as store:
        stream = store.create_stream("s", 3)
        writers = [start_writer(directory, ring, who) for who in ("a", "b")]
        try:
            for writer in writers:
                assert writer.stdout.readline() == "ready\n"
                assert writer.stdout.readline() == "0\n"
            for _ in range(3):
                stream.start_encryption()
                before = plain_turns(directory / "streams")
                assert set(before) == {b"a", b"b"}
                go_on(stream)
                stream.rotate_key()
                go_on(stream)
                assert plain_turns(directory / "streams") == before
                stream.stop_encryption()
                go_on(stream)
                after = plain_turns(directory / "streams")
                assert all(len(after[who]) > len(before[who]) for who in before)
        finally:
            for writer in writers:
                assert writer.poll() is None, "a writer died"
                writer.kill()
                writer.communicate()
        per_writer = {}
        for record in stream.read(merge=True):
            who, _, turn, _ = record.data.split(b"-")
            per_writer.setdefault(who, []).append(int(turn))
        for turns in per_writer.values():
            expected = []
            for turn in range(max(turns) + 1):
                expected += [turn] * (2 if turn % 3 == 1 else 1)
            assert sorted(turns)[: len(expected) - 2] == expected[: len(expected) - 2]  # the last may have been cut


def test_a_writer_bound_before_a_crash_of_the_starter_is_held_to_it(tmp_path, ring, monkeypatch):
    """Who starts encryption dies between the catalog and the logs: the next who binds makes everybody bind anew."""
    directory = tmp_path / "data"
    with (
        streamstore.open(directory, key_ring=ring, durability="process") as one,
        streamstore.open(directory, key_ring=ring) as two,
    ):
        old = one.create_stream("s")
        old.put_record(b"bound in plain", "k")
        with monkeypatch.context() as patched:
            patched.setattr("streamstore.encryption._hold", lambda stream, info: None)
            two.stream("s").start_encryption()
        two.stream("s").put_record(SECRET, KEY)
        old.put_record(SECRET, KEY)
        assert on_disk(directory, SECRET, KEY.encode()) == set()
        assert [record.data for record in old.read()] == [b"bound in plain", SECRET, SECRET]


def test_what_a_stream_says_of_its_encryption_holds_for_the_next_put(tmp_path, ring, monkeypatch):
    """Who stops it dies between the catalog and the logs: a writer that is told "in plain" does not encrypt on."""
    directory = tmp_path / "data"
    with (
        streamstore.open(directory, key_ring=ring, durability="process") as one,
        streamstore.open(directory, key_ring=ring) as two,
    ):
        told = one.create_stream("s")
        for change, enabled in (("start_encryption", True), ("stop_encryption", False)):
            told.put_record(b"bound before", "k")
            with monkeypatch.context() as patched:
                patched.setattr("streamstore.encryption._hold", lambda stream, info: None)
                getattr(two.stream("s"), change)()
            assert told.encryption.enabled is enabled
            told.put_record(b"as it was told: " + change.encode(), "k")
        told.put_record(b"last", "k")
        one.flush()
        assert on_disk(directory, b"as it was told: start_encryption") == set()
        assert on_disk(directory, b"as it was told: stop_encryption") != set()


def test_a_compare_and_append_is_encrypted_too(tmp_path, crypted):
    """append with an expected tail, before and after a change of settings."""
    stream = crypted.create_stream("s")
    shard = stream.shards()[0]
    tail = shard.tail
    stream.start_encryption()
    shard.append([(SECRET, KEY)], expected_tail=tail)
    with pytest.raises(errors.TailMismatchError):
        shard.append([(SECRET, KEY)], expected_tail=tail)
    stream.rotate_key()
    shard.append([(SECRET, KEY)], expected_tail=shard.tail)
    assert [record.data for record in shard.read()] == [SECRET, SECRET]
    assert on_disk(tmp_path / "data", SECRET, KEY.encode()) == set()


def test_a_forked_child_reads_and_writes(tmp_path, crypted):
    """The keys are there in the child, and its nonces are its own."""
    stream = crypted.create_stream("s")
    stream.start_encryption()
    stream.put_record(SECRET + b" parent", KEY)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            stream.put_record(SECRET + b" child", KEY)
            status = 0 if len(list(stream.read())) >= 2 else 2
        finally:
            os._exit(status)  # whatever happened: a second pytest must not go on from here
    stream.put_record(SECRET + b" again", KEY)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(list(stream.read())) == 3
    (path,) = (tmp_path / "data/streams").rglob("*.seg")
    _, frames, _ = v1.decode_segment(path.read_bytes())
    nonces = [frame.seal[4:16] for frame in frames if frame.seal]
    assert len(set(nonces)) == len(nonces) == 3


def test_a_store_unpickles_with_its_ring(crypted):
    """The ring goes by reference."""
    stream = crypted.create_stream("s")
    stream.start_encryption()
    stream.put_record(SECRET, KEY)
    with pickle.loads(pickle.dumps(crypted)) as other:
        again = pickle.loads(pickle.dumps(stream))
        assert [record.data for record in again.read()] == [SECRET]
        again.put_record(SECRET, KEY)
        assert [record.data for record in other.stream("s").read()] == [SECRET, SECRET]


def test_a_snapshot_and_what_is_restored_from_it_need_the_same_ring(tmp_path, ring, crypted):
    """Neither copy says anything in plain; with the ring both read, and the restored one goes on writing."""
    stream = crypted.create_stream("s", 2)
    stream.start_encryption()
    stream.put_records([(SECRET + b" %d" % number, f"{KEY} {number}") for number in range(50)])
    expected = sorted(record.data for record in stream.read())
    crypted.snapshot(tmp_path / "copy")
    streamstore.restore(tmp_path / "copy", tmp_path / "again")
    for directory in ("copy", "again"):
        assert on_disk(tmp_path / directory, SECRET, KEY.encode()) == set()
        assert streamstore.verify(tmp_path / directory).damage == []
    with streamstore.open(tmp_path / "again", key_ring=ring) as again:
        found = again.stream("s")
        assert sorted(record.data for record in found.read()) == expected
        found.put_record(SECRET, KEY)
        found.rotate_key()
        found.put_record(SECRET, KEY)
        assert len(list(found.read())) == 52
    assert on_disk(tmp_path / "again", SECRET, KEY.encode()) == set()
    with streamstore.open(tmp_path / "again") as again, pytest.raises(errors.KeyUnavailableError):
        list(again.stream("s").read())


def test_a_catalog_made_again_from_segments_still_has_the_keys(tmp_path, ring):
    """The wrapped keys stand in segment headers too: repair finds them there."""
    directory = tmp_path / "data"
    with streamstore.open(directory, key_ring=ring) as store:
        stream = store.create_stream("s")
        stream.start_encryption()
        stream.put_record(SECRET, KEY)
    for path in (directory / "catalog").iterdir():
        path.unlink()
    streamstore.repair(directory)
    with streamstore.open(directory, key_ring=ring) as store:
        (name,) = store.list_streams()
        assert [record.data for record in store.stream(name).read()] == [SECRET]


def test_encrypted_streams_are_split_and_merged(tmp_path, crypted):
    """Children are encrypted as their parents were, for writers that were bound before as well."""
    stream = crypted.create_stream("s", 2)
    stream.start_encryption()
    for count in (5, 1, 3):
        stream.put_records([(SECRET, f"{KEY} {number}") for number in range(20)])
        stream.update_shard_count(count)
    stream.put_records([(SECRET, f"{KEY} {number}") for number in range(20)])
    assert [record.data for record in stream.read()] == [SECRET] * 80
    assert on_disk(tmp_path / "data", SECRET, KEY.encode()) == set()
