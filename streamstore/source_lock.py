"""That only one run at a time takes a source into a stream; the kernel drops the lock when the process ends."""

from __future__ import annotations

import errno
import fcntl
import os
import struct

import xxhash

_OFFSET_MIN = 1 << 61


class SourceLock:
    """Held while a source is taken into a stream.

    An OFD lock on one byte far beyond the end of the store's manifest, at an offset that stands for stream and source:
    nothing is written, nothing is left behind, and it holds across PID namespaces. Raises BlockingIOError where
    another has it.
    """

    def __init__(self, manifest: str | os.PathLike[str], stream_name: str, source_id: str) -> None:
        digest = xxhash.xxh3_64_intdigest(f"{stream_name}\0{source_id}".encode())
        self._fd = os.open(manifest, os.O_RDWR | os.O_CLOEXEC)
        lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, _OFFSET_MIN | (digest >> 4), 1, 0)
        try:
            fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, lock)
        except OSError as error:
            os.close(self._fd)
            if error.errno in (errno.EAGAIN, errno.EACCES):
                raise BlockingIOError(error.errno, "the same source is being taken into this stream") from None
            raise

    def close(self) -> None:
        os.close(self._fd)

    def __enter__(self) -> SourceLock:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()
