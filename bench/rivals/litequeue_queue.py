"""litequeue: a queue in one SQLite table, WAL with synchronous=NORMAL as it sets itself.

Items are text, so the data goes in as latin-1.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from litequeue import LiteQueue

from bench.rivals.one_by_one import OneByOne


class LiteQueueQueue(OneByOne):
    """One queue; a put is an insert, a get is a pop and a done."""

    name = "litequeue"
    version = version("litequeue")
    durability = "process"
    setup = "as it comes: WAL, synchronous=NORMAL (synced at checkpoints only)"

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.queue = LiteQueue(str(directory / "queue.db"))

    def prepare(self, data: Sequence[bytes]) -> list[str]:  # type: ignore[override]
        """Return the data as text, which is what litequeue stores."""
        return [item.decode("latin-1") for item in data]

    def put_each(self, prepared: Sequence[str]) -> None:  # type: ignore[override]
        """One insert a record."""
        for item in prepared:
            self.queue.put(item)

    def read_all(self) -> int:
        """Pop every message and mark it done."""
        count = 0
        while (message := self.queue.pop()) is not None:
            self.queue.done(message.message_id)
            count += 1
        return count

    def close(self) -> None:
        """Close the connection."""
        self.queue.close()
