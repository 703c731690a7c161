"""Memory of a process that does nothing but serve: large blocks go back to the system when they are freed.

glibc keeps what a thread freed for that thread, up to 32 MiB a block; with tens of threads that each answered a large
request once, hundreds of MiB stay with the process.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress

M_MMAP_THRESHOLD = -3  # of <malloc.h>
LARGE = 1 << 20


def give_back_large_blocks() -> None:
    """Have blocks of a MiB and more come from the system and go back to it. Nothing where the C library is another."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE)
