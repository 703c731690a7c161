"""The parts of streamstore.capture by themselves: cutting, contents by their marks, the shards of a source."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamstore.capture.cutting import cut
from streamstore.capture.shards import Shard, Shards
from streamstore.capture.tracked import MARK_EVERY, MARKS_MAX, WINDOW, Tracked, from_map
from streamstore.limits import HASH_KEY_END
from streamstore.routing import hash_key


def texts(data: bytes, size_max: int = 10, **options: Any) -> list[bytes]:
    """The data of the pieces."""
    return [piece.data for piece in cut(data, size_max, **options)]


def test_a_line_may_be_as_long_as_the_largest_record() -> None:
    """Its newline is not of it; what is longer is cut once that is sure."""
    assert texts(b"x" * 10 + b"\n") == [b"x" * 10]
    assert texts(b"x" * 11) == []  # the next byte may be the newline
    assert texts(b"x" * 12) == [b"x" * 10]
    assert texts(b"x" * 11 + b"\n") == [b"x" * 10, b"x"]


def test_a_record_begins_where_its_pattern_is_found() -> None:
    """Anywhere in a line; the last one is complete when it is quiet, and its line is."""
    start = re.compile(b"S")
    assert texts(b"a S\nb\nc S\n", start=start) == [b"a S\nb"]
    assert texts(b"S a\nb\n", start=start) == []
    assert texts(b"S a\nb\n", start=start, quiet=True) == [b"S a\nb"]
    assert texts(b"S a\npart", start=start, quiet=True) == []
    assert texts(b"S a\npart", start=start, finished=True) == [b"S a\npart"]


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Any]:
    """Makes a file of some bytes and gives its descriptor."""
    opened: list[int] = []

    def make(data: bytes) -> int:
        path = tmp_path / str(len(opened))
        path.write_bytes(data)
        opened.append(os.open(path, os.O_RDONLY))
        return opened[-1]

    yield make
    for descriptor in opened:
        os.close(descriptor)


def tracked(data: bytes, piece: int = 1000) -> Tracked:
    """A content that was read from the beginning, piece by piece."""
    made = Tracked("id", "p", "p", 1, 2)
    for begin in range(0, len(data), piece):
        made.add(begin, data[begin : begin + piece])
    return made


def lines(count: int) -> bytes:
    """Lines that are all different."""
    return b"".join(b"%07d\n" % number for number in range(count))


def test_a_content_is_known_by_its_marks(file) -> None:
    """Longer is the same content; shorter, changed at its end or before its last mark but one is another."""
    data = lines(20_000)
    content = tracked(data)
    assert content.is_in(file(data + b"more"), len(data) + 4)
    assert not content.is_in(file(data[:-1]), len(data) - 1)
    assert content.could_be_in(file(data[:1000]), 1000)
    assert not content.could_be_in(file(b"#" + data[1:]), len(data))
    assert not content.is_in(file(data[:-1] + b"#"), len(data))
    former = sorted(content.marks)[-2]
    other = data[: former - 1] + b"#" + data[former:]
    assert not content.is_in(file(other), len(data))


def test_marks_are_few_and_far_between() -> None:
    """One each 64 KiB, and of many every other one; the newest is where reading ended, and long."""
    content = tracked(lines(20_000), piece=8)
    assert content.top == 160_000
    assert len(content.marks) <= 160_000 // MARK_EVERY + 2
    assert content.marks[content.top].length == WINDOW
    content = tracked(bytes(MARK_EVERY * 40), piece=MARK_EVERY)
    assert 2 <= len(content.marks) <= MARKS_MAX
    assert content.top == MARK_EVERY * 40


def test_what_is_known_already_changes_no_mark() -> None:
    """Records that came in before are told again after a kill."""
    data = lines(1000)
    content = tracked(data)
    before = dict(content.marks)
    content.add(0, data[:500])
    assert content.marks == before


def test_a_checkpoint_keeps_all_of_a_content(file) -> None:
    """What is taken up from it is known by the same bytes, and has the same records."""
    content = tracked(lines(1000))
    content.began, content.position, content.line, content.size_seen = 8, 80, 11, 9000
    content.has, content.lost_since = {96: (104, 1), 160: (176, 2)}, 5.0
    again = from_map("id", content.to_map(), 7.0)
    assert again.to_map() == content.to_map()
    assert (again.read, again.read_line, again.lost_since) == (80, 11, 7.0)
    assert again.unread == 9000 - 80 - 8 - 16
    assert again.is_in(file(lines(1000)), 8000)
    assert not again.is_in(file(lines(999) + b"#######\n"), 8000)
    content.lost_since = None
    assert from_map("id", content.to_map(), 7.0).lost_since is None


def listed(name: str, first: int = 0, last: int = HASH_KEY_END - 1, *parents: str, closed: bool = False) -> Any:
    """A shard as ListShards tells of it."""
    said: dict[str, Any] = {
        "ShardId": name,
        "HashKeyRange": {"StartingHashKey": str(first), "EndingHashKey": str(last)},
        "SequenceNumberRange": {"StartingSequenceNumber": "1"},
    }
    said |= dict(zip(("ParentShardId", "AdjacentParentShardId"), parents, strict=False))
    if closed:
        said["SequenceNumberRange"]["EndingSequenceNumber"] = "9"
    return said


def ready(shards: Shards) -> list[str]:
    """Whose turn it is."""
    return [shard.id for shard in shards.ready()]


def test_a_child_waits_for_its_parents() -> None:
    """Both of them, unless the source has one no more; nobody is read twice."""
    shards = Shards({"ShardIteratorType": "TRIM_HORIZON"})
    assert shards.note([listed("a", closed=True), listed("b", closed=True), listed("c", 0, 5, "a", "b")])
    assert not shards.note([listed("a", closed=True), listed("b", closed=True), listed("c", 0, 5, "a", "b")])
    first = shards.ready()
    assert [shard.id for shard in first] == ["a", "b"]
    assert ready(shards) == []
    shards.ended(first[0])
    assert ready(shards) == []
    assert not shards.childless
    shards.note([listed("a", closed=True), listed("c", 0, 5, "a", "b")])
    assert ready(shards) == ["c"]
    assert shards.lag() == (0, 1)


def test_shards_that_come_later_are_read_from_their_beginning() -> None:
    """Wherever the first ones were begun; one that ended without children asks for another look."""
    shards = Shards({"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": 5.0})
    shards.note([listed("a")])
    (first,) = shards.ready()
    assert first.iterator() == {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": 5.0}
    shards.ended(first)
    assert shards.childless
    assert shards.is_done
    assert shards.note([listed("a", closed=True), listed("b", 0, 5, "a")])
    assert not shards.childless
    assert not shards.is_done
    (second,) = shards.ready()
    assert second.iterator() == {"ShardIteratorType": "TRIM_HORIZON"}
    second.behind_ms = 70
    assert shards.lag() == (70, 1)
    second.is_at_tip = True
    assert shards.is_done


def test_numbers_settle_what_came_in_before() -> None:
    """What the source has no more, or ended, does not count; a checkpoint keeps it all."""
    shards = Shards({"ShardIteratorType": "TRIM_HORIZON"})
    for number in ("10", "20"):
        shards.seen("a", number)
    shards.note([listed("a", 3, 9, "z")])
    (shard,) = shards.ready()
    assert not shards.is_settled
    shard.read = "10"
    shards.took(shard, "10")
    assert shard.has == {"20"}
    shards.note([])
    assert shards.is_settled
    shards.note([listed("a", 3, 9, "z")])
    assert not shards.is_settled
    shard.read = "20"
    shards.ended(shard)
    assert shards.to_map()["a"]["ended"] is False  # the last page is on its way
    shards.took(shard, "20")
    assert shards.is_settled
    kept = shards.to_map()
    assert kept["a"] == {
        "keys": [f"{3:032x}", f"{9:032x}"], "parents": ["z"], "number": "20", "ended": True,
        "start": {"ShardIteratorType": "TRIM_HORIZON"},
    }  # fmt: skip
    again = Shards({"ShardIteratorType": "LATEST"})
    again.restore(kept)
    assert again.to_map() == kept
    again.note([listed("a", 3, 9, "z"), listed("b")])
    (fresh,) = again.ready()
    assert (fresh.id, fresh.iterator()) == ("b", {"ShardIteratorType": "TRIM_HORIZON"})
    kept["a"]["ended"] = False
    more = Shards({"ShardIteratorType": "LATEST"})
    more.restore(kept)
    more.note([listed("a", 3, 9, "z")])
    (shard,) = more.ready()
    assert shard.iterator() == {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": "20"}


def test_a_record_is_placed_by_its_key_where_that_is_in_the_range() -> None:
    """Else at the beginning of the range; both ends are in it."""
    here = hash_key("user")
    for first, last, expected in ((here, here, None), (here + 1, here + 5, here + 1), (here - 5, here - 1, here - 5)):
        assert Shard("a", first, last).hash_key("user") == expected
