"""Targets in the program itself: a callable, and nothing at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from streamstore.targets.target import Item, Target


class CallableTarget(Target):
    """Calls a function with each item, in order; `batches=True` gives it the lists."""

    def __init__(self, function: Callable[[Any], Any], *, batches: bool = False) -> None:
        super().__init__()
        self.name = getattr(function, "__name__", type(function).__name__)
        self._function = function
        self._batches = batches

    def _send(self, items: Sequence[Item]) -> None:
        if self._batches:
            self._function(items)
            return
        for item in items:
            self._function(item)


class NullTarget(Target):
    """Takes everything and keeps nothing: what is left is the speed of the sender."""

    name = "null"

    def _send(self, items: Sequence[Item]) -> None:
        pass
