"""An answer that is not there yet, as the doors see it: they wait for it in a thread, or in an event loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamstore import native
    from streamstore.kinesis.cbor_codec import CborCodec
    from streamstore.kinesis.json_codec import JsonCodec


class Waiting(ABC):
    """A door asks `poll`, in one thread or task at a time; where that has nothing it waits and asks again.

    `wanted` has the logs, and the positions beyond which something would be news, as of before the last look (none:
    only time tells), and `pause_s` says how long to wait for them at most.
    """

    codec: JsonCodec | CborCodec
    wanted: list[tuple[native.Log, int]]
    pause_s: float

    @property
    @abstractmethod
    def key(self) -> object:
        """What those have in common that wait for the same: one of them watches, the others wait for their turn."""

    @abstractmethod
    def seconds_left(self) -> float:
        """Until the answer is due, whatever it is."""

    @abstractmethod
    def poll(self) -> dict[str, Any] | None:
        """The answer, or None where there is nothing yet and time is left. May read from disk, and sync."""

    @abstractmethod
    def end(self) -> None:
        """Have the next look be the last."""

    @abstractmethod
    def give_back(self) -> None:
        """Whom the last answer was for is gone: what was in it is there for others again."""

    @abstractmethod
    def turn(self) -> AbstractContextManager[None]:
        """Be the one that watches, of all threads that wait for the same; or go on without when the time is over."""

    @abstractmethod
    def watch(self) -> int:
        """What `block` is to be told: read it before polling."""

    @abstractmethod
    def block(self, seen: int) -> None:
        """Wait in this thread until there may be something, or the time is over."""
