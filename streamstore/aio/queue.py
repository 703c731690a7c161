"""The async Queue and Message. Of all that wait on one queue object one watches the store, the others their turn."""

from __future__ import annotations

import asyncio
import queue as std
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from types import TracebackType
from typing import Any

from streamstore import clock, queue
from streamstore.aio.offload import call
from streamstore.aio.waiter import Ticket, waiter_of
from streamstore.errors import ClosedError, StaleReceiptError
from streamstore.native import PutResult, Record
from streamstore.queue.message import Message as InnerMessage
from streamstore.queue.queue import until


class Message:
    """The async twin of a message, and an async context manager; `.inner` is the sync one."""

    __slots__ = ("inner",)

    def __init__(self, inner: InnerMessage) -> None:
        self.inner = inner

    def __repr__(self) -> str:
        return f"<aio {self.inner!r}>"

    @property
    def body(self) -> Any:
        """What was put, decoded at the first look."""
        return self.inner.body

    @property
    def id(self) -> str:
        """The same in every delivery."""
        return self.inner.id

    @property
    def receipt(self) -> str:
        """What names this delivery."""
        return self.inner.receipt

    @property
    def key(self) -> str | None:
        return self.inner.key

    @property
    def receive_count(self) -> int:
        """How often it was received, this time included."""
        return self.inner.receive_count

    def user_records(self, deaggregate: bool | str = True) -> list[Record]:
        """What is in it, as Message.user_records; waits for nothing."""
        return self.inner.user_records(deaggregate)

    async def ack(self) -> None:
        """It is done, as Message.ack."""
        await self._settle(self.inner.ack)

    async def nack(self, delay: float = 0) -> None:
        """Give it back, as Message.nack."""
        await self._settle(self.inner.nack, delay)

    async def dead(self, reason: str = "") -> None:
        """Make a dead letter of it, as Message.dead."""
        await self._settle(self.inner.dead, reason)

    async def extend(self, seconds: float) -> None:
        """Keep it for longer, as Message.extend."""
        self.inner.extend(seconds)

    async def _settle(self, function: Callable[..., None], *arguments: Any) -> None:
        if self.inner.queue.engine.syncs:
            await call(function, *arguments)
        else:
            function(*arguments)

    async def __aenter__(self) -> Message:
        self.inner.queue.heart.watch(self.inner)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.inner.queue.heart.forget(self.inner)
        if self.inner.settled:
            return
        if error is None:
            await self.ack()
            return
        try:
            await self.nack()
        except StaleReceiptError:
            return  # somebody else has it: what went wrong in the block matters more


class Queue:
    """The async twin of a queue; `.inner` is the sync one. Belongs to one event loop."""

    def __init__(self, inner: queue.Queue) -> None:
        self.inner = inner
        self.name = inner.name
        self._turn = asyncio.Lock()
        self._waiter = waiter_of(inner.store.attachment)
        self._ticket: Ticket | None = None

    def __repr__(self) -> str:
        return f"<aio {self.inner!r}>"

    async def put(self, body: Any, block: bool = True, timeout: float | None = None, **options: Any) -> PutResult:
        """Put one message, as Queue.put."""
        if self.inner.engine.syncs or self.inner.settings.guarded:
            return await call(self.inner.put, body, block, timeout, **options)
        return self.inner.put(body, block, timeout, **options)

    async def put_many(self, bodies: Iterable[Any], **options: Any) -> Sequence[PutResult]:
        """Put many, as Queue.put_many."""
        if self.inner.engine.syncs or self.inner.settings.guarded:
            return await call(self.inner.put_many, list(bodies), **options)
        return self.inner.put_many(bodies, **options)

    async def get(
        self, block: bool = True, timeout: float | None = None, *, visibility: float | None = None
    ) -> Message:
        """Receive one message, as Queue.get. A cancelled wait consumes nothing."""
        return (await self.get_many(1, block, timeout, visibility=visibility))[0]

    async def get_many(
        self, n: int, block: bool = True, timeout: float | None = None, *, visibility: float | None = None
    ) -> list[Message]:
        """Receive 1 to `n` messages, as Queue.get_many."""
        found = self._now(n, visibility)
        if found:
            return found
        if not block:
            raise std.Empty
        until(timeout)  # asyncio would take a negative one for none at all
        try:
            return await asyncio.wait_for(self._wait(n, visibility), timeout)
        except asyncio.TimeoutError:
            raise std.Empty from None

    def _now(self, n: int, visibility: float | None) -> list[Message]:
        # No await between taking and handing out: a cancellation cannot come in between.
        try:
            return [Message(item) for item in self.inner.get_many(n, False, visibility=visibility)]
        except std.Empty:
            return []

    async def _wait(self, n: int, visibility: float | None) -> list[Message]:
        async with self._turn:
            while True:
                wanted, seconds = self.inner.engine.awaited()
                ticket = self._ticket = Ticket(wanted)
                self._waiter.register(ticket)
                try:
                    if found := self._now(n, visibility):
                        return found
                    await asyncio.wait([ticket.future], timeout=seconds)
                finally:
                    self._ticket = None
                    self._waiter.forget(ticket)

    def __aiter__(self) -> AsyncIterator[Message]:
        return self._messages()

    async def _messages(self) -> AsyncIterator[Message]:
        """Messages for ever; acknowledges nothing. Ends when the queue is closed."""
        while True:
            try:
                message = await self.get()
            except ClosedError:
                if self.inner.closed:
                    return
                raise
            yield message

    async def ack_many(self, messages: Iterable[Message]) -> None:
        """Acknowledge many at once, as Queue.ack_many."""
        inner = [message.inner for message in messages]
        if self.inner.engine.syncs:
            await call(self.inner.ack_many, inner)
        else:
            self.inner.ack_many(inner)

    async def join(self, timeout: float | None = None) -> bool:
        """Wait until all is acknowledged or dead, as Queue.join."""
        until_us = until(timeout)
        while not await call(self.inner.join, 0):
            if until_us is not None and clock.monotonic_us() >= until_us:
                return False
            wanted, seconds = self.inner.engine.awaited()
            ticket = Ticket(wanted)
            self._waiter.register(ticket)
            try:
                await asyncio.wait([ticket.future], timeout=seconds)
            finally:
                self._waiter.forget(ticket)
        return True

    async def stats(self) -> dict[str, int]:
        """Figures, as Queue.stats."""
        return self.inner.stats()

    async def close(self) -> None:
        """End every wait and every later call with ClosedError."""
        await call(self.inner.close)
        if self._ticket is not None and not self._ticket.future.done():
            self._ticket.future.set_result(None)
