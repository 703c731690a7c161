"""PutRecords taken up in the HTTP library's own thread, which would wake the loop for them: no task, no switch.

The library gives a request to the loop as a coroutine and the watcher that it reports to, and wakes the loop once more
for the body. Both come through `Loop.call_soon_threadsafe`, so that is where we stand. What does not look like that, or
is no plain PutRecord, goes on to the loop as if nobody had looked.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from streamstore.kinesis import at_once
from streamstore.kinesis.wire import HttpRequest, HttpResponse

if TYPE_CHECKING:
    from streamstore.server.app import Application
    from streamstore.server.loop import Loop


class Entrance:
    """The entrance of one application into its loop. `takes` is any thread's, `end_late` the loop's."""

    def __init__(self, application: Application, direct: at_once.AtOnce, loop: Loop) -> None:
        self.application = application
        self.direct = direct
        self.loop = loop
        self.pending: dict[Body, None] = {}  # in the order in which they began; the library's thread changes it
        self.taken = 0

    def takes(self, callback: Any, arguments: tuple[Any, ...]) -> bool:
        """Was this call of the library's made here? No where it is the loop's."""
        if type(callback) is Body:
            callback(arguments[0])
            return True
        if len(arguments) != 2:
            return False
        watcher = arguments[1]
        scope, protocol = getattr(watcher, "scope", None), getattr(watcher, "proto", None)
        if scope is None or protocol is None or getattr(scope, "proto", "") != "http":
            return False
        head = scope.headers
        if head.get("x-amz-target") != at_once.TARGET or not _is_short(head.get("content-length", "")):
            return False
        body = Body(self, scope, protocol, (callback, *arguments))
        try:
            body.future = protocol()
        except RuntimeError:
            return False
        self.pending[body] = None
        body.future.add_done_callback(body, context=None)
        return True

    def end_late(self, seconds: float) -> None:
        """Give up on bodies that take longer than that."""
        oldest = time.monotonic() - seconds
        for body in list(self.pending):
            if body.since > oldest:
                break
            body.future.cancel()


class Body:
    """A request whose body is awaited; called when it is there, or will not come."""

    __slots__ = ("_entrance", "_handed", "_protocol", "_scope", "future", "since")
    future: Any

    def __init__(self, entrance: Entrance, scope: Any, protocol: Any, handed: tuple[Any, ...]) -> None:
        self._entrance = entrance
        self._scope = scope
        self._protocol = protocol
        self._handed = handed  # what the library asked the loop to call
        self.since = time.monotonic()

    def __call__(self, future: Any) -> None:
        entrance = self._entrance
        try:
            response = self._answer(future.result())
        except BaseException:  # it did not come, or in too long a time: who hears of it next says so
            response = None
        entrance.pending.pop(self, None)
        if response is None:
            entrance.loop.take_later(*self._handed)
            return
        _, coroutine, watcher = self._handed
        coroutine.close()  # it never began
        entrance.taken += 1
        self._protocol.response_bytes(response.status, response.headers, response.body)
        entrance.application.answered(self._scope, response)
        watcher.done()

    def _answer(self, body: bytes) -> HttpResponse | None:
        scope, application = self._scope, self._entrance.application
        headers = application.headers(scope)
        response = None
        if application.refusal(scope, headers) is None:
            request = HttpRequest(scope.method, scope.path, scope.query_string, headers, body)
            response = self._entrance.direct.answer(request)
        if response is None:
            application.early[self._protocol] = body
        return response


def _is_short(length: str) -> bool:
    return length.isascii() and length.isdigit() and len(length) <= 6 and int(length) <= at_once.BODY_SIZE_MAX
