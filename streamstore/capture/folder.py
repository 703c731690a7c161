"""The files of some patterns as contents with a place: which is new, which was renamed, truncated or copied.

Rotation, kind by kind. Renamed: the inode is known, and so is the content, whatever its path. A new file beside the old
one: an inode and a content of their own. Truncated: the inode is known, and its content is another; the old content is
looked for elsewhere. Copied and truncated: the copy has the old content, which goes on there. A copy of a file that
still stands is nobody until the original goes, also where both are found in the same look.
"""

from __future__ import annotations

import glob
import os
import stat
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from streamstore.capture.tracked import HEAD_SIZE, WINDOW, Tracked

# A copy is looked for, and an open file that was taken out of the patterns is kept, for so many seconds.
LOOK_FOR = 30.0
# A file that looks like the beginning of a known one may be a copy in the making: so long it has to stand still.
SETTLE = 2.0
# Contents that are gone are remembered, so that a late copy of one is not taken for new.
REMEMBERED = 200
PACKED = (".gz", ".bz2", ".xz", ".zst", ".lz4", ".zip")


class Seen(NamedTuple):
    """A file as a look at the directory shows it."""

    path: str
    device: int
    inode: int
    size: int
    changed_ns: int

    @property
    def key(self) -> tuple[int, int]:
        return self.device, self.inode


