"""Times as microseconds: exact both ways, and nothing ambiguous gets in."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamstore import clock


@given(st.integers(0, 253_402_300_799_999_999))
def test_a_time_goes_to_a_datetime_and_back(us):
    """No microsecond is lost on the way."""
    assert clock.to_us(clock.to_datetime(us)) == us


def test_a_zone_is_taken_into_account():
    """The same moment in two zones is the same number."""
    here = datetime(2026, 3, 1, 12, 0, 0, 1, tzinfo=timezone(timedelta(hours=5)))
    assert clock.to_us(here) == clock.to_us(here.astimezone(timezone.utc))


@pytest.mark.parametrize(
    ("value", "us"), [(0, 0), (1, 1_000_000), (1.5, 1_500_000), (1_700_000_000.123456, 1_700_000_000_123_456)]
)
def test_seconds_since_1970(value, us):
    """Numbers are seconds, whole or not."""
    assert clock.to_us(value) == us


NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001 - the point


@pytest.mark.parametrize("value", [NAIVE, -1, float("nan"), float("inf"), 1e30])
def test_what_is_no_time_is_refused(value):
    """A naive datetime, a time before 1970 and what is no number have no meaning."""
    with pytest.raises(ValueError, match=r"naive|before 1970|not a time"):
        clock.to_us(value)


@pytest.mark.parametrize("value", [None, "2026-01-01", True, b"1"])
def test_other_types_are_refused(value):
    """A time is a datetime or a number, and True is neither."""
    with pytest.raises(TypeError):
        clock.to_us(value)


def test_timeouts():
    """None and infinity wait without limit; a negative one is a mistake."""
    assert clock.timeout_us(None) == clock.timeout_us(float("inf")) == -1
    assert clock.timeout_us(0.25) == 250_000
    with pytest.raises(ValueError, match="negative"):
        clock.timeout_us(-1)
