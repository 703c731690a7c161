"""The async twins: `async with streamstore.aio.open(path) as store`, with the names and meanings of the package itself.

Nothing here waits on the event loop's thread: one waiter thread watches the store for all loops and followers of the
process, and what waits for a disk runs in a small executor. A cancelled wait never consumes a record.
"""

from __future__ import annotations

from streamstore.aio.queue import Message, Queue
from streamstore.aio.reader import Reader
from streamstore.aio.store import Store, open
from streamstore.aio.stream import Shard, Stream

__all__ = ["Message", "Queue", "Reader", "Shard", "Store", "Stream", "open"]
