"""The rivals as work queues: put, take, say that it is done. One object for every thread, as their documents have it.

`durable` turns their syncing on: SQLite with synchronous=FULL.
"""

from __future__ import annotations

import threading
from importlib.metadata import version
from pathlib import Path

import persistqueue
from litequeue import LiteQueue

FULL = "PRAGMA synchronous = FULL"


class LiteWork:
    """litequeue: put, pop, done. It has no calls for batches."""

    name = "litequeue"
    version = version("litequeue")

    def __init__(self, directory: Path, *, durable: bool) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.setup = "WAL, synchronous=FULL" if durable else "as it comes: WAL, synchronous=NORMAL"
        self.durability = "sync" if durable else "process"
        self._queue = LiteQueue(str(directory / "queue.db"))
        # Its one connection takes one statement at a time.
        self._lock = threading.Lock()
        if durable:
            self._queue.conn.execute(FULL)

    def cycle(self, data: bytes) -> None:
        """One message in, out, and done."""
        text = data.decode("latin-1")
        with self._lock:
            self._queue.put(text)
        with self._lock:
            message = self._queue.pop()
        with self._lock:
            self._queue.done(message.message_id)

    def cycle_batch(self, batch: list[bytes]) -> None:
        """A batch in, out, and done, a call a message."""
        for data in batch:
            self._queue.put(data.decode("latin-1"))
        for message in [self._queue.pop() for _ in batch]:
            self._queue.done(message.message_id)

    def close(self) -> None:
        """Close the connection."""
        self._queue.close()


class PersistWork:
    """persist-queue's SQLiteAckQueue: put, get, ack, with a commit each. It has no calls for batches."""

    name = "persist-queue (SQLiteAckQueue)"
    version = version("persist-queue")
    setup = "SQLiteAckQueue(auto_commit=True, multithreading=True): WAL, synchronous=FULL by default"
    durability = "sync"

    def __init__(self, directory: Path, *, durable: bool) -> None:
        self._queue = persistqueue.SQLiteAckQueue(str(directory), auto_commit=True, multithreading=True)

    def cycle(self, data: bytes) -> None:
        """One message in, out, and done."""
        self._queue.put(data)
        self._queue.ack(self._queue.get())

    def cycle_batch(self, batch: list[bytes]) -> None:
        """A batch in, out, and done, a call a message."""
        for data in batch:
            self._queue.put(data)
        for item in [self._queue.get() for _ in batch]:
            self._queue.ack(item)

    def close(self) -> None:
        """Close the connections."""
        self._queue.close()
