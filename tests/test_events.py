"""Catalog events: what they fold into, and that nothing unknown is skipped or lost."""

from __future__ import annotations

import msgpack
import pytest

from streamstore import errors, events
from streamstore.limits import HASH_KEY_END
from streamstore.lineage import Child, Closed, Step

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


HALF = HASH_KEY_END // 2
SPLIT = Step((0,), (Child(1, 0, HALF - 1), Child(2, HALF, HASH_KEY_END - 1)))
DONE = {"id": 1, "parents": {0: Closed(4096, 50, 3, 999)._asdict()}, "children": SPLIT.to_map()["children"]}


def test_a_reshard_is_pending_until_it_is_done():
    """The intent stands; the commit closes the parent and opens the children; said twice, it changes nothing."""
    state = folded(events.encode("create", **{**ONE, "uniform": 1}))
    events.fold(state, events.encode("reshard", id=1, **SPLIT.to_map()))
    info = state.streams[KEY]
    assert (info.pending, info.lineage.open) == (SPLIT, range(1))
    assert folded(events.snapshot(state)) == state
    for _ in range(2):
        events.fold(state, events.encode("resharded", **DONE))
        info = state.streams[KEY]
        assert (info.pending, info.lineage.open) == (None, [1, 2])
    assert info.lineage[0].closed == Closed(4096, 50, 3, 999)
    assert (info.lineage[1].epoch_floor, info.lineage[2].arrival_floor_us) == (50, 999)
    events.fold(state, events.encode("expire", id=1, shards=[0]))
    assert folded(events.snapshot(state)) == state
    assert state.streams[KEY].lineage.indexes() == [1, 2]
    events.fold(state, events.encode("delete", id=1, epoch=60))
    assert state.deleting == {1: 3}


def test_an_intent_that_comes_behind_its_own_commit_does_not_stand():
    """A catalog that repair made again from segments knew of the split, and then came upon the event that began it:
    nothing could carry that out, and who opened the store tried for ever.
    """
    state = folded(events.encode("create", **{**ONE, "uniform": 1}), events.encode("resharded", **DONE))
    events.fold(state, events.encode("reshard", id=1, **SPLIT.to_map()))
    assert state.streams[KEY].pending is None
    whole = {**state.streams[KEY].to_map(), "pending": SPLIT.to_map()}  # as a store may have it in a snapshot
    assert events.StreamInfo.from_map(whole).pending is None


def test_a_commit_needs_no_intent_and_leaves_another_alone():
    """From a close frame alone: what is pending since is not what was committed."""
    state = folded(events.encode("create", **{**ONE, "uniform": 1}), events.encode("resharded", **DONE))
    assert state.streams[KEY].lineage.open == [1, 2]
    other = state.streams[KEY].lineage.merge(1, 2)
    events.fold(state, events.encode("reshard", id=1, **other.to_map()))
    events.fold(state, events.encode("resharded", **DONE))
    assert state.streams[KEY].pending == other


def test_settings_change_and_unknown_ones_are_kept():
    """Each setting has a default, may be altered, and survives a snapshot; what a stream is cannot be altered."""
    state = folded(events.encode("create", **ONE))
    info = state.streams[KEY]
    assert (info.retention_us, info.max_bytes, info.on_full) == (0, 0, "error")
    assert (info.compact_after_us, info.key_id, info.keys) == (3_600_000_000, 0, {})
    events.fold(state, events.encode("alter", id=1, set={"max_bytes": 5, "keys": {3: {"w": b"x"}}, "tags": {"a": "b"}}))
    info = state.streams[KEY]
    assert (info.max_bytes, info.keys, info.extra) == (5, {3: {"w": b"x"}}, {"tags": {"a": "b"}})
    assert folded(events.snapshot(state)) == state
    with pytest.raises(errors.FormatVersionError, match="uniform"):
        events.fold(state, events.encode("alter", id=1, set={"uniform": 9}))


def test_a_start_never_moves_back():
    """A trim that was decided before a clear and published after it brings nothing back."""
    state = folded(
        events.encode("create", **ONE),
        events.encode("clear", id=1, starts={2: 4096}, epoch=77),
        events.encode("trim", id=1, starts={2: 64, 3: 128}),
    )
    assert state.streams[KEY].starts == {2: 4096, 3: 128}


def test_a_snapshot_of_the_first_builds_is_read():
    """Bytes written before streams had settings and lineages; golden."""
    data = bytes.fromhex(
        "86a17601a165a8736e617073686f74a773747265616d73918ca2696401a46e616d65a6636c69636b73a76163636f756e74ac"
        "303030303030303030303030a6726567696f6ea975732d656173742d31a7756e69666f726d04af726574656e74696f6e5f68"
        "6f75727318aa6475726162696c697479a473796e63af6d61785f7265636f72645f73697a65ce00100000ac7365676d656e74"
        "5f73697a6500aa637265617465645f757305ab65706f63685f666c6f6f7200a67374617274738102cd1000a864656c657469"
        "6e67810703a76e6578745f696408ab65706f63685f666c6f6f724d"
    )
    state = folded(data)
    info = state.streams[KEY]
    assert (info.uniform, info.starts, info.lineage.open) == (4, {2: 4096}, range(4))
    assert (info.retention_hours, info.max_bytes, info.pending, info.shards) == (24, 0, None, {})
    assert (state.deleting, state.next_id, state.epoch_floor) == ({7: 3}, 8, 77)
