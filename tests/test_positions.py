"""Saved positions and seeks across what happens to a log meanwhile: deaths, copies, trims by other processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import streamstore


def run(code, *arguments):
    """What a Python process that runs `code` to its end says."""
    done = subprocess.run(
        [sys.executable, "-c", "import json, os, sys, streamstore\n" + textwrap.dedent(code), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    return done.stdout


def data(records):
    return [record.data for record in records]


def test_a_position_in_records_that_were_copied_repeats_none_of_them(tmp_path):
    """Recovery copies what is in doubt into a new segment under a new epoch; the records are still the same ones."""
    with streamstore.open(tmp_path) as store:
        store.create_stream("s", durability="process")
    told = run(
        """
        stream = streamstore.open(sys.argv[1], create=False).stream("s")
        for turn in range(10):
            stream.put_record(b"%d" % turn, "k")
        reader = stream.read()
        for _ in range(6):
            number = next(reader).sequence_number
        print(json.dumps([reader.position, number]), flush=True)
        os._exit(0)
        """,
        tmp_path,
    )
    os.unlink(tmp_path / "control")  # as after a loss of power: nothing says how far the log was durable
    position, number = json.loads(told)
    with streamstore.open(tmp_path) as store:
        stream = store.stream("s")
        assert data(stream.read(position)) == [b"6", b"7", b"8", b"9"]
        assert len([segment for segment in stream.shards()[0].segments() if segment.live]) == 1  # the copy
        stream.put_record(b"later", "k")
        assert data(stream.read(position)) == [b"6", b"7", b"8", b"9", b"later"]
        assert data(stream.shards()[0].read(after=number, limit=2)) == [b"6", b"7"]


def test_a_seek_by_time_holds_where_another_process_cleared(tmp_path):
    """The segments that this process knew are gone; the seek finds what is there now."""
    clear = """
        with streamstore.open(sys.argv[1], create=False) as store:
            store.stream("s").clear()
    """
    with streamstore.open(tmp_path) as store:
        stream = store.create_stream("s", durability="process")
        for turn in range(3):
            stream.put_record(b"%d" % turn, "k")
            run(clear, tmp_path)
            assert list(stream.read(1)) == []
        stream.put_record(b"x", "k")
        assert data(stream.read(1)) == [b"x"]


def test_a_log_in_doubt_recovers_where_all_of_the_doubt_was_cleared(tmp_path):
    """A process dies at the end of a clear, and the power with it: what is in doubt lies before the trim horizon."""
    with streamstore.open(tmp_path) as store:
        store.create_stream("s", durability="process")
    run(
        """
        stream = streamstore.open(sys.argv[1], create=False).stream("s")
        for turn in range(10):
            stream.put_record(b"%d" % turn, "k")
        stream.clear()
        stream.put_record(b"kept", "k")
        os._exit(0)
        """,
        tmp_path,
    )
    os.unlink(tmp_path / "control")
    with streamstore.open(tmp_path) as store:
        assert data(store.stream("s").read()) == [b"kept"]
        store.stream("s").put_record(b"later", "k")
        assert data(store.stream("s").read()) == [b"kept", b"later"]


def test_a_log_in_doubt_recovers_where_a_clear_was_cut_short(tmp_path):
    """The catalog says where the log begins; the files before it are still there."""
    with streamstore.open(tmp_path) as store:
        store.create_stream("s", durability="process")
    run(
        """
        stream = streamstore.open(sys.argv[1], create=False).stream("s")
        for turn in range(10):
            stream.put_record(b"%d" % turn, "k")
        publish = stream._home.catalog.publish
        stream._home.catalog.publish = lambda *event, **values: (publish(*event, **values), os._exit(0))
        stream.clear()
        """,
        tmp_path,
    )
    os.unlink(tmp_path / "control")
    with streamstore.open(tmp_path) as store:
        assert data(store.stream("s").read()) == []
        store.stream("s").put_record(b"later", "k")
        assert data(store.stream("s").read()) == [b"later"]


def test_the_last_records_are_the_last_that_can_be_seen(tmp_path):
    """A record that is published and not durable yet does not count among them."""
    with streamstore.open(tmp_path, maintenance=False) as store:
        stream = store.create_stream("s", durability="sync")
        for turn in range(10):
            stream.put_record(b"%d" % turn, "k")
        stream.log(0).append([(b"published", "k")])  # and not synced
        assert data(stream.last(3)) == [b"7", b"8", b"9"]
        assert data(stream.last(20)) == [b"%d" % turn for turn in range(10)]
        stream.log(0).append([(b"published", "k")] * 8)  # more than are asked for
        assert data(stream.last(3)) == [b"7", b"8", b"9"]


def test_a_shard_whose_first_segment_was_never_finished_is_cleared(tmp_path):
    """A directory and a header that a dead process left make no segment that a trim could look for."""
    with streamstore.open(tmp_path, maintenance=False) as store:
        stream = store.create_stream("s", durability="sync")
        os.makedirs(tmp_path / "streams" / str(stream.info.id) / "0")
        stream.clear()
        assert stream.log(0).trim(64) == 0
        stream.put_record(b"x", "k")
        assert data(stream.read()) == [b"x"]
