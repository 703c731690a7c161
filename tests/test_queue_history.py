"""The check of a queue's history finds nothing in a good one, and in each bad one what is bad."""

from __future__ import annotations

import pytest
from queue_history import Delivery, QueueHistory, check

LATE = 10**9


def good(count: int = 20) -> QueueHistory:
    """Two workers by turns; every fifth message is given back once, and every seventh is lost with its worker."""
    history, at = QueueHistory(), 0
    for number in range(count):
        at += 10
        history.put(number, at)
        history.put_answered(number, at + 1)
    for number in range(count):
        at += 10
        worker = f"w{number % 2}"
        history.delivered(number, Delivery(worker, at, at + 1, LATE, 1))
        if number % 5 == 0:
            history.given_back(worker, number, at + 2)
            history.delivered(number, Delivery("w2", at + 3, at + 4, LATE, 2))
        if number % 7 == 0:
            history.delivered(number, Delivery("w3", at + 60, at + 61, LATE, 3))
            history.deliveries[number][-2].worker = f"dead{number}"
            history.killed[f"dead{number}"] = at + 60
            history.acknowledged(number, at + 62)
        else:
            history.acknowledged(number, at + 5)
    return history


def test_a_good_history_has_nothing_wrong():
    """Neither has one whose last put and last delivery were told to nobody."""
    history = good()
    assert check(history) == []
    history.put(99, LATE)
    assert check(history) == []


def lose(history):
    del history.deliveries[3]
    del history.acked[3]


def invent(history):
    del history.puts[3]


def deliver_before_the_put(history):
    history.puts[3].invoked = LATE


def deliver_after_the_acknowledgement(history):
    history.delivered(3, Delivery("w2", LATE + 1, LATE + 2, 2 * LATE, 2))


def deliver_to_two(history):
    held = history.deliveries[3][0]
    history.delivered(3, Delivery("w2", held.invoked, held.answered + 1, LATE, 2))


def deliver_before_the_holder_died(history):
    history.killed["dead7"] = history.deliveries[7][-1].answered


def count_too_low(history):
    history.deliveries[5][-1].count = 1


def overtake(history):
    history.deliveries[9][0].invoked, history.deliveries[9][0].answered = 203, 204


def acknowledge_what_nobody_had(history):
    history.put(50, LATE)
    history.acknowledged(50, LATE)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lose, "3 was put, and never delivered"),
        (invent, "3 was delivered before anybody put it"),
        (deliver_before_the_put, "3 was delivered before anybody put it"),
        (deliver_after_the_acknowledgement, "3 was asked for and delivered after it was acknowledged"),
        (deliver_to_two, "3 was delivered to w2 while w1 held it"),
        (deliver_before_the_holder_died, "7 was delivered to w3 while dead7 held it"),
        (count_too_low, "5 was delivered under the counts [1, 1]"),
        (overtake, "9 was put after 8 and delivered before it"),
        (acknowledge_what_nobody_had, "50 was acknowledged, and never delivered"),
    ],
)
def test_what_is_wrong_is_found(spoil, told):
    """Each kind of broken promise, put into a good history, is told for what it is."""
    history = good()
    spoil(history)
    assert told in check(history)