class Folder:
    """All contents that are captured, by what their files were last seen to be."""

    def __init__(self, patterns: Sequence[str], *, from_end: bool = False) -> None:
        self.patterns = [os.path.abspath(pattern) for pattern in patterns]
        self.tracked: dict[str, Tracked] = {}
        self.truncated = self.bytes_lost = 0
        self._from_end = from_end
        self._waiting: dict[tuple[int, int], tuple[int, float]] = {}  # inode -> its size, and since when

    @property
    def is_settled(self) -> bool:
        """Is it known of every file what it is, or has it had the time to become something else?"""
        now = time.monotonic()
        return all(now - since >= SETTLE for _, since in self._waiting.values())

    def begun(self) -> None:
        """This is not the first time: what is new is taken from its beginning."""
        self._from_end = False

    def look(self) -> None:
        """See what there is, and find out what became of each content."""
        now = time.monotonic()
        seen = {each.key: each for each in self._listed()}
        self._follow(seen, now)
        known = {each.key for each in self.tracked.values() if each.lost_since is None}
        fresh = [each for key, each in seen.items() if key not in known]
        self._waiting = {key: said for key, said in self._waiting.items() if key in seen and key not in known}
        # Of an original and its copy the original comes first: it may have grown since, and the copy is the later one.
        for each in sorted(fresh, key=lambda each: (-each.size, each.changed_ns)):
            self._decide(each, now)
        for lost in [each for each in self.tracked.values() if each.lost_since is not None]:
            self._look_beside(lost, known)
        self._from_end = False
        self._forget(now)

    def _listed(self) -> Iterator[Seen]:
        for pattern in self.patterns:
            for path in sorted(glob.glob(pattern, recursive=True)):
                if not path.endswith(PACKED) and (found := look_at(path)) is not None:
                    yield found

    # --- what is known ----------------------------------------------------------------------------------------------

    def _follow(self, seen: dict[tuple[int, int], Seen], now: float) -> None:
        """Every content that has a file: is it still in it, and how large is that now?"""
        taken: set[tuple[int, int]] = set()
        for tracked in sorted(self.tracked.values(), key=lambda each: -each.top):
            if tracked.lost_since is not None:
                continue
            there = seen.get(tracked.key)
            if there is not None:
                tracked.path = there.path
            if tracked.key in taken or not self._opened(tracked, there):
                self._lose(tracked, now)
                continue
            if tracked.file < 0:
                continue
            status = os.fstat(tracked.file)
            grown = status.st_size != tracked.size_seen
            if not tracked.is_in(tracked.file, status.st_size):
                self.truncated += there is not None
                self._lose(tracked, now)
            elif grown:
                tracked.size_seen, tracked.grown_at = status.st_size, now
            if tracked.lost_since is None:
                taken.add(tracked.key)
            patience = LOOK_FOR if status.st_nlink else 0.0
            if there is None and now - tracked.grown_at > patience and tracked.read >= status.st_size:
                self._lose(tracked, now)  # deleted, or taken out of the patterns, and nobody writes to it any more

    def _opened(self, tracked: Tracked, there: Seen | None) -> bool:
        if tracked.file >= 0:
            return True
        path = there.path if there is not None else _path_of(tracked)
        if path is None:
            return False
        try:
            tracked.file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return False
        status = os.fstat(tracked.file)
        if (status.st_dev, status.st_ino) != tracked.key:  # renamed in this moment: looked at again in the next one
            tracked.close()
            return tracked.position < tracked.size_seen
        tracked.path = path
        return True

    def _lose(self, tracked: Tracked, now: float) -> None:
        tracked.close()
        tracked.lost_since = now
        self.bytes_lost += tracked.unread

    def _forget(self, now: float) -> None:
        gone = [each for each in self.tracked.values() if each.lost_since is not None]
        for tracked in sorted(gone, key=lambda each: each.lost_since or now)[:-REMEMBERED]:
            del self.tracked[tracked.id]

    # --- what is new ------------------------------------------------------------------------------------------------

    def _decide(self, seen: Seen, now: float) -> None:
        """A file whose inode is none of a known content: a new content, a lost one, or a copy."""
        if seen.size == 0:
            return
        try:
            file = os.open(seen.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return
        kept = False
        try:
            status = os.fstat(file)
            if (status.st_dev, status.st_ino) != seen.key:
                return
            size, since = self._waiting.get(seen.key, (-1, now))
            self._waiting[seen.key] = (status.st_size, since if status.st_size == size else now)
            found = self._content_of(seen, file, status.st_size)
            if found is None and self._is_in_unread(file, status.st_size):
                return  # the next look knows more of that
            if found is None:
                found = self._begin(seen, file, status.st_size)
            elif found.lost_since is None or not found.is_in(file, status.st_size):
                return  # a copy of what stands elsewhere, or of a part of it, perhaps one that is being made
            self._take(found, seen, file, now)
            kept = True
        finally:
            if not kept:
                os.close(file)

    def _content_of(self, seen: Seen, file: int, size: int) -> Tracked | None:
        """The known content that a file has or may come to have; what follows another under its own name is new."""
        known = [each for each in self.tracked.values() if each.head or each.marks]
        if any(each.origin_path == seen.path for each in known):
            # What follows another under its own name is new, unless it has all of what is looked for.
            known = [each for each in known if each.lost_since is not None and each.is_in(file, size)]
        candidates = [each for each in known if each.could_be_in(file, size)]
        whole = [each for each in candidates if each.is_in(file, size)]
        lost = [each for each in whole if each.lost_since is not None]
        return next(iter([*lost, *whole, *candidates]), None)

    def _is_in_unread(self, file: int, size: int) -> bool:
        """Is what a file has the beginning of a content of which nothing was read yet, by its first and last bytes?"""
        unread = [each.file for each in self.tracked.values() if not (each.head or each.marks) and each.file >= 0]
        windows = [(min(HEAD_SIZE, size), 0), (min(WINDOW, size), max(0, size - WINDOW))]
        return any(all(os.pread(file, *each) == os.pread(other, *each) for each in windows) for other in unread)

    def _begin(self, seen: Seen, file: int, size: int) -> Tracked:
        made = Tracked(uuid.uuid4().hex, seen.path, seen.path, seen.device, seen.inode)
        if self._from_end:
            made.began = made.position = made.read = _line_end(file, size)
            made.head = os.pread(file, min(HEAD_SIZE, made.position), 0)
        self.tracked[made.id] = made
        return made

    def _take(self, tracked: Tracked, seen: Seen, file: int, now: float) -> None:
        """From now on this content is in this file."""
        status = os.fstat(file)
        if tracked.lost_since is not None:
            # What was counted as lost is here, all but what a copy does not have that was made before the last look.
            self.bytes_lost += min(0, max(0, tracked.size_seen - max(status.st_size, tracked.top)) - tracked.unread)
        tracked.lost_since = None
        tracked.path, tracked.device, tracked.inode = seen.path, seen.device, seen.inode
        tracked.file, tracked.size_seen, tracked.grown_at = file, status.st_size, now
        self._waiting.pop(seen.key, None)

    def _look_beside(self, lost: Tracked, known: set[tuple[int, int]]) -> None:
        """Copies are often made under a name that the patterns do not have: look at names that begin alike."""
        if not (lost.head or lost.marks) or lost.lost_since is None or time.monotonic() - lost.lost_since > LOOK_FOR:
            return
        for path in sorted(glob.glob(glob.escape(lost.origin_path) + "*")):
            there = None if path.endswith(PACKED) else look_at(path)
            if there is None or there.key in known or there.key in self._waiting or there.key == lost.key:
                continue
            try:
                file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            except OSError:
                continue
            if lost.is_in(file, os.fstat(file).st_size):
                self._take(lost, there, file, time.monotonic())
                return
            os.close(file)

    def close(self) -> None:
        """Let go of all files."""
        for tracked in self.tracked.values():
            tracked.close()


def look_at(path: str) -> Seen | None:
    """A regular file as it is; None for anything else, and for what is not there."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return Seen(path, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _path_of(tracked: Tracked) -> str | None:
    """Where the inode is now, among the names beside the one it had; None where it is not."""
    for path in _names_beside(tracked.path):
        there = look_at(path)
        if there is not None and there.key == tracked.key:
            return path
    return None


def _names_beside(path: str) -> Iterable[str]:
    directory = os.path.dirname(path)
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return []
    return [path, *(os.path.join(directory, name) for name in names)]


def _line_end(file: int, size: int) -> int:
    """Behind the last newline of a file: where its end is to those that take whole lines."""
    end = size
    while end > 0:
        begin = max(0, end - 65536)
        found = os.pread(file, end - begin, begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return 0
