"""The one shape in which streamstore and every rival are driven, so that a row times the same steps on both sides.

What a round will write is made by `prepare` and `prepare_batches`, outside the clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol


class Engine(Protocol):
    """An open store of one engine. `durability` is what an acknowledged put survives; `setup` says how that is set."""

    name: str
    version: str
    durability: str
    setup: str

    def prepare(self, data: Sequence[bytes]) -> Any:
        """Return the input of put_each for these records."""

    def prepare_batches(self, data: Sequence[bytes], size: int) -> Any:
        """Return the input of put_batches for these records, `size` a batch."""

    def put_each(self, prepared: Any) -> None:
        """Put one record after the other, each acknowledged on its own."""

    def put_batches(self, prepared: Any) -> None:
        """Put one batch after the other, each acknowledged as a whole."""

    def read_all(self) -> int:
        """Read every record from the start and return how many there were."""

    def close(self) -> None:
        """Let go of the store; its files stay."""


def batches(entries: Sequence[Any], size: int) -> list[Sequence[Any]]:
    """Return the entries cut into runs of `size`."""
    return [entries[start : start + size] for start in range(0, len(entries), size)]
