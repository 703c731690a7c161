"""An Attachment: one process's hold on one store directory. Knows directories, not streams by name."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from streamstore import errors, limits
from streamstore._core import ffi, lib
from streamstore._hot import disown, own
from streamstore.native.border import call, error_for, fields, listing, wait
from streamstore.native.fork import watch_fork
from streamstore.native.hold import Hold
from streamstore.native.log import Log
from streamstore.native.retained import RetainedLog
from streamstore.native.unsealing import Unsealer, Unsealers
from streamstore.values import LogOptions

_log = logging.getLogger("streamstore")
_DURABILITY = {name: number for number, name in enumerate(limits.DURABILITIES)}
_inherited: list[Any] = []  # handles of the parent, kept so that a child never frees what it does not own


_FREE_STORE = int(ffi.cast("uintptr_t", ffi.addressof(lib, "ss_store_free")))


def _closing(memory: object) -> Callable[[Any], None]:
    """Closes a store that is garbage. Its memory stays until the last Log and Target have let go of it: in the same
    garbage somebody's __del__ may still use them, and is to get ClosedError.
    """

    def close(pointer: Any, memory: object = memory) -> None:
        if status := lib.ss_store_close(pointer):  # nobody is there to raise it to
            _log.error("a store was dropped without close(): %s", error_for(status, "its last sync"))

    return close


class Attachment:
    """One process's hold on a store directory. Opens at first use; any thread; survives a fork by opening again.

    `generation` grows with each opening: what was made under an earlier one (logs, targets) must be made again.
    """

    def __init__(self, path: str, *, create: bool, read_only: bool, sync_interval_us: int) -> None:
        self.path = path
        self.read_only = read_only
        self.generation = 0
        self.closed = False
        self.on_open: Callable[[], None] | None = None
        """Called after each opening, also by a forked child."""
        self._create = create
        self._sync_interval_us = sync_interval_us
        self._pointer: Any = None
        self.memory: object = None
        """What keeps the open store's memory from being freed."""
        self._lock = threading.RLock()  # a signal's handler may be the first to use what its thread is opening
        self._unsealers = Unsealers()
        watch_fork(self, first=True)
        _live.add(self)

    @property
    def pointer(self) -> Any:
        """The open store of the core. Raises ClosedError, and whatever opening raises."""
        if self.closed:
            raise errors.ClosedError(f"{self.path}: the store is closed")
        if self._pointer is not None:
            return self._pointer
        pointer = self._attach()
        if self.on_open is not None:
            self.on_open()
        return pointer

    def _attach(self) -> Any:
        with self._lock:
            if self._pointer is None:
                flags = lib.SS_OPEN_READ_ONLY if self.read_only else lib.SS_OPEN_CREATE if self._create else 0
                out = ffi.new("ss_store **")
                try:
                    call(self.path, lib.ss_store_open, os.fsencode(self.path), flags, out)
                except errors.StreamNotFoundError:
                    raise errors.StoreNotFoundError(f"{self.path}: there is no store in this directory") from None
                memory = own(int(ffi.cast("uintptr_t", out[0])), _FREE_STORE)
                pointer = ffi.gc(out[0], _closing(memory))
                call(self.path, lib.ss_store_sync_interval_set, pointer, self._sync_interval_us)
                self._unsealers.attach(pointer)
                self._create = False  # whoever removes the directory under us is not to get a new one
                if self._pointer is None:  # else a handler opened it meanwhile, and what it made hangs on that one
                    self.generation += 1
                    self._pointer, self.memory = pointer, memory
            return self._pointer

    def close(self) -> None:
        """End every wait and every later call with ClosedError; sync what the mode asks for. Safe to call twice.

        Raises DurabilityUnknownError, once all is released, where that sync failed and acknowledged records hang on it.
        """
        with self._lock:
            self.closed = True
            if self._pointer is not None:
                call("close", lib.ss_store_close, self._pointer)

    def _after_fork(self) -> None:
        self._lock = threading.RLock()
        if self._pointer is not None:
            lib.ss_store_after_fork(self._pointer)
            _inherited.append(ffi.gc(self._pointer, None) or self._pointer)
            disown(self.memory)
            self._pointer = self.memory = None
            self.generation += 1

    def log(
        self,
        stream_id: int,
        shard_index: int,
        shard_id: str,
        options: LogOptions,
        horizon: Callable[[], int] | None = None,
    ) -> Log:
        """Attach to one log; touches no disk. `horizon` says before which arrival nothing is returned."""
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
                options.arrival_floor_us,
                options.reserve_size,
            ),
        )
        call(shard_id, lib.ss_store_log, pointer, stream_id, shard_index, native_options, out)
        if horizon is None:
            return Log(self, pointer, out[0], shard_index, shard_id)
        return RetainedLog(self, pointer, out[0], shard_index, shard_id, horizon)

    def unseal_with(self, stream_id: int, unsealer: Unsealer) -> None:
        """Open sealed blocks of a stream's compacted segments with `unsealer` from now on."""
        self._unsealers.by_stream[stream_id] = unsealer

    def info(self) -> dict[str, Any]:
        """Facts on this attachment, as the core names them."""
        out = ffi.new("ss_store_info *")
        lib.ss_store_info_get(self.pointer, out)
        facts = fields(out)
        facts["store_id"] = bytes(facts["store_id"]).hex()
        return facts

    def flush(self) -> None:
        """Return once everything any process published before the call is durable."""
        call("flush", lib.ss_store_flush, self.pointer)

    def raise_epoch(self, epoch: int) -> None:
        """Epochs handed out from now on are above `epoch`; durable at return."""
        call("raising the epoch counter", lib.ss_store_epoch_raise, self.pointer, epoch)

    def epoch_counter(self) -> int:
        """Every epoch handed out from now on is above it."""
        return int(lib.ss_store_epoch_counter(self.pointer))

    def clock(self) -> tuple[int, int]:
        """The wall clock, and by how much it stands ahead of what the boot clock lets expect, in microseconds."""
        wall, jump = ffi.new("uint64_t *"), ffi.new("int64_t *")
        call("the clock", lib.ss_store_clock, self.pointer, wall, jump)
        return int(wall[0]), int(jump[0])

    def accept_clock(self) -> None:
        """Take the wall clock as it is now for right, in every process."""
        call("accepting the clock", lib.ss_store_clock_accept, self.pointer)

    def maintained(self) -> int:
        """When maintenance last went through the store, in any process; 0 for never."""
        return int(lib.ss_store_maintained(self.pointer))

    def set_maintained(self, when_us: int) -> None:
        """Say that it went through now."""
        lib.ss_store_maintained_set(self.pointer, when_us)

    def hold(self, byte: int, *, wait: bool = False) -> Hold | None:
        """Take one of the store's locks (limits.HOLD_...) until the Hold is released or the process dies.

        None where another one has it, unless it is to `wait`; a thread of this process counts as another one.
        """
        return Hold.take(os.path.join(self.path, "lock"), byte, wait=wait)

    def is_nearly_full(self) -> bool:
        """Has the file system less left than a few reserves?"""
        try:
            disk = os.statvfs(self.path)
        except OSError:
            return False
        return disk.f_bavail * disk.f_frsize < limits.DISK_LEFT_MIN

    def make_reserve(self) -> None:
        """Make the file that a full disk spends, where it is missing. Raises StoreFullError."""
        call("the reserve", lib.ss_store_reserve, self.pointer)

    def poison(self) -> int:
        """0, or the errno of the failed sync that poisoned the store."""
        return int(lib.ss_store_poison(self.pointer))

    def watch(self) -> int:
        """The word of store-wide activity: read it, look for work, then `wait` for it to differ."""
        return int(lib.ss_store_watch(self.pointer))

    def wait(self, seen: int, timeout_us: int) -> bool:
        """Wait until the word differs from `seen` (True) or the timeout passed (False)."""
        return wait("wait", lib.ss_store_wait, self.pointer, seen, timeout_us)

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
        """The processes attached to the store: slot, pid, attached_us, generation, alive."""
        return listing(
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
