"""Settings of a queue that is in use: who follows a change, and who makes a queue that another makes too."""

from __future__ import annotations

import pytest

import streamstore
from streamstore import clock, errors
from streamstore.queue import attach


@pytest.fixture
def store(tmp_path):
    with streamstore.open(tmp_path / "store", durability="process") as made:
        yield made


def test_what_is_configured_holds_in_every_opening_at_once(store):
    """Visibility and receives, for what is received from then on; what is in flight keeps what it had."""
    queue = store.queue("jobs", visibility=5)
    queue.put_many([1, 2, 3])
    with streamstore.open(store.path) as other:
        twin = other.open_queue("jobs")
        before = twin.get()
        queue.configure(visibility=0, max_receive_count=1)
        assert twin.get().body == 2  # this one tells it
        assert (twin.settings.visibility_us, twin.settings.max_receive_count) == (0, 1)
        assert twin.get().body == 3
        assert [letter.body for letter in twin.dead_letters] == [3]
        assert queue.stats()["in_flight"] == 2
        assert queue.engine.journal.state.live[before.name].deadline_us > clock.boot_us()


def test_a_snapshot_of_the_deliveries_makes_settings_be_looked_at(store):
    """Who fell behind a cut of the delivery log did not see the event that says so."""
    queue = store.queue("jobs", visibility=5)
    with streamstore.open(store.path) as other:
        twin = other.open_queue("jobs")
        assert twin.empty()
        queue.configure(visibility=7)
        with queue.engine.journal.lock:
            queue.engine.journal.roll()
        assert twin.empty()
        assert twin.settings.visibility_us == 7_000_000


def test_of_two_who_make_a_queue_over_a_stream_one_is_refused(store, monkeypatch):
    """Also where both looked before either had made it."""
    store.create_stream("s")
    store.create_queue("q", stream="s")
    monkeypatch.setattr(attach, "_find", lambda store, name: None)
    with pytest.raises(errors.StreamExistsError):
        store.create_queue("q", stream="s")
