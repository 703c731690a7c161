"""Stdin, or another pipe, as the source of a capture: its lines, each once where the pipe has a name."""

from __future__ import annotations

import hashlib
import os
import select
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from streamstore import clock
from streamstore.capture.cutting import Piece, cut, start_pattern
from streamstore.capture.source import Lag, Taken
from streamstore.fields import FieldTaker
from streamstore.native import Record
from streamstore.values import PutEntry

WAIT = 0.3
CHUNK_SIZE = 256 * 1024
KEY_SIZE_MAX = 1024


class PipeSource:
    """The lines of a binary file that is read once, front to back.

    With `source_id` a later run goes on where an earlier one was, if it is given the same bytes from the beginning
    again; without one nobody can tell. Lines without a key are placed one after the other, by their number.
    """

    def __init__(
        self,
        file: BinaryIO,
        *,
        taker: FieldTaker | None = None,
        multi_line: str | None = None,
        source_id: str | None = None,
    ) -> None:
        self.id = source_id or f"pipe:{uuid.uuid4()}"
        self.name = source_id or "stdin"
        self.shard_count = 1
        self._file = file.fileno()
        self._taker = taker or FieldTaker()
        self._start = start_pattern(multi_line)
        self._size_max = 1 << 20
        self._position = self._read = 0  # all up to here is in; what was cut so far
        self._line = 1
        self._has: set[int] = set()

    def fit(self, record_size_max: int) -> None:
        self._size_max = max(1, record_size_max - KEY_SIZE_MAX)

    def restore(self, state: Any) -> None:
        if state is not None:
            self._position, self._has = state["position"], set(state["has"])

    def seen(self, source: Mapping[str, Any], record: Record) -> None:
        self._has.add(source["position"])

    def batches(self, *, follow: bool) -> Iterator[Sequence[Taken]]:
        waiting = b""
        over = False
        while not over:
            if not select.select([self._file], [], [], WAIT)[0]:
                yield []
                continue
            data = os.read(self._file, CHUNK_SIZE)
            over = not data
            waiting += data
            pieces = cut(waiting, self._size_max, start=self._start, finished=over)
            batch = [taken for piece in pieces if (taken := self._taken(piece)) is not None]
            if pieces:
                waiting = waiting[pieces[-1].end :]
                self._read += pieces[-1].end
            if batch:
                yield batch
            else:
                self.took(batch)

    def took(self, batch: Sequence[Taken]) -> None:
        self._position = max(self._position, self._read)
        self._has = {begin for begin in self._has if begin >= self._position}

    def _taken(self, piece: Piece) -> Taken | None:
        begin = self._read + piece.begin
        line = self._line
        self._line += piece.lines
        if begin < self._position or begin in self._has:
            return None
        key, event_time = self._taker.take(piece.data)
        source: dict[str, Any] = {
            "from": self.id,
            "position": begin,
            "next": self._read + piece.end,
            "line": line,
            "arrival_us": clock.now_us(),
        }
        if not piece.whole:
            source["newline"] = False
        hash_key = None if key is not None else _spread(line)
        return Taken("pipe", begin, PutEntry(piece.data, key, hash_key, None, event_time, source))

    def is_settled(self) -> bool:
        return True  # the state has what came in behind the checkpoint, too

    def state(self) -> Any:
        return {"position": self._position, "has": sorted(self._has)}

    def lag(self) -> Lag:
        return Lag(0, "bytes", 1)

    def notes(self) -> dict[str, Any]:
        return {}

    def close(self) -> None:
        pass  # it belongs to whoever opened it


def _spread(line: int) -> int:
    """The hash key of a line without a partition key: another one for each, and the same in every run."""
    return int.from_bytes(hashlib.md5(b"%d" % line, usedforsecurity=False).digest(), "big")
