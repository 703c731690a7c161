"""streamstore.histogram: percentiles against sorted values."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamstore.histogram import Histogram

VALUES = st.lists(st.integers(-5, 1 << 50) | st.integers(0, 5000), min_size=1, max_size=200)


def filled(values: list[int]) -> Histogram:
    """A histogram of these values."""
    histogram = Histogram()
    histogram.add_all(values)
    return histogram


@given(VALUES, st.sampled_from([0, 1, 25, 50, 90, 99, 99.9, 100]))
def test_a_percentile_is_right_to_a_thousandth(values, share):
    """It is the value at that place of the sorted ones, or above it by at most 0.1 %."""
    clipped = sorted(max(value, 0) for value in values)
    exact = clipped[max(1, -(-len(values) * share // 100).__int__()) - 1]
    found = filled(values).percentile(share)
    assert exact <= found <= exact * 1.001


@given(VALUES, VALUES)
def test_two_merged_are_one_of_all_values(one, other):
    """What is merged is as if it had been counted together."""
    merged, whole = filled(one), filled(one + other)
    merged.merge(filled(other))
    assert (merged.count, merged.total, merged.highest) == (whole.count, whole.total, whole.highest)
    assert [merged.percentile(share) for share in (1, 50, 99)] == [whole.percentile(share) for share in (1, 50, 99)]


def test_steps_count_each_value_once():
    """Between two bounds stands what is above the lower and not above the upper one."""
    histogram = filled([0, 10, 11, 20, 500, 501])
    assert list(histogram.steps([10, 20, 500, 1000])) == [(10, 2), (20, 2), (500, 1), (1000, 1)]


def test_an_empty_one_has_no_values():
    """Nothing is divided by nothing."""
    assert (Histogram().percentile(99), Histogram().mean, filled([4, 6]).mean) == (0, 0.0, 5.0)
