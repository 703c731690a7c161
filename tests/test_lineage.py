"""Lineage: splits, merges and plans as plain values. After every step the open ranges tile the hash-key space."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamstore import errors, lineage, routing
from streamstore.limits import HASH_KEY_END
from streamstore.lineage import Child, Closed, Lineage, Step
from streamstore.values import HashRange

ONE = Lineage(1, {})
HALF = HASH_KEY_END // 2


def after(state, step, epoch=10, arrival_us=1_000):
    """The lineage after a step whose parents all closed alike."""
    state.check_step(step)
    return state.close(step, {index: Closed(4096, epoch, 7, arrival_us) for index in step.parents})


def test_a_stream_never_resharded_makes_no_object_a_shard():
    """Ten thousand equal shards cost a number."""
    state = Lineage(10_000, {})
    assert state.indexes() == state.open == state.roots() == range(10_000)
    assert state[9_999].hash_range == routing.uniform_ranges(10_000)[-1]
    assert (9_999 in state, 10_000 in state) == (True, False)
    with pytest.raises(KeyError):
        state[10_000]
    assert all(routing.uniform_range(7, index) == item for index, item in enumerate(routing.uniform_ranges(7)))


def test_split_and_merge_keep_the_family():
    """Children know their parents in the order given, parents their children; floors are the highest of any parent."""
    split = after(ONE, ONE.split(0, HALF))
    assert split.open == [1, 2]
    assert split.open_ranges == [HashRange(0, HALF - 1), HashRange(HALF, HASH_KEY_END - 1)]
    assert (split[0].children, split[0].closed.end, split.is_open(0)) == ((1, 2), 4096, False)
    assert (split[1].parents, split[1].epoch_floor, split[1].arrival_floor_us) == ((0,), 10, 1_000)
    step = split.merge(2, 1)
    merged = split.close(step, {1: Closed(64, 30, 0, 0), 2: Closed(64, 20, 0, 5_000)})
    assert merged.open == [3]
    assert (merged[3].parents, merged[3].epoch_floor, merged[3].arrival_floor_us) == ((2, 1), 30, 5_000)
    assert merged.roots() == [0]
    assert list(merged.descendants(0)) == [1, 2, 3]
    assert merged.indexes() == [0, 1, 2, 3]
    assert merged.close(step, {1: Closed(1, 99, 1, 1), 2: Closed(1, 99, 1, 1)}) is merged
    assert merged[3].parents == (2, 1)


def test_expired_shards_are_tombstones():
    """Gone from the list and from the roots; whoever names one is led to its nearest living descendants."""
    state = after(ONE, ONE.split(0, HALF))
    state = after(state, state.split(1, HALF // 2))
    state = state.expire([0])
    assert (state.indexes(), state.roots()) == ([1, 2, 3, 4], [1, 2])
    assert state.nearest_living(0) == [1, 2]
    state = state.expire([1])
    assert state.nearest_living(0) == [2, 3, 4]
    assert state.nearest_living(2) == [2]
    assert (state.roots(), state.living_parents(3), state[3].parents) == ([2, 3, 4], [], (1,))
    assert state.expire([2]) == state  # an open shard does not expire


def test_indexes_that_nobody_knows_of_are_left_out():
    """A copy may hold the second of two steps and not the first; the first may still come to light."""
    two = Lineage(2, {})
    second = after(two, Step((1,), (Child(4, HALF, HALF + 9), Child(5, HALF + 10, HASH_KEY_END - 1))))
    assert (second.indexes(), second.open, second.next_index) == ([0, 1, 4, 5], [0, 4, 5], 6)
    assert 2 not in second
    both = after(second, Step((0,), (Child(2, 0, 9), Child(3, 10, HALF - 1))))
    assert both.open == [2, 3, 4, 5]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda s: s.split(1, 0), "begins at one of 1 to"),
        (lambda s: s.split(1, HALF), "not at"),
        (lambda s: s.split(0, 5), "is closed"),
        (lambda s: s.split(9, 5), "has no shard"),
        (lambda s: s.merge(1, 1), "not adjacent"),
        (lambda s: s.merge(4, 1), "not adjacent"),
        (lambda s: s.merge(1, 2), "is closed"),
    ],
)
def test_steps_that_cannot_be_say_what_could(make, says):
    """Splitting outside a shard, what is closed or unknown, merging what is not adjacent."""
    state = after(ONE, ONE.split(0, HALF))
    state = after(state, state.split(2, HALF + HALF // 2))  # open: 1, 3, 4
    with pytest.raises(errors.InvalidArgumentError, match=says):
        make(state)


def test_a_shard_of_one_key_cannot_be_split():
    """There is no second child to begin."""
    state = after(ONE, ONE.split(0, 1))
    with pytest.raises(errors.InvalidArgumentError, match="one hash key"):
        state.split(1, 0)


@pytest.mark.parametrize(
    "children",
    [
        (Child(1, 0, HALF - 1), Child(2, HALF + 1, HASH_KEY_END - 1)),
        (Child(1, 0, HALF), Child(2, HALF, HASH_KEY_END - 1)),
        (Child(1, 0, HASH_KEY_END - 2),),
        (Child(0, 0, HASH_KEY_END - 1),),
        (),
    ],
)
def test_a_step_that_breaks_the_tiling_is_refused(children):
    """A key that belongs to nobody or to two, or an index given twice."""
    with pytest.raises(errors.InvalidArgumentError):
        ONE.check_step(Step((0,), children))
    with pytest.raises(errors.InvalidArgumentError):
        ONE.check_step(Step((0, 0), (Child(1, 0, HASH_KEY_END - 1),)))


@given(st.integers(1, 12), st.lists(st.integers(1, 12), max_size=4))
def test_plans_are_shortest_and_every_state_is_whole(uniform, counts):
    """As many steps as boundaries differ; each is one split or merge, and nothing is ever without an owner."""
    state = Lineage(uniform, {})
    for count in counts:
        have = {item.start for item in state.open_ranges}
        want = {item.start for item in routing.uniform_ranges(count)}
        steps = lineage.plan(state.open_ranges, count)
        assert len(steps) == len(have ^ want)
        low, high = sorted((len(have), count))
        for key, wanted in steps:
            state = after(state, state.boundary_step(key, wanted))
            assert state.boundary_step(key, wanted) is None
            lineage.check_tiles(state.open_ranges)
            assert low - 1 <= len(state.open) <= high + 1
        assert list(state.open_ranges) == routing.uniform_ranges(count)
        for key in (0, HALF, HASH_KEY_END - 1):
            start, end = state[state.route(key)].hash_range
            assert start <= key <= end
