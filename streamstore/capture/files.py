"""Growing files as the source of a capture: their lines, each once, whatever rotation does to them."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from streamstore import clock
from streamstore.capture.cutting import Piece, cut, start_pattern
from streamstore.capture.folder import Folder
from streamstore.capture.source import Lag, Taken
from streamstore.capture.tracked import Tracked, from_map
from streamstore.errors import InvalidArgumentError
from streamstore.fields import FieldTaker
from streamstore.native import Record
from streamstore.values import PutEntry

CHUNK_SIZE = 256 * 1024
KEY_SIZE_MAX = 1024  # of the 256 characters of a partition key
CHUNKS_AT_ONCE = 16  # of one file, before others have their turn
BATCH_RECORDS = 5000
BATCH_SIZE = 4 * 1024 * 1024
INTERVAL = 0.25
# A record of several lines is complete when nothing came for so many seconds.
QUIET = 1.0
# A file that was rotated ends when nothing came for so many seconds: then a line without a newline is a record, too.
ROTATED_QUIET = 5.0


class FileSource:
    """The lines of all files of some patterns, and of those that come to be there; newline and all that is before stay
    as they are.

    `taker` gives key and event time; a line without a key is placed by the path under which its file was first seen, so
    that lines of a file stay in order. `multi_line` is found in the first line of each record. `from_end` leaves out
    what stands in the files when they are captured for the first time. A line over what a record may have is cut.
    """

    def __init__(
        self,
        patterns: Sequence[str],
        *,
        taker: FieldTaker | None = None,
        multi_line: str | None = None,
        from_end: bool = False,
        source_id: str | None = None,
        interval: float = INTERVAL,
    ) -> None:
        if not patterns:
            raise InvalidArgumentError("no pattern of files")
        self._folder = Folder(patterns, from_end=from_end)
        self.name = ", ".join(self._folder.patterns)
        self.id = source_id or "files:" + hashlib.sha256("\0".join(sorted(self._folder.patterns)).encode()).hexdigest()
        self._taker = taker or FieldTaker()
        self._start = start_pattern(multi_line)
        self._size_max = 1 << 20
        self._interval = interval
        self._advanced: list[Tracked] = []
        self.shard_count = 1

    # --- what a capture asks for ------------------------------------------------------------------------------------

    def fit(self, record_size_max: int) -> None:
        self._size_max = max(1, record_size_max - KEY_SIZE_MAX)

    def restore(self, state: Any) -> None:
        for file_id, kept in (state or {"files": {}})["files"].items():
            self._folder.tracked[file_id] = from_map(file_id, kept, time.monotonic())
        if state is not None:
            self._folder.truncated, self._folder.bytes_lost = state["truncated"], state["bytes_lost"]
            self._folder.begun()
        else:
            self._folder.look()  # where files end that are captured from their end is kept before a line comes in

    def seen(self, source: Mapping[str, Any], record: Record) -> None:
        tracked = self._folder.tracked.get(source["file"])
        begin, following = source["position"], source["next"]
        if tracked is None:
            path, (device, inode) = source["path"], source["inode"]
            tracked = self._folder.tracked[source["file"]] = Tracked(source["file"], path, path, device, inode)
            tracked.began = tracked.position = tracked.read = source.get("began", 0)
            self._folder.begun()
        if tracked.lost_since is not None and following > tracked.top:  # it was found again, and that was not noted
            self._folder.bytes_lost -= tracked.unread
            tracked.lost_since = None
        if begin >= tracked.position:
            tracked.has[begin] = following, source.get("lines", 1)
        is_newest = following > tracked.top
        tracked.add(begin, record.data + b"\n" * (following - begin - len(record.data)))
        if is_newest:
            tracked.path, (tracked.device, tracked.inode) = source["path"], source["inode"]
            tracked.size_seen = max(tracked.size_seen, following)

    def batches(self, *, follow: bool) -> Iterator[Sequence[Taken]]:
        while True:
            self._folder.look()
            batch: list[Taken] = []
            size = 0
            for tracked in list(self._folder.tracked.values()):
                for _ in range(CHUNKS_AT_ONCE):
                    found = self._fetch(tracked, follow=follow)
                    if found is None:
                        break
                    batch += found
                    size += sum(len(taken.entry.data) for taken in found)
                    if len(batch) >= BATCH_RECORDS or size >= BATCH_SIZE:
                        yield batch
                        batch, size = [], 0
            if batch:
                yield batch
                continue
            self.took(())
            if not follow and self._folder.is_settled:
                return
            yield []
            time.sleep(self._interval)

    def took(self, batch: Sequence[Taken]) -> None:
        for tracked in self._advanced:
            tracked.position, tracked.line = tracked.read, tracked.read_line
            tracked.has = {begin: rest for begin, rest in tracked.has.items() if begin >= tracked.position}
        self._advanced = []

    def is_settled(self) -> bool:
        return True  # the state has what came in behind the checkpoint, too

    def state(self) -> Any:
        files = {tracked.id: tracked.to_map() for tracked in self._folder.tracked.values()}
        return {"files": files, "truncated": self._folder.truncated, "bytes_lost": self._folder.bytes_lost}

    def lag(self) -> Lag:
        there = [each for each in self._folder.tracked.values() if each.lost_since is None]
        return Lag(sum(max(0, each.size_seen - each.position) for each in there), "bytes", len(there))

    def notes(self) -> dict[str, Any]:
        found = {"truncated": self._folder.truncated, "bytes_lost": self._folder.bytes_lost}
        return {name: count for name, count in found.items() if count}

    def close(self) -> None:
        self._folder.close()

    # --- one file ---------------------------------------------------------------------------------------------------

    def _fetch(self, tracked: Tracked, *, follow: bool) -> list[Taken] | None:
        """The next records of a file; None where there is none for the moment."""
        if tracked.lost_since is not None or tracked.file < 0:
            return None
        while tracked.read in tracked.has:
            tracked.read, lines = tracked.has[tracked.read]
            tracked.read_line += lines
            self._advanced.append(tracked)
        size = CHUNK_SIZE
        data, pieces = self._pieces(tracked, size, follow=follow)
        while not pieces and len(data) == size:
            size *= 4
            data, pieces = self._pieces(tracked, size, follow=follow)
        # A file that was truncated since it was looked at gives bytes of another content.
        if not pieces or not tracked.is_in(tracked.file, os.fstat(tracked.file).st_size):
            return None
        taken = [self._taken(tracked, piece, tracked.read) for piece in pieces]
        end = pieces[-1].end
        tracked.add(tracked.read, data[:end])
        tracked.read += end
        self._advanced.append(tracked)
        return taken

    def _pieces(self, tracked: Tracked, size: int, *, follow: bool) -> tuple[bytes, list[Piece]]:
        """What was read, and the records that are complete in it."""
        until = min((begin for begin in tracked.has if begin > tracked.read), default=None)
        data = os.pread(tracked.file, size, tracked.read)
        if until is not None:
            data = data[: until - tracked.read]
        quiet = time.monotonic() - tracked.grown_at
        # Under load the last look may be old. What came since then is not quiet, and its last line may be half of one.
        at_end = tracked.read + len(data) >= tracked.size_seen == os.fstat(tracked.file).st_size
        pieces = cut(
            data,
            self._size_max,
            start=self._start,
            # Between records that are in there are whole records.
            finished=until == tracked.read + len(data) or (at_end and quiet > ROTATED_QUIET and _is_rotated(tracked)),
            quiet=at_end and (quiet > QUIET or not follow),
        )
        return data, pieces

    def _taken(self, tracked: Tracked, piece: Piece, offset: int) -> Taken:
        key, event_time = self._taker.take(piece.data)
        source: dict[str, Any] = {
            "from": self.id,
            "file": tracked.id,
            "path": tracked.path,
            "inode": [tracked.device, tracked.inode],
            "position": offset + piece.begin,
            "next": offset + piece.end,
            "line": tracked.read_line,
            "arrival_us": clock.now_us(),
        }
        if tracked.began:
            source["began"] = tracked.began
        if piece.lines != 1:
            source["lines"] = piece.lines
        if not piece.whole:
            source["newline"] = False
        tracked.read_line += piece.lines
        hash_key = _place_of(tracked.origin_path) if key is None else None
        return Taken(tracked.id, offset + piece.begin, PutEntry(piece.data, key, hash_key, None, event_time, source))


def _place_of(path: str) -> int:
    """The hash key of lines without a partition key: that of their file's path."""
    return int.from_bytes(hashlib.md5(os.fsencode(path), usedforsecurity=False).digest(), "big")


def _is_rotated(tracked: Tracked) -> bool:
    """Does nobody write to this file any more, because another is where it was?"""
    try:
        status = os.stat(tracked.origin_path)
    except OSError:
        return True
    return (status.st_dev, status.st_ino) != tracked.key
