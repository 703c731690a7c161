"""asyncio's own event loop, woken once for all that other threads hand it while it is busy, instead of once for each.

A request comes over from the HTTP library twice (head, body): a system call each, and the interpreter's lock given up
for it. With several connections most of these wakes find the loop awake.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamstore.server.entrance import Entrance

CHUNK = 4096


class Loop(asyncio.SelectorEventLoop):
    """A selector event loop whose pipe to itself holds at most one byte of its own.

    Whoever adds a callback does so before it looks at the mark, and the loop takes the mark away before it looks for
    callbacks: so a wake that is left out was not needed.
    """

    entrance: Entrance | None = None
    """Who looks first at what other threads hand over, and may do it there."""
    _woken = False
    _ssock: Any

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle | None:
        """As asyncio's; None for what was done at the entrance."""
        if self.entrance is not None and self.entrance.takes(callback, args):
            return None
        return super().call_soon_threadsafe(callback, *args, context=context)

    def take_later(self, callback: Callable[..., Any], *args: Any) -> None:
        """Past the entrance."""
        super().call_soon_threadsafe(callback, *args)

    def _write_to_self(self) -> None:
        if not self._woken:
            self._woken = True
            super()._write_to_self()  # type: ignore[misc]

    def _read_from_self(self) -> None:
        try:
            data = self._ssock.recv(CHUNK)
        except (BlockingIOError, InterruptedError):
            data = b""
        self._woken = False
        if data:  # the numbers of signals are among it
            self._process_self_data(data)  # type: ignore[attr-defined]


def run(main: Coroutine[Any, Any, None]) -> None:
    """What `asyncio.run` does, in such a loop."""
    loop = Loop()
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(main)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        asyncio.set_event_loop(None)
        loop.close()
