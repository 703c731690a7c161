"""What is damaged is not taken for what retention hides."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import streamstore
from streamstore import errors


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A closed store with one shard of several segments, under the usual retention."""
    with streamstore.open(tmp_path / "store", durability="process") as store:
        stream = store.create_stream("s", segment_size=131072)
        for first in range(0, 600, 50):
            stream.put_records([(b"%06d" % n + bytes(994), "k") for n in range(first, first + 50)])
            time.sleep(0.001)  # so that each batch has a time of its own
    return tmp_path / "store"


def segments(place: Path) -> list[Path]:
    return sorted((place / "streams" / "1" / "0").glob("*.seg"))


def damage(place: Path, what: str) -> None:
    first = segments(place)[0]
    if what == "missing":
        first.unlink()
        return
    with open(first, "r+b") as file:
        file.seek(50 if what == "header" else 4096 + 100)
        file.write(b"DAMAGE")


@pytest.mark.parametrize("what", ["missing", "header", "first frame"])
def test_damage_at_the_beginning_is_told(place, what):
    """A read from the trim horizon raises for it first, and goes on behind it when asked to."""
    damage(place, what)
    with streamstore.open(place) as store:
        stream = store.stream("s")
        with pytest.raises(errors.CorruptRangeError) as caught, stream.read() as reader:
            next(reader)
        rest = [record.data[:6] for record in stream.read(caught.value.next_position)]
        assert rest[-1] == b"000599"
        assert rest[0] > b"000000"
        with pytest.raises(errors.CorruptRangeError):
            stream.shards()[0].read()


def test_damage_right_behind_what_expired_is_told(place):
    """Whether the records in it were past nobody knows; what stood before was."""
    with streamstore.open(place) as store:
        stream = store.stream("s")
        records = list(stream.read())
        position = records[300].position
        base = next(each for each in stream.log(0).segments() if each.base <= position < each.end)
    with open(segments(place)[base.ordinal - 1], "r+b") as file:
        file.seek(4096 + position - base.base + 60)
        file.write(b"DAMAGE")
    with streamstore.open(place) as store:
        stream = store.stream("s")
        assert records[299].arrival_us < records[301].arrival_us
        stream.log(0).horizon = lambda: records[301].arrival_us
        with pytest.raises(errors.CorruptRangeError):
            next(stream.read())
        stream.log(0).horizon = lambda: records[350].arrival_us
        assert next(stream.read()).data == records[350].data
