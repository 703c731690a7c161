"""The border to C: the only module that imports `_core` and `_hot`, where statuses become exceptions.

An Attachment is one process's hold on one directory, opened at first use and again after a fork; a Log is one shard (or
the catalog) seen through it. Types are relaxed here and nowhere else. Nothing here knows streams by name.
"""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NoReturn

import msgpack

from streamstore import _hot, clock, errors, limits
from streamstore._core import ffi, lib
from streamstore._hot import PutResult, PutResults, Record, Target, make_put_result, make_record, sequence_number
from streamstore.values import Appended, HashRange, LogOptions, LogState, Segment

__all__ = ["PutResult", "PutResults", "Record", "Target", "make_put_result", "make_record", "sequence_number"]

FIRST_POSITION: int = lib.SS_FIRST_POSITION
OK: int = lib.SS_OK
CORRUPT: int = lib.SS_CORRUPT
TRIMMED: int = lib.SS_TRIMMED
SMALL: int = lib.SS_SMALL
_INTERRUPTED: int = lib.SS_INTERRUPTED
_DURABILITY = {name: number for number, name in enumerate(limits.DURABILITIES)}

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
    lib.SS_LIMIT: (errors.StorageError, "too many processes or logs for one store"),
}


def error_for(status: int, context: str) -> errors.StreamStoreError:
    """The exception that stands for a status of the core; `context` says what was being done."""
    kind, text = _ERRORS.get(status & 0xFF, (errors.StorageError, f"unexpected status {status & 0xFF}"))
    number = status >> 8 & 0xFFFF
    cause = f" ({os.strerror(number)})" if number else ""
    error = kind(f"{context}: {text}{cause}" if context else f"{text}{cause}")
    if isinstance(error, errors.StorageError):
        error.errno = number
    return error


def raise_for(status: int, context: str) -> NoReturn:
    raise error_for(status, context)


def _call(context: str, function: Callable[..., int], *arguments: Any) -> None:
    # A signal ends the C call before anything was done; back here Python runs its handler (Ctrl-C raises), then we
    # go on.
    while status := function(*arguments):
        if status & 0xFF != _INTERRUPTED:
            raise error_for(status, context)


def _partial_put(results: list[Any]) -> NoReturn:
    outcomes = [error_for(item, "put_records") if isinstance(item, int) else item for item in results]
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
    return _fields(out)


# --- fork: whatever inherits something from the parent is told once, in the child ------------------------------------

_fork_lock = threading.Lock()
_fork_watchers: weakref.WeakSet[Any] = weakref.WeakSet()
_inherited: list[Any] = []  # handles of the parent, kept so that the child never frees what it does not own


def watch_fork(watcher: Any) -> None:
    """Have `watcher._after_fork()` called in every forked child, for as long as the watcher lives."""
    with _fork_lock:
        _fork_watchers.add(watcher)


def _after_fork_in_child() -> None:
    _fork_lock.release()
    # Attachments first: what the others do may already use them.
    for watcher in sorted(_fork_watchers, key=lambda item: not isinstance(item, Attachment)):
        watcher._after_fork()


os.register_at_fork(before=_fork_lock.acquire, after_in_parent=_fork_lock.release, after_in_child=_after_fork_in_child)


def _release(pointer: Any) -> None:
    lib.ss_store_close(pointer)
    lib.ss_store_free(pointer)


