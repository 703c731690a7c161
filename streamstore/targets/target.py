"""What all targets have in common: they take batches, count what they took, and end well or badly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Protocol, TypeVar

_Self = TypeVar("_Self", bound="Target")


class Item(Protocol):
    """What is sent: a Record, a PutEntry, or anything else that has these."""

    @property
    def data(self) -> bytes: ...
    @property
    def partition_key(self) -> str | None: ...
    @property
    def explicit_hash_key(self) -> int | None: ...
    @property
    def attributes(self) -> Mapping[str, Any] | None: ...
    @property
    def event_time(self) -> datetime | int | float | None: ...
    @property
    def source(self) -> Mapping[str, Any] | None: ...


class Target:
    """Takes batches of items in order. A context manager; one thread at a time.

    `records` counts what it took, `retries` what had to be sent again; `name` is for people.
    """

    name = "target"

    def __init__(self) -> None:
        self.records = 0
        self.retries = 0

    def send(self, items: Sequence[Item]) -> None:
        """Send a batch; at return it has all been taken, as durable as the target makes it.

        Raises what the target raises; then nobody can say how much of the batch was taken.
        """
        self._send(items)
        self.records += len(items)

    def close(self) -> None:
        """Finish: what was sent is whole. Twice is as good as once."""

    def abort(self) -> None:
        """Let go after a failure; a file that only makes sense whole is removed."""
        self.close()

    def _send(self, items: Sequence[Item]) -> None:
        raise AssertionError("a target says how it sends")

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()
