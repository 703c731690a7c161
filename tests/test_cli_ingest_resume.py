"""streamstore.cli.ingest.resume: what is taken, over shards that were split and merged."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import pytest

from streamstore.cli.ingest import resume
from streamstore.cli.ingest.resume import Last, find_taken
from streamstore.values import HashRange

HALF = 1 << 127
QUARTER = 1 << 126
END = (1 << 128) - 1


class FakeShard(NamedTuple):
    """A shard as far as the search looks at it; `last` is the position of its newest record of the source."""

    id: str
    hash_range: HashRange
    parents: tuple[str, ...]
    last: int | None


class FakeStream:
    """A stream of fake shards that notes which of them were searched."""

    def __init__(self, *shards: FakeShard) -> None:
        self._shards = shards
        self.searched: list[str] = []

    def shards(self) -> list[FakeShard]:
        """All shards."""
        return list(self._shards)


@pytest.fixture(autouse=True)
def search(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look into the fakes in place of logs."""

    def last_of_source(stream: Any, shard: Any, locate: Any) -> Last | None:
        stream.searched.append(shard.id)
        return None if shard.last is None else Last(shard.id, shard.last, shard.last + 1, "x", cast(Any, None))

    monkeypatch.setattr(resume, "last_of_source", last_of_source)


def taken(stream: FakeStream) -> resume.Taken:
    """What is taken of the source."""
    return find_taken(stream, lambda record: None)  # type: ignore[arg-type]


def shard(number: int, start: int, end: int, last: int | None, *parents: int) -> FakeShard:
    """A fake shard."""
    return FakeShard(f"s{number}", HashRange(start, end), tuple(f"s{each}" for each in parents), last)


def test_nothing_taken_begins_at_the_beginning() -> None:
    """Without any record of the source, a run begins at byte 0, line 1, and holds nothing."""
    found = taken(FakeStream(shard(0, 0, HALF - 1, None), shard(1, HALF, END, None)))
    assert found.begin == (0, 1)
    assert not found.holds(0, 0)
    assert found.beyond == -1


def test_each_part_holds_up_to_its_own_last() -> None:
    """Two shards at different places: the run begins at the lower, and each takes only what lies beyond its own."""
    found = taken(FakeStream(shard(0, 0, HALF - 1, 100), shard(1, HALF, END, 40)))
    assert found.begin == (40, 41)
    assert found.beyond == 100
    assert [found.holds(0, 100), found.holds(0, 101)] == [True, False]
    assert [found.holds(HALF - 1, 100), found.holds(HALF, 100)] == [True, False]
    assert [found.holds(END, 40), found.holds(END, 41)] == [True, False]


def test_a_shard_without_any_makes_the_run_begin_at_the_beginning() -> None:
    """One shard that has nothing means that everything is read, and what others have is skipped."""
    found = taken(FakeStream(shard(0, 0, HALF - 1, 100), shard(1, HALF, END, None)))
    assert found.begin == (0, 1)
    assert not found.holds(HALF, 0)


def test_children_of_a_split_hold_what_the_parent_has() -> None:
    """A child without a record of its own stands where its parent ended; one with some stands there."""
    stream = FakeStream(shard(0, 0, END, 50), shard(1, 0, HALF - 1, 90, 0), shard(2, HALF, END, None, 0))
    found = taken(stream)
    assert found.begin == (50, 51)
    assert [found.holds(0, 90), found.holds(HALF, 50), found.holds(HALF, 51)] == [True, True, False]


def test_a_merged_shard_holds_for_each_part_what_that_part_had() -> None:
    """Two parents that stopped at different places and were merged: the child's parts still differ."""
    stream = FakeStream(shard(0, 0, HALF - 1, 100), shard(1, HALF, END, 40), shard(2, 0, END, None, 0, 1))
    found = taken(stream)
    assert [found.holds(0, 100), found.holds(HALF, 100), found.holds(HALF, 40)] == [True, False, True]
    assert found.begin == (40, 41)


def test_parents_are_not_searched_where_all_children_hold_some() -> None:
    """A closed shard behind children that hold the source is not read, and neither are its own parents."""
    stream = FakeStream(
        shard(0, 0, END, 10),
        shard(1, 0, HALF - 1, 20, 0),
        shard(2, HALF, END, 30, 0),
        shard(3, 0, QUARTER - 1, 40, 1),
        shard(4, QUARTER, HALF - 1, 50, 1),
    )
    assert taken(stream).begin == (30, 31)
    assert sorted(stream.searched) == ["s2", "s3", "s4"]
