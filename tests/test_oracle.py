"""Random operations by two processes against an oracle of plain lists: a short run; `make model` makes the long one."""

from __future__ import annotations

import pytest
from oracle.base import Base, end_children
from oracle.expected import Broken, Expected, Item, Seen
from oracle.machine import Failed, run

from streamstore import stream


@pytest.fixture(autouse=True)
def _no_children_left():
    yield
    end_children()


def test_the_store_agrees_with_the_oracle():
    """The same few hundred operations in every run: what a kill hits is all that differs."""
    Base.steps = 0
    run(1, 5, 50)
    assert Base.steps > 150


def test_the_oracle_sees_a_lost_record(monkeypatch):
    """A store that forgets all but the first record of a batch is found out, and the story told."""
    put = stream.Stream.put_records

    def forgetful(self, entries, **options):
        if len(entries) >= 3:
            return put(self, entries[:1] * len(entries), **options)
        return put(self, entries, **options)

    monkeypatch.setattr(stream.Stream, "put_records", forgetful)
    with pytest.raises(Failed, match=r"put_many here|put until full"):
        run(1, 40, 50)


def items(*names):
    return [Item(name.encode(), "k", None, str(number)) for number, name in enumerate(names, 1)]


def seen(items):
    return [Seen(0, item.number, item.data, item.key, item.hash_key, 1) for item in items]


def expected(*names):
    made = Expected(1)
    for item in items(*names):
        made.put(item, 0, item.number)
    return made


def test_what_is_certain_must_be_there_as_it_was():
    """A loss, a repetition, another order, another content: each is found."""
    a, b, c = items("a", "b", "c")
    expected("a", "b", "c").settle(seen([a, b, c]))
    for wrong in ([a, b], [b, c], [a, b, b, c], [a, c, b], [a, Item(b"x", "k", None, "2"), c], [a, b, c, c]):
        with pytest.raises(Broken):
            expected("a", "b", "c").settle(seen(wrong))


def test_what_is_uncertain_is_there_whole_or_not_and_then_stays():
    """A killed put: all of it at its place or nothing; what was seen once is certain."""
    a, b, x, y, c = items("a", "b", "x", "y", "c")
    for found, fine in (
        ([a, b], True),
        ([a, b, x, y], True),
        ([a, b, x, y, c], True),
        ([a, b, x], False),
        ([a, x, y, b], False),
        ([a, b, c], False),  # the later put of the same process without the earlier
    ):
        made = expected("a", "b")
        made.maybe([[Item(b"x", "k", None), Item(b"y", "k", None)], [Item(b"c", "k", None)]])
        if fine:
            made.settle(seen(found))
            assert [item.data for item in made.kept] == [item.data for item in found]
            assert len(made.shards[0].maybes) == (5 - len(found) + 1) // 2
        else:
            with pytest.raises(Broken):
                made.settle(seen(found))


def test_what_nobody_saw_yet_is_not_past():
    """Two killed clears, and records in between that nobody read: the second went through, not the first alone."""
    made = expected("a")
    made.settle(seen(items("a")))
    made.keep_from(1)  # nothing of what was seen is past
    made.shards[0].maybe_cleared.append(1)
    b = Item(b"b", "k", None)
    made.put(b, 0, "9")
    made.shards[0].maybe_cleared.append(2)
    made.settle([])
    assert made.kept == []


def test_what_did_not_come_before_a_later_record_never_comes():
    """Once a record behind it is there, a killed put that is not there is gone."""
    made = expected("a")
    made.maybe([[Item(b"x", "k", None)]])
    a, b = items("a", "b")
    made.put(b, 0, "9")
    made.settle(seen([a, b]))
    assert made.settled
    with pytest.raises(Broken):
        made.settle(seen([a, Item(b"x", "k", None, "5"), b]))
