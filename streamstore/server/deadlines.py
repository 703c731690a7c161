"""A bound on how long tasks may take over something, looked at for all of them together, once in a while."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

_T = TypeVar("_T")


class Deadlines:
    """Cancels what takes longer than `seconds`, at most a quarter of that later. One event loop's."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: dict[asyncio.Task[Any], float] = {}  # in the order in which they began
        self._late: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def hold(self, awaited: Awaitable[_T]) -> _T:
        """What the awaited comes to. Raises asyncio.TimeoutError."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        self._since[task] = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(self._seconds / 4, self._look, loop)
        try:
            return await awaited
        except asyncio.CancelledError:
            if task not in self._late:
                raise
            raise asyncio.TimeoutError from None
        finally:
            del self._since[task]
            self._late.discard(task)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        oldest = loop.time() - self._seconds
        for task, since in list(self._since.items()):
            if since > oldest:
                break
            self._late.add(task)
            task.cancel()
        self._timer = loop.call_later(self._seconds / 4, self._look, loop) if self._since else None
