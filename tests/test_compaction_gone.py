"""Compaction of segments that somebody else trims, replaces or deletes meanwhile: passed over, and told nobody."""

from __future__ import annotations

import os
import shutil

import streamstore
from streamstore import compaction
from streamstore.compaction import Compactor

EVER = 1 << 60


def filled(path):
    """A store with a stream of four sealed segments of 1,000 records, and one record more."""
    with streamstore.open(path, maintenance=False) as store:
        stream = store.create_stream("s", 1)
        for first in range(0, 4000, 1000):
            stream.put_records([(b"%d: a line like many others" % (first + n), "k") for n in range(1000)])
            stream.log(0).roll()
        stream.put_record(b"the last", "k")
        store.flush()
        return os.path.join(store.attachment.stream_directory(stream.info.id), "0")


def compact(stream, **options):
    """One look of a process that never looked before."""
    return Compactor(rate=0).compact(stream.log(0), now_us=EVER, after_us=0, size_max=64 << 20, **options)


def test_segments_that_are_trimmed_in_the_middle_of_the_work_are_passed_over(tmp_path, monkeypatch):
    """What is left is compacted the next time."""
    monkeypatch.setattr(compaction, "_PACK_BLOCKS", 1)
    filled(tmp_path)
    with streamstore.open(tmp_path, maintenance=False) as store:
        stream = store.stream("s")
        log = stream.log(0)
        bases, trimmed = [segment.base for segment in log.segments()], []

        def progress(size):
            if not trimmed:
                trimmed.append(log.trim(bases[2]))

        done = compact(stream, progress=progress)
        assert trimmed[0] > 0
        assert (done.files, done.left_alone) == (0, [])
        again = compact(stream)
        assert (again.segments, again.files) == (2, 1)
        assert len(list(stream.read())) == 2001


def test_a_source_that_cannot_be_opened_any_more_is_no_change_of_settings(tmp_path, monkeypatch):
    """A segment that was just sealed has no descriptor: its file went before the pack looked into it."""
    filled(tmp_path)
    with streamstore.open(tmp_path, maintenance=False) as store:
        stream = store.stream("s")
        begin, seen = compaction.Compactor._write, []

        def write(packing, *arguments):
            seen.append(packing)
            packing._call(lambda: streamstore.native.packing.CHANGED)  # what the core says then
            return begin(packing, *arguments)

        monkeypatch.setattr(compaction.Compactor, "_write", staticmethod(write))
        done = compact(stream)
        assert len(seen) == 1
        assert (done.files, done.left_alone) == (0, [])


def test_a_shard_whose_directory_goes_between_the_look_and_the_work_is_passed_over(tmp_path, monkeypatch):
    """A closed shard expired meanwhile."""
    directory = filled(tmp_path)
    with streamstore.open(tmp_path, maintenance=False) as store:
        stream = store.stream("s")
        begin = type(stream.log(0)).pack

        def pack(log, first, last):
            shutil.rmtree(directory)
            return begin(log, first, last)

        monkeypatch.setattr(type(stream.log(0)), "pack", pack)
        assert compact(stream).files == 0


def test_what_another_process_left_is_removed_by_one_that_looked_before(tmp_path):
    """A compactor asks each time: others may have died since it asked last."""
    directory = filled(tmp_path)
    with streamstore.open(tmp_path, maintenance=False) as store:
        compactor = Compactor(rate=0)
        options = {"now_us": EVER, "after_us": -1, "size_max": 64 << 20}
        compactor.compact(store.stream("s").log(0), **options)
        left = os.path.join(directory, "000000000003.seg.new")
        with open(left, "wb") as file:
            file.write(b"half a segment")
        compactor.compact(store.stream("s").log(0), **options)
        assert not os.path.exists(left)
