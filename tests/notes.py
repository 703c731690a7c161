"""What processes note of their puts and of what they see, a line each, and the history that the lines tell.

A process has a file of its own, and its lines come in by one write a call: a kill leaves whole what was noted. A put is
noted before it is begun, and again after its call returned.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from history import History, Name


class Notes:
    """The notes of one process."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def _note(self, lines: Iterable[str]) -> None:
        os.write(self._file, "".join(f"{line}\n" for line in lines).encode())

    def begun(self, names: Iterable[Name]) -> None:
        """These records are about to be put, in one call."""
        moment = time.monotonic_ns()
        self._note(f"A {producer} {n} {moment}" for producer, n in names)

    def acked(self, names: Iterable[Name], results: Sequence[Any]) -> None:
        """The call returned with these results."""
        moment = time.monotonic_ns()
        self._note(
            f"K {producer} {n} {moment} {result.shard_id} {result.sequence_number}"
            for (producer, n), result in zip(names, results, strict=True)
        )

    def saw(self, consumer: str, records: Iterable[tuple[Name, Any]]) -> None:
        """Somebody who reads without a gap got these records next."""
        self._note(
            f"S {producer} {n} {consumer} {record.shard_id} {record.sequence_number}"
            for (producer, n), record in records
        )


def told(paths: Iterable[Path]) -> History:
    """The history that some notes tell, in whatever order."""
    history = History()
    for path in paths:
        for line in path.read_text().splitlines():
            kind, producer, n, *rest = line.split()
            if kind == "A":
                history.invoke(int(producer), int(n), int(n) + 1, int(rest[0]))
            elif kind == "K":
                moment, shard, number = rest
                history.ok(int(producer), int(n), shard, int(number), int(moment))
            else:
                consumer, shard, number = rest
                history.saw(consumer, shard, int(producer), int(n), int(number))
    return history