class Attachment:
    """One process's hold on a store directory. Opens at first use; any thread; survives a fork by opening again.

    `generation` grows with each opening: what was made under an earlier one (logs, targets) must be made again.
    """

    def __init__(self, path: str, *, create: bool, read_only: bool, sync_interval_us: int) -> None:
        self.path = path
        self.read_only = read_only
        self.generation = 0
        self.closed = False
        self._create = create
        self._sync_interval_us = sync_interval_us
        self._pointer: Any = None
        self._lock = threading.Lock()
        watch_fork(self)
        _live.add(self)

    @property
    def pointer(self) -> Any:
        """The open store of the core. Raises ClosedError, and whatever opening raises."""
        if self.closed:
            raise errors.ClosedError(f"{self.path}: the store is closed")
        return self._pointer if self._pointer is not None else self._attach()

    def _attach(self) -> Any:
        with self._lock:
            if self._pointer is None:
                flags = lib.SS_OPEN_READ_ONLY if self.read_only else lib.SS_OPEN_CREATE if self._create else 0
                out = ffi.new("ss_store **")
                try:
                    _call(self.path, lib.ss_store_open, os.fsencode(self.path), flags, out)
                except errors.StreamNotFoundError:
                    raise errors.StoreNotFoundError(f"{self.path}: there is no store in this directory") from None
                pointer = ffi.gc(out[0], _release)
                _call(self.path, lib.ss_store_sync_interval_set, pointer, self._sync_interval_us)
                self._create = False  # whoever removes the directory under us is not to get a new one
                self.generation += 1
                self._pointer = pointer
            return self._pointer

    def close(self) -> None:
        """End every wait and every later call with ClosedError; sync what the mode asks for. Safe to call twice."""
        with self._lock:
            self.closed = True
            if self._pointer is not None:
                lib.ss_store_close(self._pointer)

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
        if self._pointer is not None:
            lib.ss_store_after_fork(self._pointer)
            _inherited.append(ffi.gc(self._pointer, None) or self._pointer)
            self._pointer = None
            self.generation += 1

    def log(self, stream_id: int, shard_index: int, shard_id: str, options: LogOptions) -> Log:
        """Attach to one log; touches no disk."""
        pointer = self.pointer
        out = ffi.new("ss_log **")
        description = ffi.from_buffer("uint8_t[]", options.description)
        native_options = ffi.new(
            "ss_log_options *",
            (
                _DURABILITY[options.durability],
                options.segment_size,
                options.record_size_max,
                options.epoch_floor,
                options.start_position,
                description,
                len(options.description),
            ),
        )
        _call(shard_id, lib.ss_store_log, pointer, stream_id, shard_index, native_options, out)
        return Log(self, pointer, out[0], shard_index, shard_id)

    def info(self) -> dict[str, Any]:
        """Facts on this attachment, as the core names them."""
        out = ffi.new("ss_store_info *")
        lib.ss_store_info_get(self.pointer, out)
        facts = _fields(out)
        facts["store_id"] = bytes(facts["store_id"]).hex()
        return facts

    def flush(self) -> None:
        """Return once everything any process published before the call is durable."""
        _call("flush", lib.ss_store_flush, self.pointer)

    def raise_epoch(self, epoch: int) -> None:
        """Epochs handed out from now on are above `epoch`; durable at return."""
        _call("raising the epoch counter", lib.ss_store_epoch_raise, self.pointer, epoch)

    def epoch_counter(self) -> int:
        return int(lib.ss_store_epoch_counter(self.pointer))

    def poison(self) -> int:
        """0, or the errno of the failed sync that poisoned the store."""
        return int(lib.ss_store_poison(self.pointer))

    def watch(self) -> int:
        """The word of store-wide activity: read it, look for work, then `wait` for it to differ."""
        return int(lib.ss_store_watch(self.pointer))

    def wait(self, seen: int, timeout_us: int) -> bool:
        """Wait until the word differs from `seen` (True) or the timeout passed (False)."""
        return _wait("wait", lib.ss_store_wait, self.pointer, seen, timeout_us)

    def wake(self) -> None:
        """Wake every wait of this process on the store."""
        if self._pointer is not None:
            lib.ss_store_wake(self._pointer)

    def written_shards(self, stream_id: int) -> list[int]:
        """The shards of a stream that have files, ascending."""
        try:
            names = os.listdir(self.stream_directory(stream_id))
        except FileNotFoundError:
            return []
        return sorted(int(name) for name in names if name.isdecimal())

    def stream_directory(self, stream_id: int) -> str:
        """Where the core keeps a stream's files."""
        return os.path.join(self.path, "streams", str(stream_id))

    def processes(self) -> list[dict[str, int]]:
        """The processes attached to the store: slot, pid, attached_us, alive."""
        return _listing(
            "ss_process", lambda items, size, count: lib.ss_store_processes(self.pointer, items, size, count)
        )


_live: weakref.WeakSet[Attachment] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    # An exit without close() is a close: interval and process streams are synced, and the next open has nothing to
    # recover.
    for attachment in list(_live):
        with suppress(errors.StreamStoreError):
            attachment.close()


