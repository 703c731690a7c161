"""A paced iteration for asyncio: it waits in a thread of its own, which a cancelled task ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from streamstore.targets import Item


async def offloaded(batches: Iterator[Sequence[Item]], stop: Callable[[], None]) -> AsyncIterator[Item]:
    """The items of all batches; `stop` is called when nobody wants more of them."""
    loop = asyncio.get_running_loop()
    pool = ThreadPoolExecutor(1, "streamstore-replay")
    try:
        while (batch := await loop.run_in_executor(pool, next, batches, None)) is not None:
            for item in batch:
                yield item
    finally:
        stop()
        pool.shutdown()
