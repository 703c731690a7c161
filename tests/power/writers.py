"""The processes that write until the file system is gone, each with a diary on another one."""

from __future__ import annotations

import contextlib
import os
import pickle
import random
import time
from collections.abc import Callable
from pathlib import Path

from cuts.seam import Untraced
from cuts.story import Event
from cuts.workload import Actor

import streamstore

STREAMS = {"quick": "process", "middling": "interval", "slow": "sync"}


class Diary(Actor):
    """An actor whose events are in a file as soon as they happened."""

    def __init__(self, path: Path, diary: Path, seed: int, first: int) -> None:
        super().__init__(path, Untraced(), seed, first)
        self._file = os.open(diary, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, what: str, **values: object) -> dict[str, object]:
        """An event, as of now; flushes are told of by their number, because the event they refer to is a copy here."""
        told = {**values, "of": id(values["of"])} if what == "flushed" else values
        mark = {"flush": id(values)} if what == "flush began" else {}
        with self.lock:
            os.write(self._file, pickle.dumps((time.monotonic_ns(), what, {**told, **mark})))
        return values


def read(diaries: list[Path]) -> list[Event]:
    """What all of them did, in order; the last entry of each may be cut short."""
    entries: list[tuple[int, int, str, dict[str, object]]] = []
    for writer, diary in enumerate(diaries):
        with open(diary, "rb") as file, contextlib.suppress(EOFError, pickle.UnpicklingError):
            while True:
                when, what, values = pickle.load(file)
                entries.append((when, writer, what, values))
    events, began = [], {}
    for when, writer, what, values in sorted(entries, key=lambda entry: entry[:2]):
        if what == "flush began":
            began[writer, values.pop("flush")] = values
        elif what == "flushed":
            values["of"] = began[writer, values["of"]]
        events.append(Event(when, what, values))
    return events


def write(path: Path, diary: Path, seed: int, writer: int) -> None:
    """Put to all streams; the first of the writers reshards and compacts as well. Ends when the store does."""
    actor = Diary(path, diary, seed, 1_000_000 * (writer + 1))
    chance = random.Random(seed)
    actor.store = streamstore.open(path, create=False, maintenance=False, sync_interval=0.01)
    while True:
        name, what = chance.choice(list(STREAMS)), chance.random()
        if what < 0.05:
            actor.flush()
        elif writer == 0 and what < 0.1:
            actor.split(name) if len(actor.open_shards(name)) < 4 else actor.merge(name)
        elif writer == 0 and what < 0.15:
            actor.seal(name)
            actor.compact(name)
        else:
            actor.some(name, chance.choice((1, 1, 2, 20)), large=chance.random() < 0.05, one_key=chance.random() < 0.5)


def start(work: Callable[[], None]) -> int:
    """Fork a process for it; returns its id. It ends without a word when its file system fails it."""
    child = os.fork()
    if child == 0:
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            work()
        finally:
            os._exit(1)
    return child
