"""The small executor for calls that wait for a disk. Knows nothing of stores."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

_T = TypeVar("_T")
# Puts that wait for one sync share it, so a few threads are a group; more would only be stacks.
WORKERS = 16
_executor: ThreadPoolExecutor | None = None


async def call(function: Callable[..., _T], *arguments: Any, **options: Any) -> _T:
    """Run it off the loop. What was begun is finished even where the caller is cancelled."""
    global _executor
    if _executor is None:
        _executor = ThreadPoolExecutor(WORKERS, thread_name_prefix="streamstore-aio")
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_executor, functools.partial(function, *arguments, **options))


def _forget() -> None:
    global _executor
    _executor = None  # its threads stayed in the parent


os.register_at_fork(after_in_child=_forget)
