"""Where a read starts: what may be said, and where that is in a log."""

from __future__ import annotations

import json
from datetime import datetime, timezone

import pytest

from streamstore import errors, iterators
from streamstore.iterators import Place, Start
from streamstore.values import LogState

TOKEN = "ab/1"
SHARD = "shardId-000000000000"


class FakeLog:
    """A log with frames every 80 bytes in three segments, the last one written after a loss."""

    def __init__(self, *, start=64, tail=64 + 80 * 20, epoch=30, bases=((64, 10), (64 + 80 * 10, 30))):
        self.facts = {"start": start, "tail": tail, "epoch": epoch}
        self.bases = bases

    def state(self):
        return LogState(
            durable=self.facts["tail"],
            visible=self.facts["tail"],
            record_count=20,
            start_record_count=0,
            last_arrival_us=0,
            segment_ordinal=1,
            segment_base=64,
            allocated_bytes=0,
            closed=0,
            durability=0,
            **self.facts,
        )

    def seek(self, position):
        return position + (64 - position) % 80

    def seek_time(self, us):
        return 64 + 80 * us

    def epoch_after(self, epoch):
        return next((base for base, begun in self.bases if begun > epoch), self.facts["tail"])


def test_words_times_and_positions_are_understood():
    """Every form of start there is."""
    when = datetime(2026, 1, 1, tzinfo=timezone.utc)
    assert iterators.parse("TRIM_HORIZON", TOKEN) == ("TRIM_HORIZON", None)
    assert iterators.parse(when, TOKEN) == iterators.parse(when.timestamp(), TOKEN)
    saved = json.loads(json.dumps(iterators.make_position(TOKEN, {SHARD: Place(64, 5)})))
    assert iterators.parse(saved, TOKEN) == ("POSITION", {SHARD: Place(64, 5)})


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("latest", errors.InvalidArgumentError),
        (datetime(2026, 1, 1), errors.InvalidArgumentError),  # noqa: DTZ001 - the point
        (-1, errors.InvalidArgumentError),
        (None, errors.InvalidTypeError),
        (True, errors.InvalidTypeError),
        ([], errors.InvalidTypeError),
        ({}, errors.InvalidArgumentError),
        ({"v": 1, "stream": "ab/2", "shards": {SHARD: [64, 0]}}, errors.InvalidArgumentError),
        ({"v": 2, "stream": TOKEN, "shards": {SHARD: [64, 0]}}, errors.InvalidArgumentError),
        ({"v": 1, "stream": TOKEN, "shards": {SHARD: [-1, 0]}}, errors.InvalidArgumentError),
        ({"v": 1, "stream": TOKEN, "shards": {SHARD: ["64", 0]}}, errors.InvalidArgumentError),
        ({"v": 1, "stream": TOKEN, "shards": {SHARD: 64}}, errors.InvalidArgumentError),
    ],
)
def test_anything_else_is_refused(value, kind):
    """A typo, a naive datetime, a position of another stream: each has its error."""
    with pytest.raises(kind):
        iterators.parse(value, TOKEN)


def test_a_position_of_other_shards_is_refused():
    """A position that does not know the shard says nothing about it."""
    with pytest.raises(errors.InvalidArgumentError, match="other shards"):
        iterators.place_in(Start("POSITION", {SHARD: Place(64, 1)}), "shardId-000000000001")


@pytest.mark.parametrize(
    ("start", "place"),
    [
        (Start("TRIM_HORIZON"), (64, 0)),
        (Start("LATEST"), (1664, 30)),
        (Start("TIME", 3), (304, 0)),
        (Start("AT", (10, 144)), (144, 10)),
        (Start("AFTER", (10, 144)), (224, 10)),
        (Start("AT", (30, 1000)), (1024, 30)),  # within a frame: the next one
        (Start("AFTER", (30, 1584)), (1664, 30)),  # the last one: the tail
        (Start("POSITION", Place(224, 10)), (224, 10)),
        (Start("POSITION", Place(5000, 30)), (1664, 30)),  # lost: wait at the tail
    ],
)
def test_a_start_is_found(start, place):
    """Every form of start has its place in a log."""
    assert iterators.resolve(start, FakeLog()) == Place(*place)


def test_what_was_lost_is_written_over_under_a_later_epoch():
    """A position in a suffix that a power cut took goes on where the later epoch begins, not behind it."""
    assert iterators.resolve(Start("POSITION", Place(1264, 10)), FakeLog()) == Place(864, 10)
    assert iterators.resolve(Start("AFTER", (10, 1184)), FakeLog()) == Place(864, 10)
    assert iterators.resolve(Start("POSITION", Place(1264, 30)), FakeLog()) == Place(1264, 30)


def test_a_trimmed_position_stays_where_it_is():
    """The read that follows says so; nothing is skipped in silence."""
    assert iterators.resolve(Start("POSITION", Place(64, 10)), FakeLog(start=864)) == Place(64, 10)


def test_a_place_inside_an_aggregate_is_kept_while_that_stands_there():
    """So many of an aggregate's user records stay done with, unless another record or none stands at the position."""
    inside = Start("POSITION", Place(1184, 30, 2))
    assert iterators.resolve(inside, FakeLog()) == Place(1184, 30, 2)
    assert iterators.resolve(Start("POSITION", Place(1192, 30, 2)), FakeLog()).part == 0
    assert iterators.resolve(Start("POSITION", Place(9_000, 30, 2)), FakeLog()).part == 0
    assert iterators.resolve(inside, FakeLog(start=1664)).part == 0
