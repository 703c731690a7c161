"""Snapshots and restores: what is in them, what stays untouched, and what goes on meanwhile."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import threading
import time
from functools import partial
from pathlib import Path

import pytest
from dying_child import ended

import streamstore
from streamstore import errors
from streamstore.compaction import Compactor


def data_of(path: Path, name: str = "clicks") -> list[bytes]:
    with streamstore.open(path, create=False, read_only=True) as store:
        return [record.data for record in store.stream(name).read()]


def filled(store: streamstore.Store, count: int = 600, **options: object) -> streamstore.Stream:
    """A stream of two shards with several sealed segments in each."""
    stream = store.create_stream("clicks", 2, segment_size=131072, **options)
    for first in range(0, count, 50):  # a batch stands in one segment
        stream.put_records([(b"%06d" % number + bytes(994), f"key-{number}") for number in range(first, first + 50)])
    return stream


def inodes(path: Path) -> dict[str, int]:
    return {str(file.relative_to(path)): file.stat().st_ino for file in path.rglob("*.seg")}


@pytest.mark.parametrize("durability", ["sync", "interval", "process"])
def test_a_snapshot_holds_what_was_acknowledged_before_it(store, tmp_path, durability):
    """Whatever an acknowledgement waits for, what was acknowledged before the call is in it, and nothing later."""
    stream = filled(store, durability=durability)
    before = [record.data for record in stream.read()]
    made = store.snapshot(tmp_path / "copy")
    stream.put_record(b"later", "key-1")
    assert data_of(tmp_path / "copy") == before
    assert made.records == 600
    assert made.store_id == store.store_id


def test_sealed_segments_are_links_and_the_last_is_a_copy(store, tmp_path):
    """Links cost no space; the segment that both may write to is shared by none."""
    filled(store)
    store.snapshot(tmp_path / "copy")
    source, copy = inodes(Path(store.path)), inodes(tmp_path / "copy")
    shards = {name.rsplit("/", 1)[0] for name in copy if name.startswith("streams/")}
    assert len(shards) == 2
    for shard in shards:
        files = sorted(name for name in copy if name.startswith(shard + "/"))
        assert len(files) > 1
        assert all(copy[name] == source[name] for name in files[:-1])
        assert copy[files[-1]] != source.get(files[-1])


def test_a_snapshot_opens_clean_and_is_written_to_apart_from_its_source(store, tmp_path):
    """Its logs go on at once, each in a new segment; neither store sees what the other writes."""
    stream = filled(store)
    store.snapshot(tmp_path / "copy")
    with streamstore.open(tmp_path / "copy", create=False) as copy:
        twin = copy.stream("clicks")
        recovery = [twin.log(index).state() and twin.log(index).recovery() for index in range(2)]
        assert [(each["verdict"], each["in_place"], each["copied_bytes"]) for each in recovery] == [("A", 0, 0)] * 2
        twin.put_records([(b"in the copy" + bytes(900), f"key-{number}") for number in range(400)])
        stream.put_records([(b"in the source" + bytes(900), f"key-{number}") for number in range(400)])
        assert sum(record.data.startswith(b"in the copy") for record in twin.read()) == 400
        assert not any(record.data.startswith(b"in the source") for record in twin.read())
    assert not any(record.data.startswith(b"in the copy") for record in stream.read())
    assert sum(1 for _ in stream.read()) == sum(1 for _ in data_of(tmp_path / "copy")) == 1000


@pytest.mark.parametrize("make", ["snapshot", "restore"])
def test_a_log_that_ends_with_compressed_blocks_is_taken(tmp_path, make):
    """The newest segment had nothing in it, and a flipped byte hides it: the compressed one before it is the last. It
    was copied as if its positions were bytes of a file, which it was too short for.
    """
    with streamstore.open(tmp_path / "store", maintenance=False) as store:
        stream = store.create_stream("clicks", 1, segment_size=131072)
        stream.put_records([(b"%06d" % number + bytes(994), "key") for number in range(100)])
        stream.log(0).roll()
        assert stream.compact().segments == 1
    newest = max((tmp_path / "store").glob("streams/*/0/*.seg"))
    with open(newest, "r+b") as file:
        file.seek(200)
        byte = file.read(1)[0]
        file.seek(200)
        file.write(bytes([byte ^ 1]))
    if make == "restore":
        streamstore.restore(tmp_path / "store", tmp_path / "copy")
    else:
        with streamstore.open(tmp_path / "store", maintenance=False) as store:
            store.snapshot(tmp_path / "copy")
    with streamstore.open(tmp_path / "copy", create=False) as copy:
        copy.stream("clicks").put_record(b"behind it", "key")
    assert data_of(tmp_path / "copy") == [b"%06d" % number + bytes(994) for number in range(100)] + [b"behind it"]


def test_a_long_tail_is_sealed_and_linked(store, tmp_path):
    """What would take long to copy is not copied."""
    stream = store.create_stream("clicks")
    stream.put_records([(bytes(1000), "a")] * 3000)
    made = store.snapshot(tmp_path / "copy")
    assert made.copied_bytes < 100_000 < 3_000_000 < made.linked_bytes
    assert len(data_of(tmp_path / "copy")) == 3000


def test_a_store_without_its_control_file_still_opens(store, tmp_path):
    """The seeded hints are hints: a copy made by hand without them has the same records."""
    before = [record.data for record in filled(store, durability="process").read()]
    store.snapshot(tmp_path / "copy")
    (tmp_path / "copy" / "control").unlink()
    with streamstore.open(tmp_path / "copy") as copy:
        assert [record.data for record in copy.stream("clicks").read()] == before


def test_what_was_cleared_or_deleted_stays_so(store, tmp_path):
    """The new catalog says what was taken: nothing that was gone comes back."""
    stream = filled(store)
    stream.clear()
    stream.put_record(b"new", "key-1")
    store.create_stream("other")
    store.delete_stream("other")
    store.snapshot(tmp_path / "copy")
    assert data_of(tmp_path / "copy") == [b"new"]
    with streamstore.open(tmp_path / "copy") as copy:
        assert copy.list_streams() == ["clicks"]
        made = copy.create_stream("other")
        assert made.info.id > 2
        assert sorted(os.listdir(tmp_path / "copy" / "streams")) == ["1"]


def test_shards_that_another_process_made_are_taken(store, tmp_path):
    """What this handle knew of the stream before does not matter."""
    stream = store.create_stream("clicks")
    stream.put_record(b"before", "k")
    with streamstore.open(store.path) as other:
        twin = other.stream("clicks")
        twin.split_shard("shardId-000000000000", 1 << 127)
        twin.put_records([(b"after", f"key-{number}") for number in range(20)])
    store.snapshot(tmp_path / "copy")
    assert data_of(tmp_path / "copy") == [b"before"] + [b"after"] * 20
    assert streamstore.verify(tmp_path / "copy").records == 21


def test_all_accounts_are_taken(tmp_path):
    """A snapshot is of the directory, not of one view of it."""
    with (
        streamstore.open(tmp_path / "store") as mine,
        streamstore.open(tmp_path / "store", account="111111111111") as theirs,
    ):
        mine.create_stream("a").put_record(b"mine", "k")
        theirs.create_stream("a").put_record(b"theirs", "k")
        mine.snapshot(tmp_path / "copy")
    with streamstore.open(tmp_path / "copy", account="111111111111") as copy:
        assert [record.data for record in copy.stream("a").read()] == [b"theirs"]


def test_a_read_only_store_can_be_taken(store, tmp_path):
    """Nothing of the source is written, not even a roll."""
    filled(store)
    store.close()
    before = {str(path): path.stat().st_mtime_ns for path in Path(store.path).rglob("*") if path.is_file()}
    with streamstore.open(store.path, read_only=True) as source:
        source.snapshot(tmp_path / "copy")
    assert {path: os.stat(path).st_mtime_ns for path in before} == before
    assert len(data_of(tmp_path / "copy")) == 600


def test_a_file_system_without_links_gets_copies(store, tmp_path, monkeypatch):
    """Another device costs the space, and a note says so."""
    filled(store)

    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(errno.EXDEV, "no")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(os, "copy_file_range", refuse)
    made = store.snapshot(tmp_path / "copy")
    assert made.linked_bytes == 0
    assert "copied" in made.notes[0]
    assert len(data_of(tmp_path / "copy")) == 600


@pytest.mark.parametrize("what", ["file", "full", "inside", "itself"])
def test_a_target_that_is_taken_is_refused(store, tmp_path, what):
    """Nothing is written over, and no snapshot lies in its own source."""
    filled(store)
    target = tmp_path / "copy"
    if what == "file":
        target.write_text("mine")
    elif what == "full":
        (target / "sub").mkdir(parents=True)
    elif what == "inside":
        target = Path(store.path) / "copy"
    else:
        target = Path(store.path)
    with pytest.raises(errors.InvalidArgumentError):
        store.snapshot(target)
    assert not Path(f"{target}.partial").exists()


def test_somebody_elses_partial_is_left_alone(store, tmp_path):
    """Only what a snapshot left is removed."""
    (tmp_path / "copy.partial").mkdir()
    (tmp_path / "copy.partial" / "mine").write_text("mine")
    with pytest.raises(errors.ForeignFileError):
        store.snapshot(tmp_path / "copy")
    assert (tmp_path / "copy.partial" / "mine").read_text() == "mine"


def test_a_failure_leaves_nothing(store, tmp_path, monkeypatch):
    """A full disk in the middle: the error says so, and the half that was made is gone."""
    filled(store)

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(errors.StoreFullError):
        store.snapshot(tmp_path / "copy")
    assert not list(tmp_path.glob("copy*"))


def make_snapshot(source: str, target: Path) -> None:
    """A snapshot of a store that nobody has open."""
    with streamstore.open(source, create=False) as store:
        store.snapshot(target)


@pytest.mark.parametrize("make", [make_snapshot, streamstore.restore])
def test_a_kill_leaves_nothing_that_passes_for_a_store(store, tmp_path, make):
    """Killed at any step there is a whole store or none under the name, and the next try succeeds."""
    filled(store, 300)
    store.close()
    step, done = 1, False
    while not done:
        target = tmp_path / f"copy{step}"
        done = ended(partial(make, store.path, target), step, ("fsync", "link", "rename", "pwrite", "unlink", "mkdir"))
        if not target.exists():
            make_snapshot(store.path, target)
        assert len(data_of(target)) == 300
        assert not Path(f"{target}.partial").exists()
        shutil.rmtree(target)
        step += 3
    assert step > 15


def reshard(store: streamstore.Store, stream: streamstore.Stream) -> None:
    """Split the widest of few shards, merge two of many."""
    lineage = store.catalog.find(stream.info.key).lineage
    if len(lineage.open) < 5:
        low, high, index = max((lineage[index].hash_range + (index,) for index in lineage.open), key=_width)
        stream.split_shard(f"shardId-{index:012d}", (low + high) // 2)
    else:
        stream.merge_shards(*(f"shardId-{index:012d}" for index in lineage.open[1:3]))
    time.sleep(0.01)


def maintain(store: streamstore.Store, stream: streamstore.Stream) -> None:
    """Trim half of every shard and compact what is sealed of the rest."""
    for index in stream.written():
        log = stream.log(index)
        state = log.state()
        place = log.seek(state.start + (state.tail - state.start) // 2)
        store.catalog.publish("trim", stream.info, starts={index: place})
        log.trim(place)
        Compactor(rate=0).compact(log, now_us=1 << 60, after_us=0, size_max=1 << 22)
    time.sleep(0.005)


def make_and_delete(store: streamstore.Store, stream: streamstore.Stream) -> None:
    """Another stream comes and goes."""
    store.create_stream("other").put_record(b"x", "k")
    store.delete_stream("other")


def test_snapshots_while_everything_goes_on(store, tmp_path):
    """With writers, a trimmer that compacts, a resharder, a deleter: prefixes that have all acknowledged before."""
    stream = store.create_stream("clicks", 2, durability="process", segment_size=131072)
    stop = threading.Event()
    acknowledged = [0] * 4
    failures: list[BaseException] = []

    def guarded(work: object, *arguments: object) -> None:
        try:
            while not stop.is_set():
                work(*arguments)
        except BaseException as error:
            failures.append(error)

    def write(writer: int) -> None:
        number = acknowledged[writer] + 1
        stream.put_record(b"%d %d " % (writer, number) + bytes(800), f"writer-{writer}")
        acknowledged[writer] = number

    threads = [threading.Thread(target=guarded, args=(write, writer)) for writer in range(4)]
    others = (maintain, reshard, make_and_delete)
    threads += [threading.Thread(target=guarded, args=(work, store, stream)) for work in others]
    for thread in threads:
        thread.start()
    try:
        for turn in range(4):
            stop.wait(0.05)
            before = list(acknowledged)
            store.snapshot(tmp_path / f"copy{turn}")
            check_prefixes(tmp_path / f"copy{turn}", before)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures


def _width(shard: tuple[int, int, int]) -> int:
    return shard[1] - shard[0]


def check_prefixes(path: Path, acknowledged: list[int]) -> None:
    """What a writer put into a shard is there without a hole, up to at least what it had acknowledged."""
    with streamstore.open(path, create=False) as copy:
        seen: dict[tuple[int, str], list[int]] = {}
        for record in copy.stream("clicks").read():
            writer, number, _ = record.data.split(b" ", 2)
            seen.setdefault((int(writer), record.shard_id), []).append(int(number))
    assert streamstore.verify(path).damage == []
    for numbers in seen.values():  # what stood before was trimmed
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    for writer, number in enumerate(acknowledged):
        newest = [numbers[-1] for (who, _), numbers in seen.items() if who == writer]
        assert not newest or max(newest) >= number


# ---- restore ----


def test_a_restored_store_is_another_with_the_same_records(store, tmp_path):
    """Its id is new, records keep their numbers, and new ones come above all that were."""
    stream = filled(store)
    store.snapshot(tmp_path / "copy")
    made = streamstore.restore(tmp_path / "copy", tmp_path / "restored")
    numbers = [record.sequence_number for record in stream.read()]
    with streamstore.open(tmp_path / "restored", create=False) as restored:
        twin = restored.stream("clicks")
        assert restored.store_id == made.store_id != store.store_id
        assert [record.sequence_number for record in twin.read()] == numbers
        late = stream.put_record(b"late", "key-1")
        result = twin.put_record(b"new", "key-1")
        assert int(result.sequence_number) > int(late.sequence_number)
        position = stream.read().position
        with pytest.raises(errors.InvalidArgumentError):
            twin.read(position)
    assert len(data_of(tmp_path / "copy")) == 600


def test_a_restored_store_shares_nothing_with_its_source(store, tmp_path):
    """The source can go."""
    filled(store)
    store.snapshot(tmp_path / "copy")
    streamstore.restore(tmp_path / "copy", tmp_path / "restored")
    assert not set(inodes(tmp_path / "copy").values()) & set(inodes(tmp_path / "restored").values())
    shutil.rmtree(tmp_path / "copy")
    assert len(data_of(tmp_path / "restored")) == 600


def test_restoring_what_is_no_store_says_so(tmp_path):
    """A directory that does not exist, or has no store in it."""
    with pytest.raises(errors.StoreNotFoundError):
        streamstore.restore(tmp_path / "nothing", tmp_path / "restored")
    assert not (tmp_path / "restored").exists()


@pytest.mark.parametrize("verify", [True, False])
def test_a_damaged_snapshot_is_not_restored_unknowingly(store, tmp_path, verify):
    """The copy is checked before it takes its name."""
    filled(store)
    store.snapshot(tmp_path / "copy")
    file = min((tmp_path / "copy" / "streams" / "1" / "0").glob("*.seg"))
    raw = bytearray(file.read_bytes())
    raw[5000] ^= 1
    file.unlink()  # the source has it too
    file.write_bytes(raw)
    if verify:
        with pytest.raises(errors.CorruptRangeError):
            streamstore.restore(tmp_path / "copy", tmp_path / "restored")
        assert not list(tmp_path.glob("restored*"))
    else:
        streamstore.restore(tmp_path / "copy", tmp_path / "restored", verify=False)
        with pytest.raises(errors.CorruptRangeError):
            data_of(tmp_path / "restored")


def test_the_async_twin(store, tmp_path):
    """A snapshot off the event loop is the same."""
    filled(store)

    async def take() -> int:
        async with streamstore.aio.open(store.path) as twin:
            return (await twin.snapshot(tmp_path / "copy")).records

    assert asyncio.run(take()) == 600
    assert len(data_of(tmp_path / "copy")) == 600


def test_a_place_beyond_a_snapshot_is_no_place_in_it(store, tmp_path):
    """Both go on under one id and number their positions alike. Who saved a place in the source, behind the snapshot,
    and opens the copy with it gets all that the copy was given since, and nothing from the middle of it.
    """
    stream = store.create_stream("clicks", 1)
    stream.put_records([(b"%d" % number, "k") for number in range(10)])
    store.snapshot(tmp_path / "copy")
    stream.put_records([(b"only in the source", "k")] * 5)
    with stream.read() as reader:
        assert len(list(reader)) == 15
        saved = reader.position
    with streamstore.open(tmp_path / "copy", create=False) as copy:
        twin = copy.stream("clicks")
        later = [b"in the copy, of another size %d" % number for number in range(7)]
        twin.put_records([(data, "k") for data in later])
        assert [record.data for record in twin.read(saved)] == later
