"""One file that is captured, as a content with a place: known by what stands in it, wherever that is moved or copied.

What identifies a content: its first bytes, and digests of the bytes before some offsets (marks), of which the last is
the newest that was read. An inode says where to look first; the content says whether it is still that.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import xxhash

HEAD_SIZE = 512
WINDOW = 256
MARKS_MAX = 16
MARK_EVERY = 64 * 1024


class Mark(NamedTuple):
    """What stands before an offset: so many bytes with this digest."""

    length: int
    digest: bytes

    def fits(self, file: int, offset: int) -> bool:
        """Does it stand there in this file?"""
        return xxhash.xxh3_128_digest(os.pread(file, self.length, offset - self.length)) == self.digest


@dataclass
class Tracked:
    """One content. `read` is how far it was fetched, `position` how far all is in, from `began` on, `line` the number
    of the next line.

    `has` are records that came in behind `position` before a capture was killed: by where they begin (where the next
    one does, their lines). `early` is what stands in the first bytes, where its beginning is not known yet, `recent`
    what stands before `top`; `file` is the descriptor while it is open, -1 else.
    """

    id: str
    path: str
    origin_path: str
    device: int
    inode: int
    began: int = 0
    position: int = 0
    line: int = 1
    head: bytes = b""
    marks: dict[int, Mark] = field(default_factory=dict)
    size_seen: int = 0
    lost_since: float | None = None  # truncated or gone, and not found elsewhere
    has: dict[int, tuple[int, int]] = field(default_factory=dict)
    read: int = 0
    read_line: int = 1
    early: dict[int, bytes] = field(default_factory=dict)
    recent: bytes = b""
    file: int = -1
    grown_at: float = 0.0

    @property
    def key(self) -> tuple[int, int]:
        """The inode that it was found in last."""
        return self.device, self.inode

    @property
    def unread(self) -> int:
        """How many bytes were seen to be there and are not in, nor on their way."""
        behind = sum(following - begin for begin, (following, _) in self.has.items() if begin >= self.read)
        return max(0, self.size_seen - self.read - behind)

    @property
    def top(self) -> int:
        """The highest offset whose surroundings are known."""
        return max(self.marks, default=0)

    def add(self, offset: int, data: bytes) -> None:
        """Learn that this stands at an offset; what follows what was read last makes that longer."""
        if offset < HEAD_SIZE:
            self.early[offset] = data[:HEAD_SIZE]
            while len(self.head) < HEAD_SIZE and len(self.head) in self.early:
                self.head = (self.head + self.early.pop(len(self.head)))[:HEAD_SIZE]
        end = offset + len(data)
        if end <= self.top:
            return
        self.recent = ((self.recent if offset == self.top else b"") + data)[-WINDOW:]
        former = sorted(self.marks)
        if former and end - (former[-2] if len(former) > 1 else 0) < MARK_EVERY:
            del self.marks[former[-1]]
        if len(self.marks) >= MARKS_MAX:
            self.marks = {each: self.marks[each] for each in sorted(self.marks)[1::2]}
        self.marks[end] = Mark(len(self.recent), xxhash.xxh3_128_digest(self.recent))

    def is_in(self, file: int, size: int) -> bool:
        """Is this content what the file has, as far as it was read? Of nothing that was read every file has all."""
        if not self.head and not self.marks:
            return True
        return size >= max(self.top, len(self.head)) and self.could_be_in(file, size)

    def could_be_in(self, file: int, size: int) -> bool:
        """Is what the file has the beginning of this content, by its first bytes and the marks that lie in it?"""
        if not self.head.startswith(os.pread(file, len(self.head), 0)):
            return False
        reached = [offset for offset in self.marks if offset <= size]
        return bool(self.head or reached) and all(
            self.marks[offset].fits(file, offset) for offset in sorted(reached)[-2:]
        )

    def close(self) -> None:
        """Let go of the descriptor."""
        if self.file >= 0:
            os.close(self.file)
            self.file = -1

    def to_map(self) -> dict[str, Any]:
        """As a checkpoint keeps it."""
        return {
            "path": self.path,
            "origin": self.origin_path,
            "inode": [self.device, self.inode],
            "began": self.began,
            "position": self.position,
            "line": self.line,
            "head": self.head,
            "marks": [[offset, *mark] for offset, mark in self.marks.items()],
            "size": self.size_seen,
            "lost": self.lost_since is not None,
            "has": [[begin, *rest] for begin, rest in sorted(self.has.items())],
        }


def from_map(file_id: str, kept: Mapping[str, Any], now: float) -> Tracked:
    """What `to_map` gave."""
    device, inode = kept["inode"]
    found = Tracked(file_id, kept["path"], kept["origin"], device, inode, kept["began"], kept["position"])
    found.line, found.head = kept["line"], kept["head"]
    found.marks = {offset: Mark(length, digest) for offset, length, digest in kept["marks"]}
    found.has = {begin: (following, lines) for begin, following, lines in kept["has"]}
    found.size_seen = kept["size"]
    found.lost_since = now if kept["lost"] else None
    found.read, found.read_line = found.position, found.line
    return found
