"""Sealed blocks of compacted segments: the core asks here for their content, on whatever thread it reads.

Knows which stream has whose keys, and no key itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from streamstore._core import ffi, lib
from streamstore.errors import CorruptRangeError, KeyUnavailableError

Unsealer = Callable[[int, bytes, bytes, bytes], bytes]
"""(key id, nonce, sealed bytes with the tag behind them, associated bytes) to what was sealed. Raises
KeyUnavailableError, and CorruptRangeError where the tag does not hold.
"""
NONCE_SIZE = 12
TAG_SIZE = 16
_failed = threading.local()


class Unsealers:
    """Who opens the blocks of which stream, for one attachment."""

    def __init__(self) -> None:
        self.by_stream: dict[int, Unsealer] = {}
        self._handle = ffi.new_handle(self.by_stream)

    def attach(self, pointer: Any) -> None:
        """Let a store of the core ask here; `self` must live as long as it."""
        lib.ss_store_unsealer_set(pointer, lib.streamstore_unseal, self._handle)


@ffi.def_extern(name="streamstore_unseal", error=lib.SS_NO_KEY)  # type: ignore[untyped-decorator, unused-ignore]
def _unseal(
    context: Any,
    stream_id: int,
    key_id: int,
    nonce: Any,
    tag: Any,
    associated: Any,
    associated_size: int,
    sealed: Any,
    size: int,
    opened: Any,
) -> int:
    unseal = ffi.from_handle(context).get(stream_id)
    if unseal is None:
        return int(lib.SS_NO_KEY)
    box = bytes(ffi.buffer(sealed, size)) + bytes(ffi.buffer(tag, TAG_SIZE))
    try:
        plain = unseal(
            key_id, bytes(ffi.buffer(nonce, NONCE_SIZE)), box, bytes(ffi.buffer(associated, associated_size))
        )
    except KeyUnavailableError as error:
        _failed.error = error  # the core hands back a number: what it stands for is told where that is raised
        return int(lib.SS_NO_KEY)
    except CorruptRangeError:
        return int(lib.SS_CORRUPT)
    if len(plain) != size:
        return int(lib.SS_NO_KEY)
    ffi.memmove(opened, plain, size)
    return int(lib.SS_OK)


def take_failure() -> KeyUnavailableError | None:
    """Why the last sealed block that this thread read could not be opened; told once."""
    error: KeyUnavailableError | None = getattr(_failed, "error", None)
    _failed.error = None
    return error
