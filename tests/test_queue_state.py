"""The deliveries of a queue as pure state: what each event does, and that a snapshot is the whole of it."""

from __future__ import annotations

import pytest

from streamstore.errors import FormatVersionError
from streamstore.queue import events
from streamstore.queue.events import FoldedDeliveries
from streamstore.queue.state import WAITING, Cursor, name_of

SECOND = 1_000_000
NOW = 50 * SECOND


@pytest.fixture
def state():
    made = FoldedDeliveries()
    made.fold(events.other("attach", 1, "boot-1", NOW, 1_000 * SECOND))
    return made


def receive(state, positions, *, at=NOW, visibility=30 * SECOND, owner=7, shard=0, keys=None):
    cursor = Cursor(positions[-1] + 8, positions[-1] // 8, positions[-1], 5)
    state.fold(events.receive(shard, positions, keys, cursor, (at, visibility, owner)))


def test_a_receive_moves_the_cursor_and_counts_by_owner(state):
    """What was received is in flight, held by its process, until its deadline."""
    receive(state, [64, 72, 80])
    assert state.cursors[0] == Cursor(88, 10, 80, 5)
    assert (state.in_flight, state.owners, state.waiting()) == (3, {7: 3}, 0)
    assert not state.due(NOW + 30 * SECOND - 1)
    assert state.due(NOW + 30 * SECOND)
    assert state.candidates(2) == [64, 72]
    assert state.waiting() == 3


def test_an_acknowledged_message_is_never_a_candidate(state):
    """Also where its deadline has passed already."""
    receive(state, [64, 72])
    state.due(NOW + 40 * SECOND)
    state.fold(events.acknowledge_one(0, 64))
    assert state.candidates(10) == [72]
    assert state.totals["acknowledged"] == 1
    state.fold(events.acknowledge(0, [64, 72]))
    assert (state.live, state.owners, state.totals["acknowledged"]) == ({}, {}, 2)


def test_candidates_that_nobody_took_are_candidates_again(state):
    """put_back undoes candidates, and forgets what was settled in between."""
    receive(state, [64, 72, 80])
    state.due(NOW + 40 * SECOND)
    found = state.candidates(10)
    state.fold(events.acknowledge_one(0, 72))
    state.put_back(found)
    assert state.candidates(10) == [64, 80]


def test_a_redelivery_counts_and_renews_the_number(state):
    """The count grows, the time of the first receive stays, and the receipt is another one."""
    receive(state, [64])
    first = state.live[64]
    state.fold(events.redeliver(0, [64], (NOW + 40 * SECOND, 10 * SECOND, 9)))
    second = state.live[64]
    assert (second.receives, second.first_us, second.owner) == (2, first.first_us, 9)
    assert second.number != first.number
    assert state.owners == {9: 1}


def test_a_nack_makes_the_receipt_stale_and_waits(state):
    """A given-back message is ready at its time, not before."""
    receive(state, [64])
    number = state.live[64].number
    state.fold(events.other("nack", events.pairs([64]), NOW + 5 * SECOND))
    assert state.live[64].number != number
    assert state.live[64].status == WAITING
    assert (state.in_flight, state.owners, state.waiting()) == (0, {}, 1)
    assert not state.due(NOW + 4 * SECOND)
    assert state.due(NOW + 5 * SECOND)


def test_what_a_dead_process_held_is_ready_at_once(state):
    """Only its own messages come back, however long their visibility."""
    receive(state, [64, 72], owner=7)
    receive(state, [80], owner=9)
    assert state.release(7) == 2
    assert state.release(7) == 0
    assert state.candidates(10) == [64, 72]


def test_a_restored_dead_letter_starts_from_zero(state):
    """Its receives are counted anew, and it is ready at once."""
    receive(state, [64])
    state.fold(events.other("die", events.pairs([64]), NOW, "spent"))
    assert (list(state.dead), state.dead[64].reason, state.live) == ([64], "spent", {})
    state.fold(events.other("restore", events.pairs([64]), NOW))
    assert (state.dead, state.live[64].receives) == ({}, 0)
    state.due(NOW)
    state.fold(events.redeliver(0, state.candidates(1), (NOW, SECOND, 7)))
    assert state.live[64].receives == 1


def test_one_message_of_a_key_at_a_time(state):
    """The oldest of a key goes first; the next is a candidate once that one is settled."""
    waiting = [(64, 0, 11), (72, 0, 11), (80, 0, 12)]
    state.fold(events.other("pass", 0, Cursor(88, 3, 80, 5), waiting))
    state.due(NOW)
    assert state.candidates(10) == [64, 80]
    state.fold(events.redeliver(0, [64, 80], (NOW, SECOND, 7)))
    assert state.candidates(10) == []
    state.fold(events.acknowledge_one(0, 64))
    assert state.candidates(10) == [72]


def test_a_nacked_message_still_stands_before_the_next_of_its_key(state):
    """A delay holds back the whole key, so that its order stands."""
    receive(state, [64], keys=[11])
    state.fold(events.other("pass", 0, Cursor(80, 2, 72, 5), [(72, 0, 11)]))
    state.fold(events.other("nack", events.pairs([64]), NOW + SECOND))
    state.due(NOW)
    assert state.candidates(10) == []
    state.due(NOW + SECOND)
    assert state.candidates(10) == [64]


def test_after_a_reboot_nothing_is_in_flight_and_delays_stand(state):
    """The boot clock began anew: what was out is ready, what was delayed waits for the same time of day."""
    receive(state, [64], visibility=43_200 * SECOND)
    state.fold(events.other("pass", 0, Cursor(80, 2, 72, 5), [(72, NOW + 100 * SECOND, 0)]))
    state.fold(events.other("attach", 2, "boot-2", 10, 1_040 * SECOND))  # 40 s later by the wall
    assert state.owners == {}
    state.due(10)
    assert state.candidates(10) == [64]
    assert not [name for name in (72,) if name in state.ready]
    state.due(10 + 60 * SECOND)
    assert state.candidates(10) == [72]


def test_after_a_reboot_with_a_clock_of_long_ago_no_delay_is_longer_than_the_longest(state):
    """A machine without a clock of its own comes up years ago and is told the time later, which moves no deadline."""
    state.fold(events.other("attach", 2, "boot-2", NOW, 1_000_000 * SECOND))
    state.fold(events.other("pass", 0, Cursor(80, 2, 72, 5), [(72, NOW + 100 * SECOND, 0)]))
    state.fold(events.other("attach", 3, "boot-3", 10, 990_000 * SECOND))
    assert state.next_deadline_us() == 10 + 10_100 * SECOND
    state.fold(events.other("attach", 4, "boot-4", 20, 5 * SECOND))
    assert state.next_deadline_us() == 20 + 43_200 * SECOND


def test_deliveries_of_two_lives_of_a_store_are_numbered_apart(state):
    """What a power cut took was numbered too; a delivery log of before numbers went apart is read as it was."""
    receive(state, [64])
    state.fold(events.other("attach", 2, "boot-2", 10, 1_040 * SECOND, 1 << 32))
    receive(state, [72])
    assert [state.live[name].number for name in (64, 72)] == [1, (1 << 32) + 1]
    state.fold(events.other("attach", 3, "boot-2", 20, 1_050 * SECOND))
    assert state.number == (1 << 32) + 1


def test_a_snapshot_is_the_whole_state(state):
    """What a snapshot is folded into answers as the original does."""
    receive(state, [64, 72, 80])
    receive(state, [64, 72], shard=3, keys=[1, 2])
    state.fold(events.acknowledge_one(0, 72))
    state.fold(events.other("die", events.pairs([80, name_of(3, 64)]), NOW, "spent"))
    state.fold(events.other("park", [(0, 80, 640, 9, 88, 3, 77)]))
    again = FoldedDeliveries()
    again.fold(events.other("snapshot", {**again.to_map(), "number": 99}))
    again.fold(state.snapshot())
    assert again.to_map() == state.to_map()
    assert (again.in_flight, again.owners, again.keys) == (state.in_flight, state.owners, state.keys)
    for one in (again, state):
        one.due(NOW + 40 * SECOND)
    assert again.candidates(10) == state.candidates(10) == [64, name_of(3, 72)]


def test_deadlines_that_tie_are_no_trouble(state):
    """Messages of one delivery, extended, pruned and loaded, share deadline and number in every form."""
    positions = list(range(64, 64 + 8 * 200, 8))
    receive(state, positions)
    for position in positions[:100]:
        state.fold(events.other("extend", events.pairs([position]), NOW + 30 * SECOND))
    state.fold(events.acknowledge(0, positions[150:]))
    state._prune()
    again = FoldedDeliveries()
    again.fold(state.snapshot())
    for one in (state, again):
        one.fold(events.redeliver(0, positions[:50], (NOW, 30 * SECOND, 7)))
        one.fold(events.redeliver(0, positions[50:60], (NOW, 30 * SECOND, 7)))
        assert one.due(NOW + 60 * SECOND)
        assert one.candidates(1_000) == positions[:150]


def test_deadlines_of_what_was_acknowledged_are_forgotten(state):
    """Memory follows what is in flight, not what went through."""
    for turn in range(1_000):
        receive(state, [64 + 8 * turn])
        state.fold(events.acknowledge_one(0, 64 + 8 * turn))
    assert len(state.deadlines) < 200
    assert not state.live


def test_the_floor_is_the_oldest_message_still_needed(state):
    """Dead letters count; what was copied away does not."""
    receive(state, [64, 72, 80])
    assert state.floor(0) == 64
    state.fold(events.acknowledge_one(0, 64))
    assert state.floor(0) == 72
    state.fold(events.other("die", events.pairs([72]), NOW, ""))
    assert state.floor(0) == 72
    state.fold(events.other("park", [(0, 72, 640, 9, 80, 2, 77)]))
    assert state.floor(0) == 80
    state.fold(events.acknowledge(0, [80]))
    assert state.floor(0) == 88


def test_what_retention_took_is_counted(state):
    """Fresh ones that were skipped and those that were out."""
    receive(state, [64, 72])
    state.fold(events.other("expire", 0, Cursor(800, 100, 0, 0), 800, 91))
    assert (state.totals["expired"], state.live, state.cursors[0].position) == (93, {}, 800)


def test_deliveries_of_lost_records_are_forgotten(state):
    """What a power cut took from the stream is not in flight any more."""
    receive(state, [64, 72, 80])
    state.fold(events.other("lose", 0, Cursor(72, 1, 0, 0)))
    assert list(state.live) == [64]
    assert state.cursors[0].position == 72


@pytest.mark.parametrize("event", [b"\x07rest", events.other("later", 1), b"\x02", events.other("nack"), b"\xc1"])
def test_an_event_of_a_later_version_is_refused(state, event):
    """Skipping it would deliver what was acknowledged, or lose what was put."""
    with pytest.raises(FormatVersionError):
        state.fold(event)
