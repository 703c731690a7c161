"""Answers that take time, in the server's loop: a task each and no thread; of those that wait for the same, one
watches the store and the others their turn.
"""

from __future__ import annotations

import asyncio
import weakref
from typing import Any

from streamstore.kinesis import wire
from streamstore.kinesis.service import Service
from streamstore.kinesis.waiting import Waiting
from streamstore.kinesis.wire import HttpResponse
from streamstore.server.unread import Unread
from streamstore.server.workers import Workers


class Waits:
    """The waits of one server. Belongs to the loop's thread."""

    def __init__(self, service: Service, workers: Workers, unread: Unread) -> None:
        self._service = service
        self._workers = workers
        self._unread = unread
        self._turns: weakref.WeakValueDictionary[object, asyncio.Lock] = weakref.WeakValueDictionary()
        self._ends: set[asyncio.Future[None]] = set()
        self._ended = False

    async def finish(self, protocol: Any, waiting: Waiting) -> HttpResponse | None:
        """The answer, once there is one; None, with nothing received, where the client has gone."""
        client = asyncio.ensure_future(protocol.client_disconnect())
        end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ends.add(end)
        if self._ended:
            end.set_result(None)
        turn = self._turns.get(waiting.key)
        if turn is None:
            turn = self._turns[waiting.key] = asyncio.Lock()
        mine = asyncio.ensure_future(turn.acquire())
        try:
            timeout = waiting.seconds_left()
            await asyncio.wait({mine, client, end}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            return await self._watch(waiting, client, end)
        finally:
            if mine.done() and not mine.cancelled():
                turn.release()
            else:
                mine.cancel()  # a turn that is being handed over goes to the next
            self._ends.discard(end)
            client.cancel()

    async def _watch(
        self, waiting: Waiting, client: asyncio.Future[Any], end: asyncio.Future[None]
    ) -> HttpResponse | None:
        while not client.done():
            if end.done():  # the server stops: the answer is what there is now
                waiting.end()
            response: HttpResponse = await self._unread.make(
                lambda: self._workers.call(wire.resume, self._service, waiting)
            )
            if response.waiting is None:
                if not client.done():
                    return response
                self._workers.call(waiting.give_back)
                return None
            await self._news(waiting, client, end)
        return None

    async def _news(self, waiting: Waiting, client: asyncio.Future[Any], end: asyncio.Future[None]) -> None:
        """Wait until there may be something, or as long as it says."""
        timeout = min(waiting.pause_s, waiting.seconds_left())
        if not waiting.wanted:
            await asyncio.wait({client, end}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            return
        from streamstore.aio.waiter import Ticket, waiter_of  # what few servers need, and takes its time to load

        ticket = Ticket(waiting.wanted)
        waiter = waiter_of(self._service.store.attachment)
        waiter.register(ticket)
        try:
            await asyncio.wait({ticket.future, client, end}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiter.forget(ticket)

    def end_all(self) -> None:
        """Have every one come with what there is now, also what begins to wait after this."""
        self._ended = True
        for end in self._ends:
            if not end.done():
                end.set_result(None)
