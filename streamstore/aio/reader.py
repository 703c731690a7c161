"""The async Reader: the sync one's polling, with awaits where that one would sleep."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from types import TracebackType

from streamstore import clock, limits, reader
from streamstore.aio.waiter import Ticket, Waiter
from streamstore.native import Record
from streamstore.values import Position


class Reader:
    """Records of a stream, as an async iterator and async context manager; one task iterates, any may close it.

    Raises what the sync Reader raises. A cancelled wait consumes nothing: iterate again and the same record comes.
    """

    def __init__(self, inner: reader.Reader, waiter: Waiter) -> None:
        self._inner = inner
        self._waiter = waiter
        self._iterator: Iterator[Record] = iter(())
        self._ticket: Ticket | None = None
        self._waited_from = clock.monotonic_us()

    def __aiter__(self) -> Reader:
        return self

    async def __anext__(self) -> Record:
        for record in self._iterator:
            return record
        batch = await self._next_batch()
        if batch is None:
            raise StopAsyncIteration
        self._iterator = self._inner.hand_out(batch)
        return next(self._iterator)

    async def __aenter__(self) -> Reader:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def batches(self) -> AsyncIterator[list[Record]]:
        """The same records as lists, each at least one long. A batch counts as read once it was handed out."""
        if rest := list(self._iterator):  # of a batch that somebody began to iterate over
            yield rest
        while records := await self._next_batch():
            yield list(self._inner.hand_out(records))

    @property
    def position(self) -> Position:
        """Where to go on after the last record handed out: for `read(start=...)` of the same stream, sync or async."""
        return self._inner.position

    @property
    def trimmed_count(self) -> int:
        """How often it went on behind what was trimmed before it was read."""
        return self._inner.trimmed_count

    @property
    def corrupt_count(self) -> int:
        """How many damaged ranges it passed over."""
        return self._inner.corrupt_count

    @property
    def stray_count(self) -> int:
        """How many user records the range rule left out."""
        return self._inner.stray_count

    def close(self) -> None:
        """End the iteration, also of a task that waits in it, at once. `position` stays valid."""
        self._inner.close()
        self._iterator = iter(())
        ticket = self._ticket
        if ticket is not None and not ticket.future.done():
            ticket.future.set_result(None)

    async def _next_batch(self) -> list[Record] | None:
        await asyncio.sleep(0)  # a reader that always finds something must not starve the loop
        self._waited_from = clock.monotonic_us()
        while True:
            batch = self._inner.poll()
            if batch is None or batch:
                return batch
            if not await self._wait():
                return None

    async def _wait(self) -> bool:
        left = self._inner.time_left_us(self._waited_from)
        if left == 0:
            return False
        if self._inner.is_stuck:  # no log tells when a split or merge is finished
            left = min(left, limits.WAIT_SLICE_US) if left >= 0 else limits.WAIT_SLICE_US
        ticket = self._ticket = Ticket(self._inner.wanted())
        self._waiter.register(ticket)
        try:
            await asyncio.wait_for(ticket.future, None if left < 0 else left / 1_000_000)
        except asyncio.TimeoutError:
            return True  # poll once more; then time_left_us ends it
        finally:
            self._ticket = None
            self._waiter.forget(ticket)
        return True
