"""What the queues without a batch call share: their input is the data itself, and a batch is a loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from bench.engine import batches


class OneByOne(ABC):
    """Base of queues that take one item a call."""

    @abstractmethod
    def put_each(self, prepared: Sequence[bytes]) -> None:
        """Put one item after the other."""

    def prepare(self, data: Sequence[bytes]) -> Sequence[bytes]:
        """Return the data as it is."""
        return data

    def prepare_batches(self, data: Sequence[bytes], size: int) -> list[Sequence[bytes]]:
        """Return the data cut into batches."""
        return batches(data, size)

    def put_batches(self, prepared: Sequence[Sequence[bytes]]) -> None:
        """Put one batch after the other, item by item."""
        for batch in prepared:
            self.put_each(batch)
