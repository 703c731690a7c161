"""streamstore.merging: against a sort."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamstore.merging import merged
from streamstore.native import make_record


@given(st.lists(st.lists(st.integers(1, 40) | st.integers(1, 4), min_size=1, max_size=60), min_size=1, max_size=5))
def test_it_is_a_stable_sort_by_arrival(arrivals):
    """Whatever the stretches are: by arrival, ties in the order of shards, each shard in its own order."""
    parts = [
        [
            make_record(f"shardId-{shard:012}", shard, 1, 8 * at, 8 * at + 8, at, us, b"", None)
            for at, us in enumerate(run)
        ]
        for shard, run in enumerate(map(sorted, arrivals))
    ]
    expected = sorted((record for part in parts for record in part), key=lambda record: record.arrival_us)
    assert merged(parts) == expected
