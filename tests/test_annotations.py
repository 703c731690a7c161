"""Plain values kept with a stream or with the store: durable, followed by all, no change lost to another."""

from __future__ import annotations

import threading

import pytest

import streamstore
from streamstore import errors, limits


def test_a_value_is_kept_with_its_stream_and_with_the_store(tmp_path):
    """It is there for every handle at once, and after a reopen; a name nobody used is None."""
    with streamstore.open(tmp_path) as store, streamstore.open(tmp_path) as other:
        stream = store.create_stream("s")
        assert stream.annotation("mine") is None
        assert stream.annotate("mine", lambda value: {"was": value}) == {"was": None}
        assert other.stream("s").annotation("mine") == {"was": None}
        store.annotate("color", lambda value: "green")
        assert other.annotation("color") == "green"
    with streamstore.open(tmp_path) as store:
        assert (store.stream("s").annotation("mine"), store.annotation("color")) == ({"was": None}, "green")
        store.annotate("color", lambda value: None)
        assert store.annotation("color") is None


def test_values_survive_the_snapshot_of_the_catalog(tmp_path, monkeypatch):
    """Once the catalog has rolled, both kinds are still there."""
    monkeypatch.setattr(limits, "CATALOG_ROLL_SIZE", 2000)
    with streamstore.open(tmp_path) as store:
        stream = store.create_stream("s")
        for count in range(100):
            stream.annotate("n", lambda value, count=count: count)
            store.annotate("m", lambda value, count=count: -count)
    with streamstore.open(tmp_path) as store:
        assert (store.stream("s").annotation("n"), store.annotation("m")) == (99, -99)


def test_no_change_is_lost_where_two_handles_race(tmp_path):
    """Each handle adds to what the other left, and a refusal changes nothing."""
    with streamstore.open(tmp_path) as one, streamstore.open(tmp_path) as two:
        one.create_stream("s")

        def add(store):
            for _ in range(20):
                store.stream("s").annotate("n", lambda value: (value or 0) + 1)

        threads = [threading.Thread(target=add, args=(store,)) for store in (one, two)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert one.stream("s").annotation("n") == 40
        with pytest.raises(ZeroDivisionError):
            one.stream("s").annotate("n", lambda value: 1 // 0)
        assert two.stream("s").annotation("n") == 40


def test_a_deleted_stream_has_no_values(store):
    """They go with it, also where a new stream has its name; it is found by its number no more."""
    stream = store.create_stream("s")
    stream.annotate("n", lambda value: 1)
    assert store.stream_by_id(stream.info.id) is stream
    store.delete_stream("s")
    assert store.create_stream("s").annotation("n") is None
    for call in (lambda: stream.annotation("n"), lambda: stream.annotate("n", lambda value: 2)):
        with pytest.raises(errors.StreamNotFoundError):
            call()
    with pytest.raises(errors.StreamNotFoundError):
        store.stream_by_id(stream.info.id)
