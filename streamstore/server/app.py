"""The RSGI application: bounds and deadlines for what comes in, blocking work off the loop, events as they come."""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from streamstore.kinesis import at_once, wire
from streamstore.kinesis.service import Service
from streamstore.kinesis.subscriptions import Subscription
from streamstore.kinesis.wire import HttpRequest, HttpResponse
from streamstore.server.deadlines import Deadlines
from streamstore.server.entrance import Entrance
from streamstore.server.gate import Gate
from streamstore.server.outgoing import Accounts, Outgoing
from streamstore.server.unread import OPERATIONS, Unread
from streamstore.server.waits import Waits
from streamstore.server.workers import Workers

if TYPE_CHECKING:
    from streamstore.aio.waiter import Ticket
    from streamstore.server.loop import Loop

BODY_SIZE_MAX = 16 << 20  # 10 MiB of records in base64, and their keys
BODY_SECONDS = 60.0
HEADER_SIZE_MAX = 64 << 10
WORKERS = 32
KNOWN_HOSTS_MAX = 1000
HEALTH = "/healthcheck"


class Application:
    """One server's answers to requests. Made in any thread; called in the server's loop."""

    def __init__(self, service: Service, gate: Gate, allowed_hosts: Iterable[str] = ()) -> None:
        self.service = service
        self.stopping = False
        self.early: dict[Any, bytes] = {}
        """Bodies of requests that were looked at before, by their protocol."""
        self._under_way = 0
        self._gate = gate
        self._allowed = frozenset(host.lower() for host in allowed_hosts)
        self._known_hosts: set[str] = set()
        self._workers = Workers(WORKERS)
        self._deadlines = Deadlines(BODY_SECONDS)
        self._accounts = Accounts()
        # Whose signature is to be computed, and rights looked up, goes the long way.
        self._at_once = None if gate.verifies else at_once.AtOnce(service, gate.who)
        self._unread = Unread()
        self._waits = Waits(service, self._workers, self._unread)
        self._entrance: Entrance | None = None

    def stand_at(self, loop: Loop) -> None:
        """Look at requests before the loop does, from now on."""
        if self._at_once is not None:
            self._entrance = loop.entrance = Entrance(self, self._at_once, loop)
            self._end_late(loop)

    def _end_late(self, loop: Loop) -> None:
        assert self._entrance is not None
        loop.call_later(BODY_SECONDS / 4, self._end_late, loop)
        self._entrance.end_late(BODY_SECONDS)

    @property
    def under_way(self) -> int:
        """Requests that are not answered yet."""
        pending = 0 if self._entrance is None else len(self._entrance.pending)
        return pending + len(self.early) + self._under_way

    async def __call__(self, scope: Any, protocol: Any) -> None:
        """Answer one request."""
        if scope.proto != "http":
            protocol.close(403)
            return
        self._under_way += 1
        try:
            await self._answer(scope, protocol)
        finally:
            self._under_way -= 1

    async def _answer(self, scope: Any, protocol: Any) -> None:
        early = self.early.pop(protocol, None)
        headers = self.headers(scope)
        if (refusal := self.refusal(scope, headers)) is not None:
            _plain(protocol, *refusal)
            return
        body = await self._body(protocol, headers) if early is None else early
        if body is None:
            _plain(protocol, 413, "the body is too large, or took too long")
            return
        request = HttpRequest(scope.method, scope.path, scope.query_string, headers, body)
        response: HttpResponse | None = None
        if self._at_once is not None and early is None and headers.get("x-amz-target") == at_once.TARGET:
            response = self._at_once.answer(request)
        if response is None and headers.get("x-amz-target") in OPERATIONS:
            response = await self._unread.make(lambda: self._ask(request))
        elif response is None:
            response = await self._ask(request)
        if response.waiting is not None:
            response = await self._waits.finish(protocol, response.waiting)
            if response is None:
                return
        if response.subscription is None:
            self._unread.give(scope.client, len(response.body))
            _send(protocol, response)
            self.answered(scope, response)
        else:
            account = self._accounts.enter(scope.client, scope.http_version)
            try:
                await self._stream(protocol, response, response.subscription, account)
            finally:
                self._accounts.leave(scope.client)

    def answered(self, scope: Any, response: HttpResponse) -> None:
        """Note that a connection was given an answer."""
        self._accounts.give(scope.client, len(response.body))

    def _ask(self, request: HttpRequest) -> asyncio.Future[HttpResponse]:
        return self._workers.call(self._answer_waiting, request)

    def _answer_waiting(self, request: HttpRequest) -> HttpResponse:
        response = wire.answer(self.service, request, self._gate.who, self._gate.allow)
        if self._at_once is not None:
            self._at_once.learn()
        return response

    @staticmethod
    def headers(scope: Any) -> dict[str, str]:
        """By lower-case name; those that come twice are joined, as signatures want them."""
        items = scope.headers.items()
        headers: dict[str, str] = dict(items)
        if len(headers) < len(items):
            headers = {}
            for name, value in items:
                headers[name] = f"{headers[name]},{value}" if name in headers else value
        if scope.authority:
            headers[":authority"] = scope.authority
            headers.setdefault("host", scope.authority)
        return headers

    def refusal(self, scope: Any, headers: dict[str, str]) -> tuple[int, str] | None:
        """What is said before a body is read, or to a health check."""
        if sum(map(len, headers)) + sum(map(len, headers.values())) > HEADER_SIZE_MAX:
            return 431, "headers too large"
        if not self._known_host(headers.get("host", "")):
            return 421, "this server does not answer for that host: see --allow-host"
        if self.stopping:
            return 503, "stopping"
        if scope.method == "GET" and scope.path == HEALTH:
            return 200, "ok"
        return None

    def _known_host(self, host: str) -> bool:
        if host in self._known_hosts:
            return True
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        name = name.strip("[]").lower()
        known = name == "localhost" or name.endswith(".localhost") or name in self._allowed or _is_address(name)
        if known and len(self._known_hosts) < KNOWN_HOSTS_MAX:
            self._known_hosts.add(host)
        return known

    async def _body(self, protocol: Any, headers: dict[str, str]) -> bytes | None:
        """The request's body; None where it is too large or does not come."""
        length = headers.get("content-length", "")
        # Over HTTP/1 and HTTP/2 alike no more comes than was announced.
        announced = int(length) if length.isascii() and length.isdigit() and len(length) <= 20 else None
        if announced is not None and announced > BODY_SIZE_MAX:
            return None
        try:
            return await self._deadlines.hold(_collect(protocol) if announced is None else protocol())
        except (asyncio.TimeoutError, RuntimeError):
            return None

    async def _stream(
        self, protocol: Any, response: HttpResponse, subscription: Subscription, account: Outgoing
    ) -> None:
        """Send a subscription's frames until it ends or the client goes. Waiting costs no thread."""
        from streamstore.aio.waiter import Ticket, waiter_of  # not at the start, which it would make slower

        loop = asyncio.get_running_loop()
        waiter = waiter_of(self.service.store.attachment)
        gone = asyncio.ensure_future(protocol.client_disconnect())
        transport = protocol.response_stream(response.status, response.headers)
        try:
            while not gone.done():
                # Before it is asked: what comes between the question and the wait must not be slept through.
                ticket = Ticket([subscription.wanted()])
                subscription.notify = functools.partial(_wake, loop, ticket)
                frame = await self._workers.call(subscription.poll)
                if frame is not None:
                    await transport.send_bytes(frame)
                    account.give(len(frame))
                    await account.drained(gone, lambda: subscription.ended)
                elif subscription.ended:
                    return
                else:
                    waiter.register(ticket)
                    try:
                        seconds = subscription.wait_us() / 1_000_000
                        await asyncio.wait({ticket.future, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
                    finally:
                        waiter.forget(ticket)
        except Exception:
            # The client went away in the middle of a frame: nobody is left to be told.
            if not gone.done():
                gone.cancel()
        finally:
            gone.cancel()
            subscription.close()

    async def drain(self, seconds: float) -> bool:
        """Refuse what is new, end what waits, and wait for what is under way; False where some did not end."""
        self.stopping = True
        self.service.subscriptions.end_all()
        self._waits.end_all()
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while self.under_way and loop.time() < until:
            await asyncio.sleep(0.01)
        return not self.under_way

    def close(self) -> None:
        """Let the threads go."""
        self._workers.close()


def _wake(loop: asyncio.AbstractEventLoop, ticket: Ticket) -> None:
    loop.call_soon_threadsafe(_resolve, ticket)


def _resolve(ticket: Ticket) -> None:
    if not ticket.future.done():
        ticket.future.set_result(None)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


async def _collect(protocol: Any) -> bytes | None:
    chunks, size = [], 0
    async for chunk in protocol:
        size += len(chunk)
        if size > BODY_SIZE_MAX:
            return None
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _send(protocol: Any, response: HttpResponse) -> None:
    if response.body:
        protocol.response_bytes(response.status, response.headers, response.body)
    else:
        protocol.response_bytes(response.status, [*response.headers, ("content-length", "0")], b"")


def _plain(protocol: Any, status: int, text: str) -> None:
    body = json.dumps({"status": text}).encode()
    protocol.response_bytes(status, [("content-type", "application/json")], body)
