"""The two queues of persist-queue: one in plain files, one in SQLite. Items are put and taken one at a time."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import persistqueue

from bench.rivals.one_by_one import OneByOne

VERSION = version("persist-queue")


class PersistFileQueue(OneByOne):
    """persistqueue.Queue: items pickled into chunk files, flushed to the page cache at each put."""

    name = "persist-queue (files)"
    version = VERSION
    durability = "process"
    setup = "Queue(autosave=True): flushed at each put, synced only when a chunk is full"

    def __init__(self, directory: Path) -> None:
        self.queue = persistqueue.Queue(str(directory), autosave=True)

    def put_each(self, prepared: Sequence[bytes]) -> None:
        """One put a record."""
        for item in prepared:
            self.queue.put(item)

    def read_all(self) -> int:
        """Take every item."""
        count = 0
        while self.queue.qsize():
            self.queue.get()
            self.queue.task_done()
            count += 1
        return count

    def close(self) -> None:
        """Drop the queue, which closes its files."""
        del self.queue


class PersistSqliteQueue(OneByOne):
    """persistqueue.SQLiteQueue with a commit for each put, SQLite's WAL at its default synchronous=FULL."""

    name = "persist-queue (SQLite)"
    version = VERSION
    durability = "sync"
    setup = "SQLiteQueue(auto_commit=True): WAL, synchronous=FULL by default"

    def __init__(self, directory: Path) -> None:
        self.queue = persistqueue.SQLiteQueue(str(directory), auto_commit=True)

    def put_each(self, prepared: Sequence[bytes]) -> None:
        """One put a record."""
        for item in prepared:
            self.queue.put(item)

    def read_all(self) -> int:
        """Take every item."""
        count = 0
        while self.queue.size:
            self.queue.get()
            self.queue.task_done()
            count += 1
        return count

    def close(self) -> None:
        """Close the connections."""
        self.queue.close()
