"""The frontier without a store: what may be read when, as shards end in any order."""

from __future__ import annotations

import pytest

from streamstore.bounds import Bound, Bounds
from streamstore.frontier import Frontier
from streamstore.iterators import Place
from streamstore.lineage import Closed, Lineage
from streamstore.routing import shard_id


class Home:
    """A stream whose lineage the test decides on."""

    def __init__(self, uniform):
        self.lineage = Lineage(uniform, {})

    def check(self):
        return self

    def log(self, index):
        class Log:
            pass

        Log.shard_id = shard_id(index)
        return Log

    def children(self, index):
        return self.lineage[index].children

    def do(self, step):
        self.lineage = self.lineage.close(step, {index: Closed(128, 9, 1, 5) for index in step.parents})

    def split(self, index):
        self.do(self.lineage.split(index, None))

    def merge(self, index, other):
        self.do(self.lineage.merge(index, other))

    def frontier(self, indexes, *, grows=True):
        shards = [Bound(index, self.log(index), Place(64, 1), 0) for index in indexes]
        return Frontier(self, Bounds(self.lineage, shards, [], grows))


def active(frontier):
    return sorted(cursor.index for cursor in frontier.active)


def end(frontier, *indexes):
    """Read these to their close frame."""
    for index in indexes:
        cursor = frontier.cursors[index]
        cursor.ended = True
        cursor._close(64, 128)
    frontier.advance()
    frontier.forget_drained()


def test_a_merge_waits_for_a_parent_that_is_not_in_yet():
    """Its other parent comes from a shard that is still read: it waits for that one, and then for what comes of it."""
    home = Home(2)
    frontier = home.frontier([0, 1])
    home.split(0)  # 2, 3
    home.merge(3, 1)  # 4, of which 3 is not in
    end(frontier, 1)
    assert active(frontier) == [0]
    end(frontier, 0)
    assert active(frontier) == [2, 3]
    end(frontier, 3)
    assert active(frontier) == [2, 4]
    assert set(frontier.cursors) == {2, 4}


def test_shards_that_end_together_are_not_outrun_by_their_grandchildren():
    """Both ended in one step: the child of the one waits for the child of the other where that is its parent too."""
    home = Home(2)
    frontier = home.frontier([0, 1])
    home.split(1)  # 2, 3
    home.merge(0, 2)  # 4
    end(frontier, 0, 1)
    assert active(frontier) == [2, 3]
    end(frontier, 2)
    assert active(frontier) == [3, 4]


def test_a_shard_stays_until_its_children_are_in():
    """A position names it at its end as long as nobody says who goes on."""
    home = Home(1)
    frontier = home.frontier([0])
    end(frontier, 0)
    assert (frontier.is_stuck, frontier.is_over, set(frontier.cursors)) == (True, False, {0})
    home.split(0)
    frontier.advance()
    frontier.forget_drained()
    assert (frontier.is_stuck, active(frontier), set(frontier.cursors)) == (False, [1, 2], {1, 2})


@pytest.mark.parametrize("records", [0, 1])
def test_what_expired_unread_is_lost(records):
    """A child that expired meanwhile is passed over for its own children, and told where it had records."""
    home = Home(1)
    frontier = home.frontier([0])
    home.split(0)  # 1, 2
    step = home.lineage.split(1, None)  # 3, 4
    home.lineage = home.lineage.close(step, {1: Closed(128, 9, records, 5)}).expire([0, 1])
    end(frontier, 0)
    assert active(frontier) == [2, 3, 4]
    assert frontier.lost == [1] * records


def test_bound_reads_do_not_grow():
    """What is made after the call is none of its business."""
    home = Home(1)
    frontier = home.frontier([0], grows=False)
    home.split(0)
    end(frontier, 0)
    assert (frontier.is_over, set(frontier.cursors)) == (True, {0})
