"""A child that is killed in the middle of what it does, at one of its calls of the operating system."""

from __future__ import annotations

import os
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any


def ended(work: Callable[[], Any], step: int, names: tuple[str, ...]) -> bool:
    """Run `work` in a forked child that is killed before its `step`-th call of any of these functions of `os`.

    Returns whether it came to its end before that; what it raises fails the test.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*fork.*", DeprecationWarning)
        child = os.fork()
    if child == 0:
        status = 1
        try:
            _die_at(step, names)
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL), f"the child ended with status {status}"
    return status == 0


def _die_at(step: int, names: tuple[str, ...]) -> None:
    calls: Iterator[int] = count(1)
    for name in names:
        setattr(os, name, _dying(getattr(os, name), calls, step))


def _dying(function: Callable[..., Any], calls: Iterator[int], step: int) -> Callable[..., Any]:
    def called(*arguments: Any, **options: Any) -> Any:
        if next(calls) == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)

    return called
