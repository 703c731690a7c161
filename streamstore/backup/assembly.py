"""A store that is put together aside and takes its name at the end: made in `TARGET.partial`, synced, renamed.

The manifest is written last, so that what a crash leaves is no store; the marker in it says that it may be removed.
Knows files and directories, not what is in them.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

from streamstore.backup import layout
from streamstore.errors import ForeignFileError, InvalidArgumentError, StorageError, StoreFullError

_MARKER = "streamstore-partial"
_CHUNK = 8 << 20
_NO_COPY = frozenset((errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM, errno.ETXTBSY))
_NO_LINK = frozenset((errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EACCES))


class Assembly:
    """The directory that is to become `target`. Context manager: leaving it without `commit` removes what was made."""

    def __init__(self, target: str) -> None:
        self.target = os.path.abspath(target)
        self.path = self.target + ".partial"
        self.linked_bytes = 0
        self.copied_bytes = 0
        self.can_link = True
        self._marker = -1
        _require_absent(self.target)
        with storage_errors(self.path):
            self._begin()

    def _begin(self) -> None:
        os.makedirs(os.path.dirname(self.target), exist_ok=True)
        marker = os.path.join(self.path, _MARKER)
        if os.path.isdir(self.path) and os.listdir(self.path) and not os.path.isfile(marker):
            raise ForeignFileError(f"{self.path} is in the way, and no snapshot or restore left it")
        os.makedirs(self.path, mode=0o700, exist_ok=True)
        handle = os.open(marker, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise ForeignFileError(f"{self.path}: another snapshot or restore to this target is under way") from None
        self._marker = handle
        for name in os.listdir(self.path):  # of one that was killed
            if name != _MARKER:
                self._remove(name)

    def __enter__(self) -> Assembly:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._marker >= 0:
            self.remove_tree(self.path)
            os.close(self._marker)
            self._marker = -1

    # --- files ------------------------------------------------------------------------------------------------------

    def directory(self, name: str) -> str:
        """Make a directory below; returns its path."""
        path = os.path.join(self.path, name)
        os.makedirs(path, mode=0o700, exist_ok=True)
        return path

    def link(self, source: str, name: str) -> bool:
        """Give a file that never changes again a second name; False where the file system cannot."""
        target = os.path.join(self.path, name)
        if self.can_link:
            with suppress(FileNotFoundError):
                os.unlink(target)  # of an earlier try
            try:
                os.link(source, target, follow_symlinks=False)
                self.linked_bytes += os.stat(target).st_size
                return True
            except OSError as error:
                if error.errno not in _NO_LINK:
                    raise
                self.can_link = False
        return False

    def copy(self, source: int, name: str, size: int, header: bytes | None = None) -> None:
        """Copy the first `size` bytes of an open file, sharing blocks where the file system can; with `header` in
        place of its own. The file is as long as a writer would have made it, zero behind; durable at return.
        """
        with self.create(name) as made:
            done = copy_range(source, made.handle, size)
            if done < size:
                raise StorageError(f"{name}: ends at byte {done} of {size}")
            if header is not None:
                os.pwrite(made.handle, header, 0)
            made.finish(size)
        self.copied_bytes += size

    def write(self, name: str, *parts: bytes) -> None:
        """Write a file whole; durable at return."""
        with self.create(name) as made:
            for part in parts:
                write_all(made.handle, part)
            os.fsync(made.handle)

    def create(self, name: str) -> NewFile:
        """A new file, in place of what an earlier try left."""
        path = os.path.join(self.path, name)
        with suppress(FileNotFoundError):
            os.unlink(path)
        return NewFile(path)

    def discard(self, name: str) -> None:
        """Remove a part again: what it was taken from is no more."""
        self._remove(name)

    def _remove(self, name: str) -> None:
        path = os.path.join(self.path, name)
        if os.path.isdir(path) and not os.path.islink(path):
            self.remove_tree(path)
        else:
            with suppress(FileNotFoundError):
                os.unlink(path)

    @staticmethod
    def remove_tree(path: str) -> None:
        shutil.rmtree(path, ignore_errors=True)

    # --- the end ----------------------------------------------------------------------------------------------------

    def commit(self, manifest: bytes, check: Callable[[str], None] | None = None) -> None:
        """Make all of it durable and give it its name: from here on it is a store. `check` may still refuse it."""
        with storage_errors(self.target):
            for directory, _, _ in os.walk(self.path, topdown=False):
                sync_directory(directory)
            self.write("manifest", manifest)
            sync_directory(self.path)
            if check is not None:
                check(self.path)
            _require_absent(self.target)
            os.rename(self.path, self.target)
            sync_directory(os.path.dirname(self.target))
            os.unlink(os.path.join(self.target, _MARKER))
        os.close(self._marker)
        self._marker = -1


class NewFile:
    """A file being written, of mode 0600."""

    def __init__(self, path: str) -> None:
        self.handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def __enter__(self) -> NewFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.handle)

    def finish(self, size: int) -> None:
        """Make it as long as a writer would for `size` used bytes, with blocks behind them, and durable."""
        try:
            os.posix_fallocate(self.handle, 0, layout.allocation(size))
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise
            os.ftruncate(self.handle, layout.allocation(size))
        os.fsync(self.handle)


class storage_errors:  # noqa: N801
    """Turns errors of the system into ours, with their errno."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, OSError):
            return
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        text = f"{error.filename or self._what}: {error.strerror or error}"
        failure = StoreFullError(text) if full else StorageError(text)
        if isinstance(failure, StorageError):
            failure.errno = error.errno or 0
        raise failure from error


def _require_absent(target: str) -> None:
    if os.path.lexists(target) and (os.path.islink(target) or not os.path.isdir(target) or os.listdir(target)):
        raise InvalidArgumentError(f"{target} exists already: a snapshot or restore makes a directory of its own")


def copy_range(source: int, target: int, size: int) -> int:
    done = 0
    by_kernel = True
    while done < size:
        wanted = min(size - done, _CHUNK)
        if by_kernel:
            try:
                copied = os.copy_file_range(source, target, wanted, done, done)
            except OSError as error:
                if error.errno not in _NO_COPY:
                    raise
                by_kernel = False
                continue
        else:
            block = os.pread(source, wanted, done)
            copied = len(block)
            at = done
            while block:
                written = os.pwrite(target, block, at)
                block, at = block[written:], at + written
        if not copied:
            break
        done += copied
    return done


def write_all(handle: int, data: bytes) -> None:
    """Write every byte at the file's position."""
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def sync_directory(path: str) -> None:
    """Make the names in a directory durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
