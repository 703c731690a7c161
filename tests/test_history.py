"""The check of histories finds nothing in a good one, and in each bad one what is bad."""

from __future__ import annotations

import random

import pytest
from history import Found, History, check

SHARD = "shardId-000000000000"


def good(writers: int = 3, count: int = 50, seed: int = 1) -> tuple[History, dict[str, list[Found]]]:
    """Writers in turn, some of whose last puts were never answered, and a consumer that saw all from somewhere on."""
    history, held, chance, at = History(), [], random.Random(seed), 0
    for n in range(count):
        for writer in range(writers):
            at += 2
            history.invoke(writer, n, n + 1, at)
            if n + 1 == count and chance.random() < 0.7:
                if chance.random() < 0.5:
                    held.append(Found(len(held) * 8 + 64, (writer, n)))  # it stands, and nobody was told
                continue
            number = len(held) * 8 + 64
            held.append(Found(number, (writer, n)))
            history.ok(writer, n, SHARD, number, at + 1)
    for found in held[10:]:
        history.saw("tailer", SHARD, *found.name, found.number)
    return history, {SHARD: held}


def test_a_good_history_has_nothing_wrong():
    """Whatever was answered or not."""
    for seed in range(20):
        assert check(*good(seed=seed)) == []


def lose_an_acknowledged_record(history, held):
    del held[7]


def lose_an_unacknowledged_record_that_was_seen(history, held):
    history.puts[held[20].name].number = None
    del held[20]


def stand_twice(history, held):
    held.append(Found(held[-1].number + 8, held[5].name))


def swap_two(history, held):
    a, b = held[3], held[4]
    held[3], held[4] = Found(a.number, b.name), Found(b.number, a.name)


def go_backwards(history, held):
    held[3], held[4] = held[4], held[3]


def invent(history, held):
    held.append(Found(held[-1].number + 8, (99, 0)))


def store_what_failed(history, held):
    history.fail(*held[-1].name)


def overtake(history, held):
    history.puts[held[5].name].invoked = history.puts[held[5].name].answered = 10**9


def skip(history, held):
    del history.polls["tailer", SHARD][4]


def see_twice(history, held):
    seen = history.polls["tailer", SHARD]
    seen.insert(5, seen[4])


def give_a_number_again(history, held):
    history.saw("another", SHARD, 55, 5, held[0].number)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lose_an_acknowledged_record, "is lost"),
        (lose_an_unacknowledged_record_that_was_seen, "is gone"),
        (stand_twice, "stands at"),
        (swap_two, "names"),
        (go_backwards, "stands behind"),
        (invent, "was never put"),
        (store_what_failed, "though its put failed"),
        (overtake, "was put after"),
        (skip, "missed 1 records"),
        (see_twice, "twice"),
        (give_a_number_again, "names"),
    ],
)
def test_what_is_wrong_is_found(spoil, told):
    """Each kind of broken promise, put into a good history, is told for what it is."""
    history, shards = good()
    spoil(history, shards[SHARD])
    wrong = check(history, shards)
    assert any(told in sentence for sentence in wrong), wrong


def test_a_key_keeps_its_order_over_shards():
    """Of each producer the numbers rise, also where it went on in another shard."""
    history, shards = good(writers=1)
    held = shards[SHARD]
    child = [Found(found.number + 1000, found.name) for found in held[25:]]
    for found in child:
        history.puts[found.name].shard = "child"
        if history.puts[found.name].number is not None:
            history.puts[found.name].number = found.number
    history.polls.clear()
    halves = {SHARD: held[:25], "child": child}
    assert check(history, halves, by_key=True) == []
    child[0] = Found(held[24].number, child[0].name)
    assert any("was put after (0, 24)" in sentence for sentence in check(history, halves, by_key=True))


def test_what_was_trimmed_is_not_missed():
    """Below the first record that is left nothing is missed, above it everything is."""
    history, shards = good()
    shards[SHARD] = shards[SHARD][30:]
    assert check(history, shards, kept_whole=False) == []
    del shards[SHARD][3]
    assert any("is lost" in sentence for sentence in check(history, shards, kept_whole=False))


def test_puts_at_the_same_time_may_stand_in_any_order():
    """Only what was answered before the other began has to stand before it."""
    history = History()
    history.invoke(0, 0, 1, 10)
    history.invoke(1, 0, 1, 12)
    history.ok(0, 0, SHARD, 72, 12)
    history.ok(1, 0, SHARD, 64, 20)
    held = [Found(64, (1, 0)), Found(72, (0, 0))]
    assert check(history, {SHARD: held}) == []
    history.puts[0, 0].answered = 11
    assert check(history, {SHARD: held}) == [f"{SHARD}: (1, 0) at 64 was put after 72 was acknowledged"]
