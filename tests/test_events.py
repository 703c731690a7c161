"""Catalog events: what they fold into, and that nothing unknown is skipped or lost."""

from __future__ import annotations

import msgpack
import pytest

from streamstore import errors, events

ONE = {
    "id": 1,
    "name": "clicks",
    "account": "0" * 12,
    "region": "us-east-1",
    "uniform": 4,
    "retention_hours": 24,
    "durability": "sync",
    "max_record_size": 1 << 20,
    "segment_size": 0,
    "created_us": 5,
    "epoch_floor": 0,
}
KEY = ("0" * 12, "us-east-1", "clicks")


def folded(*encoded):
    state = events.State()
    for each in encoded:
        events.fold(state, each)
    return state


def test_create_clear_and_delete():
    """A stream comes, gets new starts, and goes; its number is never given again."""
    state = folded(events.encode("create", **ONE))
    assert state.streams[KEY].uniform == 4
    assert state.next_id == 2
    events.fold(state, events.encode("clear", id=1, starts={2: 4096}, epoch=77))
    assert state.streams[KEY].starts == {2: 4096}
    assert state.epoch_floor == 77
    events.fold(state, events.encode("delete", id=1, epoch=80))
    assert state.streams == {}
    assert state.deleting == {1: 4}
    events.fold(state, events.encode("purged", id=1, epoch=81))
    assert (state.deleting, state.next_id, state.epoch_floor) == ({}, 2, 81)


def test_a_snapshot_says_everything():
    """Folding a snapshot alone gives the state it was made of, unknown keys of a later version included."""
    state = folded(
        events.encode("create", **ONE, colour="red"),
        events.encode("create", **{**ONE, "id": 2, "name": "gone"}),
        events.encode("delete", id=2, epoch=9),
        events.encode("clear", id=1, starts={0: 64}, epoch=4),
    )
    state.extra["later"] = [1]
    again = folded(events.snapshot(state))
    assert again == state
    assert again.streams[KEY].extra == {"colour": "red"}


@pytest.mark.parametrize(
    "data",
    [
        events.encode("explode"),
        msgpack.packb({"v": 2, "e": "create", **ONE}),
        msgpack.packb([1, 2]),
        b"\xc1",
        events.encode("create", id=1),
    ],
)
def test_an_unknown_event_is_refused(data):
    """What a later version wrote is not skipped."""
    with pytest.raises(errors.FormatVersionError):
        folded(data)


def test_events_of_unknown_streams_change_nothing():
    """A snapshot may have been written over what an event was about."""
    state = folded(events.encode("delete", id=9, epoch=3), events.encode("clear", id=9, starts={}, epoch=2))
    assert state.streams == {}
    assert state.epoch_floor == 3
