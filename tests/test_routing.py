"""Hash keys, uniform ranges and shard ids, against what the service does."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamstore import errors, routing


def test_three_shards_are_cut_as_the_service_cuts_them():
    """What does not divide goes to the last shard."""
    assert routing.uniform_ranges(3) == [
        (0, 113427455640312821154458202477256070484),
        (113427455640312821154458202477256070485, 226854911280625642308916404954512140969),
        (226854911280625642308916404954512140970, 340282366920938463463374607431768211455),
    ]


@given(st.integers(1, 3000), st.integers(0, (1 << 128) - 1))
def test_every_key_is_in_exactly_one_range(count, key):
    """The ranges cover the space without gap or overlap."""
    ranges = routing.uniform_ranges(count)
    assert ranges[0].start == 0
    assert ranges[-1].end == (1 << 128) - 1
    assert all(a.end + 1 == b.start for a, b in itertools.pairwise(ranges))
    start, end = ranges[routing.route(ranges, key)]
    assert start <= key <= end


def test_the_hash_key_is_the_md5_of_utf8():
    """As the service computes it."""
    assert routing.hash_key("") == 0xD41D8CD98F00B204E9800998ECF8427E
    assert f"{routing.hash_key('kéy'):032x}" == "e8e651d3ec2770a9dec9eb8465ba6edd"


@given(st.integers(0, 10**12 - 1))
def test_a_shard_id_goes_back_to_its_index(index):
    """shardId-000000000007 is 7."""
    assert routing.shard_index(routing.shard_id(index)) == index


@pytest.mark.parametrize(
    "text", ["", "shardId-7", "shardId-0000000000000", "shardId-00000000000x", "shardid-000000000000"]
)
def test_what_is_no_shard_id_is_refused(text):
    """Only the exact form counts."""
    with pytest.raises(errors.InvalidArgumentError):
        routing.shard_index(text)
