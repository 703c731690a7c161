"""The catalog as a log: every handle follows it, compare-and-append changes it, a snapshot ends a long one."""

from __future__ import annotations

import threading

import pytest

import streamstore
from streamstore import errors, events, limits
from streamstore.values import LogOptions


def catalog_log(store):
    return store.attachment.log(0, 0, "catalog", LogOptions("sync", 0, 1 << 28, 0, 0, b""))


def test_a_change_is_seen_by_every_handle_at_once(tmp_path):
    """Two handles on one directory agree on the streams after every call."""
    with streamstore.open(tmp_path) as one, streamstore.open(tmp_path) as two:
        one.create_stream("a")
        assert two.list_streams() == ["a"]
        two.create_stream("b")
        two.delete_stream("a")
        assert one.list_streams() == ["b"]
        with pytest.raises(errors.StreamNotFoundError):
            one.stream("a")


def test_racing_creators_make_one_stream_each_name(tmp_path):
    """Handles that change the catalog at the same time lose nothing, and numbers are given once."""
    stores = [streamstore.open(tmp_path) for _ in range(4)]

    def work(store, who):
        for turn in range(10):
            store.create_stream(f"own-{who}-{turn}")
            store.create_stream(f"shared-{turn}", exist_ok=True)

    threads = [threading.Thread(target=work, args=(store, who)) for who, store in enumerate(stores)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = stores[0].list_streams()
    assert len(names) == 50
    ids = {name: stores[1].stream(name).info.id for name in names}
    assert len(set(ids.values())) == 50
    assert all(store.stream(name).info.id == ids[name] for store in stores for name in names)
    for store in stores:
        store.close()


def test_the_catalog_survives_a_reopen(tmp_path):
    """What was created is there with all its settings."""
    with streamstore.open(tmp_path) as store:
        made = store.create_stream("a", 3, 48, durability="process", max_record_size=100, segment_size=1 << 20).info
    with streamstore.open(tmp_path) as store:
        assert store.stream("a").info == made


def test_a_long_catalog_is_snapshotted_and_trimmed(tmp_path, monkeypatch):
    """Its log stays short, and a new handle needs only the snapshot."""
    monkeypatch.setattr(limits, "CATALOG_ROLL_SIZE", 4096)
    with streamstore.open(tmp_path) as store, streamstore.open(tmp_path) as follower:
        store.create_stream("kept", 2)
        for turn in range(60):
            store.create_stream(f"s{turn}")
            assert f"s{turn}" in follower.list_streams()
            store.delete_stream(f"s{turn}")
        state = catalog_log(store).state()
        assert state.start > 64
        assert state.tail - state.start < 3 * 4096
        assert follower.list_streams() == ["kept"]
        next_id = store.create_stream("next").info.id
    assert next_id == 62
    with streamstore.open(tmp_path) as store:
        assert store.list_streams() == ["kept", "next"]
        assert store.stream("kept").info.uniform == 2


def test_a_handle_that_sleeps_through_a_snapshot_catches_up(tmp_path, monkeypatch):
    """What it had folded was trimmed meanwhile; the snapshot replaces it."""
    with streamstore.open(tmp_path) as store, streamstore.open(tmp_path) as sleeper:
        store.create_stream("gone")
        assert sleeper.list_streams() == ["gone"]
        monkeypatch.setattr(limits, "CATALOG_ROLL_SIZE", 2048)
        store.delete_stream("gone")
        for turn in range(30):
            store.create_stream(f"s{turn}")
        assert sleeper.list_streams() == store.list_streams()
        assert "gone" not in sleeper.list_streams()


def test_an_event_of_a_later_version_is_refused(tmp_path):
    """A catalog that says more than this build understands is not half understood."""
    with streamstore.open(tmp_path) as store:
        store.create_stream("a")
        log = catalog_log(store)
        log.sync(log.append([(events.encode("teleport", id=1),)]).end_position)
        with pytest.raises(errors.FormatVersionError, match="teleport"):
            store.list_streams()
    with pytest.raises(errors.FormatVersionError), streamstore.open(tmp_path) as store:
        store.list_streams()


def test_account_and_region_are_part_of_the_key(tmp_path):
    """The same name in another account or region is another stream."""
    with streamstore.open(tmp_path) as here, streamstore.open(tmp_path, region="eu-west-1", account="1" * 12) as there:
        a = here.create_stream("s")
        b = there.create_stream("s")
        assert a.info.id != b.info.id
        assert here.list_streams() == there.list_streams() == ["s"]
        assert b.arn == "arn:aws:kinesis:eu-west-1:111111111111:stream/s"
        there.delete_stream("s")
        assert (here.list_streams(), there.list_streams()) == (["s"], [])


def test_a_read_only_handle_changes_nothing(tmp_path):
    """Creating and deleting need a writer."""
    with streamstore.open(tmp_path) as store:
        store.create_stream("a")
    with streamstore.open(tmp_path, read_only=True) as store:
        assert store.list_streams() == ["a"]
        for change in (lambda: store.create_stream("b"), lambda: store.delete_stream("a"), store.stream("a").clear):
            with pytest.raises(errors.ReadOnlyError):
                change()