def _wait(context: str, function: Callable[..., int], *arguments: Any) -> bool:
    while status := function(*arguments):
        if status & 0xFF == lib.SS_TIMEOUT:
            return False
        if status & 0xFF != _INTERRUPTED:
            raise error_for(status, context)
        if arguments[-1] >= 0:
            return True  # a finite wait is cut short by a signal; its caller keeps the time
    return True


def _fields(struct: Any) -> dict[str, Any]:
    return {name: getattr(struct, name) for name, _ in ffi.typeof(struct).item.fields}


def _listing(kind: str, fill: Callable[[Any, int, Any], int]) -> list[dict[str, Any]]:
    # The list may grow between two calls: ask until it fits.
    size = 64
    count = ffi.new("size_t *")
    while True:
        items = ffi.new(f"{kind}[]", size)
        _call("listing", fill, items, size, count)
        if count[0] <= size:
            return [_fields(ffi.addressof(items, index)) for index in range(count[0])]
        size = count[0] + 16


# For arrays that the core fills in itself.
_new_uncleared = ffi.new_allocator(should_clear_after_alloc=False)


class Columns:
    """A chunk as the core decoded it: the bytes of whole frames, and an array of structures that says where things
    are in them.

    `u64` and `u32` are strided views of one field over all records; offsets count from the start of `buffer`.
    """

    __slots__ = (
        "_words32",
        "_words64",
        "buffer",
        "count",
        "damage",
        "next_position",
        "shard_index",
        "status",
        "visible",
    )
    _size: int = ffi.sizeof("ss_record")

    def __init__(self, shard_index: int, buffer: bytearray, records: Any, status: int, result: Any) -> None:
        self.shard_index = shard_index
        self.buffer = buffer
        self.count = int(result.count)
        self.status = status
        self.next_position = int(result.next_position)
        self.visible = int(result.visible)
        self.damage = (int(result.damage_begin), int(result.damage_end))
        words = memoryview(ffi.buffer(records, self.count * self._size)).cast("B") if self.count else memoryview(b"")
        self._words64 = words.cast("Q")
        self._words32 = words.cast("I")

    def u64(self, name: str) -> memoryview:
        return self._words64[ffi.offsetof("ss_record", name) // 8 :: self._size // 8]

    def u32(self, name: str) -> memoryview:
        return self._words32[ffi.offsetof("ss_record", name) // 4 :: self._size // 4]


_WORD = (1 << 64) - 1


def _hash_key(key: int) -> tuple[int, int]:
    return key >> 64, key & _WORD


def _fill_entry(item: Any, entry: tuple[Any, ...], attributes: bytes | None, keep: list[Any]) -> None:
    # `keep` holds what the C structure points to until the call is over.
    data, key, hash_key = (*entry, None, None)[:3]
    item.data = pointer = ffi.from_buffer("uint8_t[]", data)
    item.data_size = len(pointer)
    keep.append(pointer)
    item.key_size = -1
    if key is not None:
        item.key = pointer = ffi.from_buffer("uint8_t[]", key.encode())
        item.key_size = len(pointer)
        keep.append(pointer)
    if attributes:
        item.attributes = pointer = ffi.from_buffer("uint8_t[]", attributes)
        item.attributes_size = len(pointer)
        keep.append(pointer)
    if hash_key is not None:
        item.hash_key_present = 1
        item.hash_key_hi, item.hash_key_lo = _hash_key(hash_key)


def make_target(logs: Sequence[Log], ranges: Sequence[HashRange], *, record_size_max: int, sync: bool) -> Target:
    """The fast door for puts into these logs; `ranges[i]` is what `logs[i]` owns."""
    table = ffi.new("ss_ranges **")
    starts = ffi.new("ss_hash_key[]", [_hash_key(item.start) for item in ranges])
    ends = ffi.new("ss_hash_key[]", [_hash_key(item.end) for item in ranges])
    # Routing answers with a place in `logs`.
    _call(
        "routing", lib.ss_ranges_create, starts, ends, ffi.new("uint32_t[]", list(range(len(logs)))), len(logs), table
    )
    owned = ffi.gc(table[0], lib.ss_ranges_free)
    return Target(
        int(ffi.cast("uintptr_t", owned)),
        [log.address for log in logs],
        [log.shard_index for log in logs],
        [log.shard_id for log in logs],
        record_size_max,
        sync,
        (owned, tuple(log.keepalive for log in logs[:1])),
    )


class Log:
    """One log of the core. Any thread; lives as long as the attachment it was made from."""

    __slots__ = ("attachment", "generation", "keepalive", "address", "pointer", "shard_id", "shard_index")

    def __init__(self, attachment: Attachment, keepalive: Any, pointer: Any, shard_index: int, shard_id: str) -> None:
        self.attachment = attachment
        self.generation = attachment.generation
        self.keepalive = keepalive  # the store's memory: a Log in use keeps it from being freed
        self.pointer = pointer
        self.address = int(ffi.cast("uintptr_t", pointer))
        self.shard_index = shard_index
        self.shard_id = shard_id

    def append(
        self,
        entries: Sequence[tuple[Any, ...]],
        *,
        expected_tail: int = 0,
        attributes: Sequence[bytes | None] | None = None,
    ) -> Appended:
        """Append (data, key, explicit hash key) entries as one batch, published but not yet durable at return.

        Raises TailMismatchError where `expected_tail` is not 0 and not the tail.
        """
        keep: list[Any] = []
        items = ffi.new("ss_entry[]", len(entries))
        for index, entry in enumerate(entries):
            _fill_entry(items[index], entry, attributes[index] if attributes else None, keep)
        positions = ffi.new("uint64_t[]", len(entries))
        out = ffi.new("ss_appended *")
        _call(self.shard_id, lib.ss_log_append, self.pointer, items, len(entries), expected_tail, 0, positions, out)
        return Appended(out.epoch, out.first_position, out.end_position, out.arrival_us, tuple(positions))

    def sync(self, end_position: int = 0) -> None:
        """Return once everything below `end_position` (0: the tail) is durable."""
        _call(self.shard_id, lib.ss_log_sync, self.pointer, end_position)

    def state(self) -> LogState:
        """The facts on the log now. Recovers it where this incarnation has not touched it yet."""
        out = ffi.new("ss_log_state *")
        _call(self.shard_id, lib.ss_log_state_get, self.pointer, out)
        return LogState(*[getattr(out, name) for name in LogState._fields])

    def visible(self) -> int:
        """The end of what readers may see."""
        out = ffi.new("ss_log_state *")
        _call(self.shard_id, lib.ss_log_state_get, self.pointer, out)
        return int(out.visible)

    def read(
        self, position: int, end: int, limit: int, buffer_size: int
    ) -> tuple[list[Record], int, int, bool, int, int, int]:
        """Up to `limit` records from `position` to before `end` (0: the visible end), out of one buffer.

        Returns (records, next position, visible end, end of log, status, damage begin, damage end); the status is
        OK, TRIMMED or CORRUPT; all else raises.
        """
        while True:
            result = _hot.read(self.address, self.shard_index, self.shard_id, position, end, limit, buffer_size)
            code = result[4] & 0xFF
            if code in (OK, CORRUPT, TRIMMED):
                return result
            if code == SMALL and buffer_size < limits.RECORD_SIZE_MAX * 2:
                buffer_size *= 4
            elif code != _INTERRUPTED:
                raise error_for(result[4], self.shard_id)

    def read_columns(self, position: int, limit: int, buffer_size: int) -> Columns:
        """Up to `limit` records from `position`, decoded but not made into objects; status as for `read`."""
        records = _new_uncleared("ss_record[]", min(limit, buffer_size // lib.SS_FRAME_HEADER_SIZE + 1))
        result = ffi.new("ss_read_result *")
        limit = len(records)
        while True:
            buffer = bytearray(buffer_size)
            status = lib.ss_log_read(
                self.pointer, position, 0, ffi.from_buffer(buffer), buffer_size, records, limit, result
            )
            code = status & 0xFF
            if code in (OK, CORRUPT, TRIMMED):
                return Columns(self.shard_index, buffer, records, status, result)
            if code == SMALL and result.size_needed > buffer_size:
                buffer_size = result.size_needed
            elif code != _INTERRUPTED:
                raise error_for(status, self.shard_id)

    def get(self, position: int, epoch: int) -> Record | None:
        """The record exactly there, or None. Raises TrimmedError, CorruptRangeError."""
        size = 4 * limits.KIB
        record = ffi.new("ss_record *")
        result = ffi.new("ss_read_result *")
        while True:
            buffer = bytearray(size)
            status = lib.ss_log_get(self.pointer, position, epoch, ffi.from_buffer(buffer), size, record, result)
            if status == OK:
                return self._record(record, memoryview(buffer))
            code = status & 0xFF
            if code == lib.SS_NOT_FOUND:
                return None
            if code == SMALL and result.size_needed > size:
                size = result.size_needed
            elif code != _INTERRUPTED:
                raise error_for(status, self.shard_id)

    def _record(self, record: Any, view: memoryview) -> Record:
        key = None
        if record.key_size >= 0:
            key = str(view[record.key_offset : record.key_offset + record.key_size], "utf-8", "surrogateescape")
        return make_record(
            self.shard_id,
            self.shard_index,
            record.epoch,
            record.position,
            record.position + record.frame_size,
            record.ordinal,
            record.arrival_us,
            bytes(view[record.data_offset : record.data_offset + record.data_size]),
            key,
            record.hash_key_hi << 64 | record.hash_key_lo if record.hash_key_present else None,
            bytes(view[record.attributes_offset : record.attributes_offset + record.attributes_size]),
        )

    def seek(self, position: int) -> int:
        """The first frame boundary at or after `position`."""
        return self._seek(lib.ss_log_seek, position)

    def seek_time(self, arrival_us: int) -> int:
        """The first record that arrived at or after `arrival_us`; the visible end where there is none."""
        return self._seek(lib.ss_log_seek_time, arrival_us)

    def seek_ordinal(self, ordinal: int) -> int:
        """The first record whose ordinal is at or above `ordinal`; the visible end where there is none."""
        return self._seek(lib.ss_log_seek_ordinal, ordinal)

    def _seek(self, function: Callable[..., int], value: int) -> int:
        out = ffi.new("uint64_t *")
        _call(self.shard_id, function, self.pointer, value, out)
        return int(out[0])

    def wait(self, position: int, timeout_us: int) -> bool:
        """Wait until something is visible at or beyond `position`, or somebody woke the log; False on timeout."""
        return _wait(self.shard_id, lib.ss_log_wait, self.pointer, position, timeout_us)

    def wake(self) -> None:
        lib.ss_log_wake(self.pointer)

    def roll(self, expected_tail: int = 0) -> None:
        """Start a new segment at the tail."""
        _call(self.shard_id, lib.ss_log_roll, self.pointer, expected_tail)

    def trim(self, position: int) -> int:
        """Readers see nothing before `position` from now on; returns the bytes freed."""
        out = ffi.new("uint64_t *")
        _call(self.shard_id, lib.ss_log_trim, self.pointer, position, out)
        return int(out[0])

    def retire(self) -> None:
        """Let no append in any more and drop maps and descriptors: the stream is being deleted."""
        _call(self.shard_id, lib.ss_log_retire, self.pointer)

    def segments(self) -> list[Segment]:
        """The segments on disk, oldest first."""
        listed = _listing(
            "ss_segment_info", lambda items, size, count: lib.ss_log_segments(self.pointer, items, size, count)
        )
        return [Segment(**item) for item in listed]

    def live(self) -> dict[str, int]:
        """Live figures for `stat`; recovers nothing."""
        out = ffi.new("ss_log_live *")
        lib.ss_log_live_get(self.pointer, out)
        return _fields(out)

    def recovery(self) -> dict[str, Any]:
        """What recovery found when this process recovered the log; `verdict` is '' where it did not."""
        out = ffi.new("ss_recovery *")
        lib.ss_log_recovery_get(self.pointer, out)
        facts = _fields(out)
        facts["verdict"] = chr(facts["verdict"]) if facts["verdict"] else ""
        return facts

    def verify(self, begin: int, end: int) -> tuple[list[dict[str, int]], dict[str, int]]:
        """Check every frame in [begin, end) from the files: (damaged ranges, totals)."""
        totals = ffi.new("ss_verify_totals *")
        damage = _listing(
            "ss_damage",
            lambda items, size, count: lib.ss_log_verify(self.pointer, begin, end, items, size, count, totals),
        )
        return damage, _fields(totals)
