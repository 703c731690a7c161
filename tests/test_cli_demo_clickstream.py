"""streamstore.generate.clickstream: the events of the demo."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise

from streamstore.generate.clickstream import clickstream


def test_the_same_seed_gives_the_same_bytes() -> None:
    """Two runs agree to the byte; another seed does not."""
    assert list(clickstream(500)) == list(clickstream(500))
    assert list(clickstream(500)) != list(clickstream(500, seed=1))


def test_events_look_like_a_clickstream() -> None:
    """JSON of a realistic size, in order of time, many users of whom a few are much busier than the rest."""
    events = list(clickstream(20_000))
    documents = [json.loads(event.data) for event in events]
    sizes = sorted(len(event.data) for event in events)
    assert sizes[len(sizes) // 20] >= 150
    assert sizes[-1] <= 260
    assert [document["event"] for document in documents] == list(range(20_000))
    assert all(event.user == document["user"] for event, document in zip(events, documents, strict=True))
    assert all(before.time_ms <= after.time_ms for before, after in pairwise(events))
    users = Counter(event.user for event in events)
    assert len(users) > 1_000
    assert users.most_common(1)[0][1] > 20 * len(events) / len(users) / 4
    assert {document["type"] for document in documents} >= {"home", "product", "search", "checkout", "purchase"}


def test_a_session_belongs_to_one_user() -> None:
    """Whoever walks through the shop stays the same until the session ends."""
    owners: dict[str, str] = {}
    for event in clickstream(5_000):
        document = json.loads(event.data)
        assert owners.setdefault(document["session"], document["user"]) == document["user"]
