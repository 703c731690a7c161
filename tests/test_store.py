"""Opening, creating, deleting, temporary stores, pickling, facts."""

from __future__ import annotations

import os
import pickle
import threading

import pytest

import streamstore
from streamstore import errors
from streamstore.native import attachment


def test_a_store_is_there_again_after_close(tmp_path):
    """Streams, records and settings."""
    with streamstore.open(tmp_path / "a" / "b") as store:
        store.create_stream("s", 2).put_record(b"x", "k")
    with streamstore.open(os.fsencode(tmp_path / "a" / "b"), create=False) as store:
        assert [record.data for record in store.stream("s").read()] == [b"x"]


@pytest.mark.parametrize("options", [{"create": False}, {"read_only": True}])
def test_a_typo_makes_no_store(tmp_path, options):
    """Opening what is not there says so, with the path, and leaves nothing behind."""
    with pytest.raises(errors.StoreNotFoundError, match="typo"):
        streamstore.open(tmp_path / "typo", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"durability": "eventually"}, errors.InvalidArgumentError),
        ({"durability": 1}, errors.InvalidTypeError),
        ({"account": "12"}, errors.InvalidArgumentError),
        ({"account": 12}, errors.InvalidTypeError),
        ({"region": "Über"}, errors.InvalidArgumentError),
        ({"sync_interval": 0}, errors.InvalidArgumentError),
        ({"sync_interval": "1"}, errors.InvalidTypeError),
    ],
)
def test_wrong_options_are_refused_before_anything_is_made(tmp_path, options, kind):
    """Nothing appears on disk."""
    with pytest.raises(kind):
        streamstore.open(tmp_path / "s", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_path_is_a_path():
    """And not a number."""
    with pytest.raises(errors.InvalidTypeError):
        streamstore.open(5)


@pytest.mark.parametrize(
    ("name", "options", "kind"),
    [
        ("", {}, errors.InvalidArgumentError),
        ("a b", {}, errors.InvalidArgumentError),
        ("a\n", {}, errors.InvalidArgumentError),
        ("x" * 129, {}, errors.InvalidArgumentError),
        (b"a", {}, errors.InvalidTypeError),
        ("a", {"shard_count": 0}, errors.InvalidArgumentError),
        ("a", {"shard_count": True}, errors.InvalidTypeError),
        ("a", {"retention_hours": 23}, errors.InvalidArgumentError),
        ("a", {"retention_hours": 8761}, errors.InvalidArgumentError),
        ("a", {"durability": "never"}, errors.InvalidArgumentError),
        ("a", {"max_record_size": (1 << 30) + 1}, errors.InvalidArgumentError),
        ("a", {"segment_size": 200_000}, errors.InvalidArgumentError),
        ("a", {"segment_size": 1 << 16}, errors.InvalidArgumentError),
    ],
)
def test_wrong_streams_are_refused(store, name, options, kind):
    """Names follow the service's pattern, numbers have ranges."""
    with pytest.raises(kind):
        store.create_stream(name, **options)
    assert store.list_streams() == []


@pytest.mark.parametrize("name", [".", "..", "...", "-", "_", "A.b-C_9", "x" * 128])
def test_every_legal_name_is_harmless(store, name):
    """Directories are numbers, so a name is only a name."""
    store.create_stream(name).put_record(b"x", "k")
    assert store.list_streams() == [name]
    assert [record.data for record in store.stream(name).read()] == [b"x"]
    assert sorted(os.listdir(os.path.join(store.path, "streams"))) == ["1"]


def test_a_name_is_taken_once(store):
    """exist_ok takes the stream as it is."""
    made = store.create_stream("s", 3)
    with pytest.raises(errors.StreamExistsError):
        store.create_stream("s")
    assert store.create_stream("s", 7, exist_ok=True) is made


def test_the_default_durability_is_the_stores(tmp_path):
    """It is stored with the stream: a later open with another default changes nothing."""
    with streamstore.open(tmp_path, durability="process") as store:
        store.create_stream("a")
        store.create_stream("b", durability="sync")
    with streamstore.open(tmp_path) as store:
        assert (store.stream("a").durability, store.stream("b").durability) == ("process", "sync")


def test_a_temporary_store_is_deleted():
    """Also when the block fails."""
    with streamstore.temporary(durability="process") as store:
        path = store.path
        assert store.create_stream("s").durability == "process"
    assert not os.path.exists(path)
    manager = streamstore.temporary()
    path = manager.__enter__().path
    error = RuntimeError("in the block")
    assert not manager.__exit__(RuntimeError, error, None)
    assert not os.path.exists(path)


def test_copies_of_a_store_share_one_handle(store):
    """Many pickles of one path and options cost one attachment in this process."""
    store.create_stream("s")
    copies = [pickle.loads(pickle.dumps(store)) for _ in range(5)]
    assert len({id(copy) for copy in copies}) == 1
    assert copies[0] is not store
    assert copies[0].list_streams() == ["s"]
    assert len(store.attachment.processes()) == 2
    copies[0].close()
    assert pickle.loads(pickle.dumps(store)).list_streams() == ["s"]


def test_a_pickle_of_a_store_that_is_gone_makes_no_new_one(tmp_path):
    """Unpickling touches nothing, and the first use says that there is no store."""
    with streamstore.open(tmp_path / "s") as store:
        frozen = pickle.dumps(store)
    for root, directories, files in os.walk(tmp_path / "s", topdown=False):
        for name in files:
            os.unlink(os.path.join(root, name))
        for name in directories:
            os.rmdir(os.path.join(root, name))
    os.rmdir(tmp_path / "s")
    copy = pickle.loads(frozen)
    with pytest.raises(errors.StoreNotFoundError):
        copy.list_streams()
    assert list(tmp_path.iterdir()) == []


def test_a_crash_in_the_middle_of_a_delete_is_finished_by_the_next_opener(tmp_path):
    """The event was written, the files are still there: they go at the next open."""
    with streamstore.open(tmp_path) as store:
        stream = store.create_stream("s", 3)
        number = stream.put_record(b"x", "k").sequence_number
        store.catalog.publish("delete", stream.info, epoch=store.attachment.epoch_counter())
    assert (tmp_path / "streams" / "1").exists()
    with streamstore.open(tmp_path) as store:
        assert not (tmp_path / "streams" / "1").exists()
        assert store.list_streams() == []
        assert store.catalog.refresh().deleting == {}
        assert int(store.create_stream("s").put_record(b"y", "k").sequence_number) > int(number)


def test_a_directory_of_something_else_is_left_alone(tmp_path):
    """A foreign manifest is an error, and nothing in the directory changes."""
    with streamstore.open(tmp_path / "s") as store:
        store.create_stream("a")
    names = {path.name for path in (tmp_path / "s").iterdir() if path.is_file()}
    manifest = next(name for name in sorted(names) if "manifest" in name.lower())
    (tmp_path / "s" / manifest).write_bytes(b"something else entirely" * 300)
    before = sorted(str(path) for path in (tmp_path / "s").rglob("*"))
    with pytest.raises(errors.FormatVersionError):
        streamstore.open(tmp_path / "s")
    assert sorted(str(path) for path in (tmp_path / "s").rglob("*")) == before


def test_stats_are_plain_values(store):
    """What `stat` shows: each log's ends and sizes, who is attached, what waits."""
    stream = store.create_stream("s", 3, durability="process")
    stream.put_record(b"x" * 100, "k")
    facts = store.stats()
    assert facts["store_id"] == store.store_id
    assert [process["pid"] for process in facts["processes"]] == [os.getpid()]
    (one,) = facts["streams"]
    assert (one["name"], one["shard_count"], one["record_count"]) == ("s", 3, 1)
    (shard,) = one["shards"]
    assert shard["tail"] - shard["start"] == shard["bytes"] > 100
    assert shard["dirty_bytes"] <= shard["bytes"]
    store.flush()
    assert store.stats("s")["streams"][0]["shards"][0]["dirty_bytes"] == 0
    with pytest.raises(errors.StreamNotFoundError):
        store.stats("typo")


def test_many_streams(tmp_path):
    """A thousand streams are listed, used and there again."""
    with streamstore.open(tmp_path, durability="process") as store:
        for turn in range(1000):
            store.create_stream(f"s{turn}")
        for turn in range(0, 1000, 50):
            store.stream(f"s{turn}").put_record(b"%d" % turn, "k")
    with streamstore.open(tmp_path) as store:
        assert len(store.list_streams()) == 1000
        for turn in range(0, 1000, 50):
            assert [record.data for record in store.stream(f"s{turn}").read()] == [b"%d" % turn]


def test_any_thread_may_use_a_store(store):
    """Puts of many threads through one handle are all there, in order per thread."""
    stream = store.create_stream("s", 2)

    def work(who):
        for turn in range(50):
            stream.put_record(b"%d" % turn, f"thread-{who}")

    threads = [threading.Thread(target=work, args=(who,)) for who in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    records = list(stream.read())
    assert len(records) == 400
    for who in range(8):
        assert [int(record.data) for record in records if record.partition_key == f"thread-{who}"] == list(range(50))


@pytest.mark.parametrize("failed", [errors.DurabilityUnknownError, errors.StaleHandleError])
def test_who_closes_is_told_that_the_last_sync_failed(tmp_path, monkeypatch, failed):
    """By close and by the end of a block, with all let go of; an exception that ended the block goes before it."""

    def close_fails(context, function, *arguments):
        call(context, function, *arguments)
        if context == "close":
            raise failed("the last sync failed")

    call = attachment.call
    monkeypatch.setattr(attachment, "call", close_fails)
    store = streamstore.open(tmp_path / "store", durability="process")
    store.create_stream("s").put_record(b"x", "k")
    with pytest.raises(failed):
        store.close()
    assert store.closed
    with pytest.raises(failed), streamstore.open(tmp_path / "store") as store:
        store.stream("s").put_record(b"x", "k")
    with pytest.raises(ZeroDivisionError), streamstore.open(tmp_path / "store"):
        raise ZeroDivisionError
