"""Statuses become exceptions here, for cffi calls and for `_hot`; and the few moves that every cffi call needs.

Knows the core's codes and structures as such, not what stores and logs are.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NoReturn

import msgpack

from streamstore import _hot, clock, errors
from streamstore._core import ffi, lib
from streamstore.native import unsealing

OK: int = lib.SS_OK
CORRUPT: int = lib.SS_CORRUPT
TRIMMED: int = lib.SS_TRIMMED
SMALL: int = lib.SS_SMALL
NOT_FOUND: int = lib.SS_NOT_FOUND
CHANGED: int = lib.SS_CHANGED
INTERRUPTED: int = lib.SS_INTERRUPTED

_ERRORS: dict[int, tuple[type[errors.StreamStoreError], str]] = {
    lib.SS_NO_MEMORY: (errors.StorageError, "the system refused the memory or the map"),
    lib.SS_INVALID: (errors.InvalidArgumentError, "an argument is out of its range"),
    lib.SS_NOT_FOUND: (errors.StreamNotFoundError, "it is not there"),
    lib.SS_EXISTS: (errors.ForeignFileError, "something else stands where it was to be made"),
    lib.SS_FULL: (
        errors.StoreFullError,
        "the disk is full; nothing was written, and writing goes on once there is space",
    ),
    lib.SS_IO: (errors.StorageError, "a system call failed"),
    lib.SS_CORRUPT: (errors.CorruptRangeError, "bytes that were durable are damaged; `streamstore verify` shows where"),
    lib.SS_TRIMMED: (errors.TrimmedError, "the position lies before the oldest record that is kept"),
    lib.SS_SHARD_CLOSED: (errors.ShardClosedError, "the shard is closed and takes no more records"),
    lib.SS_TAIL_MISMATCH: (errors.TailMismatchError, "the tail is not the expected one; nothing was written"),
    lib.SS_POISONED: (
        errors.DurabilityUnknownError,
        "a sync failed, so what is durable is unknown: close the store and open it again",
    ),
    lib.SS_STALE: (errors.StaleHandleError, "another process recovered the store since: close it and open it again"),
    lib.SS_FORKED: (errors.ForkedError, "it belongs to the parent process"),
    lib.SS_CLOSED: (errors.ClosedError, "the store is closed"),
    lib.SS_TIMEOUT: (errors.StorageError, "the wait ended without its event"),
    lib.SS_TOO_LARGE: (errors.RecordTooLargeError, "a record, key or attribute block is over its limit"),
    lib.SS_READ_ONLY: (errors.ReadOnlyError, "the store is open read-only"),
    lib.SS_FORMAT: (
        errors.FormatVersionError,
        "its format version or a feature is unknown to this build; nothing was changed",
    ),
    lib.SS_FOREIGN: (
        errors.ForeignFileError,
        "it is not a store, or holds a file of another store; nothing was changed",
    ),
    lib.SS_CHANGED: (errors.SettingsChangedError, "the stream's settings changed; nothing was written"),
    lib.SS_LIMIT: (
        errors.StorageError,
        "too many processes or logs for one store, or a number at its end",
    ),
    lib.SS_NO_KEY: (
        errors.KeyUnavailableError,
        "it is encrypted, and no key that opens it is at hand",
    ),
    lib.SS_QUOTA: (errors.StreamFullError, "the stream holds its max_bytes; nothing was written"),
}


def error_for(status: int, context: str) -> errors.StreamStoreError:
    """The exception that stands for a status of the core; `context` says what was being done."""
    kind, text = _ERRORS.get(status & 0xFF, (errors.StorageError, f"unexpected status {status & 0xFF}"))
    if status & 0xFF == lib.SS_NO_KEY and (failure := unsealing.take_failure()) is not None:
        return failure  # it names the stream, the key and the ring
    number = status >> 8 & 0xFFFF
    cause = f" ({os.strerror(number)})" if number else ""
    error = kind(f"{context}: {text}{cause}" if context else f"{text}{cause}")
    if isinstance(error, errors.StorageError):
        error.errno = number
    return error


def raise_for(status: int, context: str) -> NoReturn:
    """Raise what error_for makes."""
    raise error_for(status, context)


def call(context: str, function: Callable[..., int], *arguments: Any) -> None:
    """Call a function of the core; raises for its status."""
    # A signal ends the C call before anything was done; back here Python runs its handler (Ctrl-C raises), then we
    # go on.
    while status := function(*arguments):
        if status & 0xFF != INTERRUPTED:
            raise error_for(status, context)


def _partial_put(results: list[Any]) -> NoReturn:
    raise_partial([error_for(item, "put_records") if isinstance(item, int) else item for item in results])


def raise_partial(outcomes: list[Any]) -> NoReturn:
    """Raise PartialPutError with these outcomes, of which at least one is an exception."""
    failed = [item for item in outcomes if isinstance(item, Exception)]
    error = errors.PartialPutError(
        f"{len(failed)} of {len(outcomes)} entries failed, the first with: {failed[0]}; see .results"
    )
    error.results = outcomes
    raise error


def _unpack(block: bytes) -> Any:
    return msgpack.unpackb(block, strict_map_key=False)


_hot.bind(
    int(ffi.cast("uintptr_t", lib.ss_functions())),
    raise_for,
    _unpack,
    clock.to_datetime,
    _partial_put,
    {"argument": errors.InvalidArgumentError, "type": errors.InvalidTypeError, "too_large": errors.RecordTooLargeError},
)


def parse_sequence_number(text: str) -> tuple[int, int, int]:
    """(epoch, position, shard index) of a sequence number. InvalidArgumentError for any other string."""
    if not isinstance(text, str):
        raise errors.InvalidTypeError(f"a sequence number is a str, not {type(text).__name__}")
    parts: tuple[int, int, int] = _hot.parse_sequence_number(text)
    return parts


def decode_frame(raw: bytes, position: int, base_ordinal: int, salt: int) -> dict[str, int] | None:
    """The facts on one frame as it stands in a segment file; None where its checks do not hold."""
    out = ffi.new("ss_record *")
    if lib.ss_record_decode(raw, len(raw), position, base_ordinal, salt, out) != OK:
        return None
    return fields(out)


def wait(context: str, function: Callable[..., int], *arguments: Any) -> bool:
    """Call a waiting function of the core, its timeout last: False where that passed."""
    while status := function(*arguments):
        if status & 0xFF == lib.SS_TIMEOUT:
            return False
        if status & 0xFF != INTERRUPTED:
            raise error_for(status, context)
        if arguments[-1] >= 0:
            return True  # a finite wait is cut short by a signal; its caller keeps the time
    return True


def fields(struct: Any) -> dict[str, Any]:
    """A structure of the core as a dict."""
    return {name: getattr(struct, name) for name, _ in ffi.typeof(struct).item.fields}


def listing(kind: str, fill: Callable[[Any, int, Any], int]) -> list[dict[str, Any]]:
    """All that `fill(items, size, count)` lists, each as a dict."""
    # The list may grow between two calls: ask until it fits.
    size = 64
    count = ffi.new("size_t *")
    while True:
        items = ffi.new(f"{kind}[]", size)
        call("listing", fill, items, size, count)
        if count[0] <= size:
            return [fields(ffi.addressof(items, index)) for index in range(count[0])]
        size = count[0] + 16
