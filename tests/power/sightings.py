"""Those who read while the power goes, and the history of one stream as all of its processes told it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from cuts.story import Event, Wrong
from history import Found, History, check

import streamstore
from power.writers import Diary

FOLLOWED = "slow"  # the `sync` stream: what anybody saw of it is there for good
JUDGES = 1_000_000_000  # records that were put after the cut are numbered from here


def number_of(data: bytes) -> int:
    """Which record it is: what all of them begin with."""
    return int(data.partition(b"/")[0])


def follow(path: Path, diary: Path, *, read_only: bool) -> None:
    """Note every record of the stream as it is seen, from the first one on, until the store is gone."""
    actor = Diary(path, diary, 0, 0)
    store = streamstore.open(path, create=False, maintenance=False, read_only=read_only)
    for batch in store.stream(FOLLOWED).read(follow=True).batches():
        seen = [(record.data, record.shard_id, int(record.sequence_number)) for record in batch]
        actor.note("seen", name=FOLLOWED, who=os.getpid(), records=seen)


def history_of(events: Iterable[Event]) -> History:
    """What was put into the stream and seen of it."""
    history = History()
    for moment, what, values in events:
        if values.get("name") != FOLLOWED:
            continue
        if what == "put began":
            for data, *_ in values["entries"]:
                history.invoke(0, number_of(data), number_of(data) + 1, moment)
        elif what == "put":
            for data, shard, number in values["results"]:
                history.ok(0, number_of(data), shard, number, moment)
        elif what == "seen":
            for data, shard, number in values["records"]:
                history.saw(values["who"], shard, 0, number_of(data), number)
    return history


def hold(path: Path, events: Iterable[Event]) -> int:
    """Hold the stream, as it is after the cut, against its history; returns sightings. Raises Wrong."""
    history = history_of(events)
    with streamstore.open(path, create=False, maintenance=False) as store:
        shards = {
            shard.id: [
                Found(int(record.sequence_number), (0, number_of(record.data)))
                for record in store.stream(FOLLOWED).read()
                if record.shard_id == shard.id and number_of(record.data) < JUDGES
            ]
            for shard in store.stream(FOLLOWED).shards()
        }
    if wrong := check(history, shards):
        raise Wrong(f"{len(wrong)} things in the history, the first: {wrong[0]}")
    return sum(map(len, history.polls.values()))
