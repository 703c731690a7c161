"""A Hold: a lock of the whole store, freed by the kernel when its holder dies. Knows bytes, not what they mean."""

from __future__ import annotations

import fcntl
import os
import struct
from types import TracebackType

from streamstore.native.fork import watch_fork


class Hold:
    """One byte of a store's lock file, locked by an open file description of its own. Context manager."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        watch_fork(self)

    @classmethod
    def take(cls, path: str, byte: int, *, wait: bool) -> Hold | None:
        """Lock the byte; None where somebody has it, unless it is to `wait`. Raises OSError."""
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)  # struct flock
        try:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLKW if wait else fcntl.F_OFD_SETLK, lock)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        return cls(descriptor)

    def release(self) -> None:
        """Let the next one in. Safe to call twice."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __enter__(self) -> Hold:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def __del__(self) -> None:
        self.release()

    def _after_fork(self) -> None:
        self.release()  # the child's copy would keep the lock beyond the death of the parent
