"""The store: a directory, its catalog, its streams; deleting, and what a crash left half deleted.

The top of the package: everything below is handed out by it.
"""

from __future__ import annotations

import copy
import os
import shutil
import threading
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from streamstore import limits, native, retention, settings, stats
from streamstore.catalog import Catalog
from streamstore.errors import (
    DurabilityUnknownError,
    ReadOnlyError,
    StaleHandleError,
    StoreFullError,
    StreamNotFoundError,
)
from streamstore.events import Key, StreamInfo
from streamstore.keys import ring_of
from streamstore.maintenance import Caretaker, Report, Rounds
from streamstore.stream import Stream

if TYPE_CHECKING:
    from streamstore.backup import SnapshotResult
    from streamstore.queue import Queue

_reopened: weakref.WeakValueDictionary[tuple[Any, ...], Store] = weakref.WeakValueDictionary()
_reopened_lock = threading.RLock()
_T = TypeVar("_T")


class Store:
    """A store of streams in one directory. Context manager; any thread, any process; picklable; goes on after a fork.

    Made by `streamstore.open`.
    """

    def __init__(self, path: str, options: dict[str, Any], *, create: bool) -> None:
        self.path = path
        self._options = options
        self._lock = threading.RLock()
        self._streams: dict[int, Stream] = {}
        self.parts: dict[str, Any] = {}  # what the levels above keep one of for this store
        self._store_id: str | None = None
        self.attachment = native.Attachment(
            path,
            create=create,
            read_only=options["read_only"],
            sync_interval_us=round(options["sync_interval"] * 1_000_000),
        )
        self.catalog = Catalog(self.attachment)
        self.key_ring = ring_of(options.get("key_ring"))
        self.clock = retention.TrustedClock(self._jump_us)
        self.rounds = Rounds(self)
        self.caretaker: Caretaker | None = None
        if options["maintenance"] and not options["read_only"]:
            self.caretaker = Caretaker(self)
            self.attachment.on_open = self.caretaker.start
        native.watch_fork(self)

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except (DurabilityUnknownError, StaleHandleError):
            if kind is None:  # else what ended the block says more, and must not be hidden
                raise

    def __reduce__(self) -> tuple[Callable[..., Store], tuple[str, dict[str, Any]]]:
        return _reopen, (self.path, self._options)

    def __repr__(self) -> str:
        return f"<Store {self.path}{' (closed)' if self.attachment.closed else ''}>"

    def _after_fork(self) -> None:
        self._lock = threading.RLock()

    def _jump_us(self) -> int:
        return self.attachment.clock()[1]

    @property
    def store_id(self) -> str:
        """What tells this store from every other, in hex."""
        if self._store_id is None:
            self._store_id = self.attachment.info()["store_id"]
        return self._store_id

    @property
    def account(self) -> str:
        return str(self._options["account"])

    @property
    def region(self) -> str:
        return str(self._options["region"])

    @property
    def durability(self) -> str:
        """What new streams get unless they say otherwise."""
        return str(self._options["durability"])

    @property
    def closed(self) -> bool:
        return self.attachment.closed

    def part(self, name: str, make: Callable[[], _T]) -> _T:
        """What `make` made for that name when it was asked for first in this process."""
        with self._lock:
            if name not in self.parts:
                self.parts[name] = make()
            found: _T = self.parts[name]
            return found

    def _key(self, name: str) -> Key:
        return (self.account, self.region, settings.stream_name(name))

    # --- streams ----------------------------------------------------------------------------------------------------

    def create_stream(
        self,
        name: str,
        shard_count: int = 1,
        retention_hours: int = 24,
        *,
        durability: str | None = None,
        exist_ok: bool = False,
        max_record_size: int = limits.RECORD_SIZE_DEFAULT,
        segment_size: int | None = None,
        compact_after: float | None = 3600.0,
        max_bytes: int | None = None,
        on_full: str = "error",
        annotations: Mapping[str, Any] | None = None,
    ) -> Stream:
        """Make a stream and return it; durable at return.

        `durability` is the store's default where None. `max_record_size` counts data and key together, up to 1 GiB;
        `segment_size` is the address space a segment file takes: a multiple of 64 KiB, 128 KiB to 3 GiB, 128 MiB where
        None. Segments are compacted `compact_after` seconds after they were sealed, or never where None. `max_bytes`
        bounds what is kept of it, `on_full` says what a put does that finds no place, as for `Stream.set_limit`.
        `annotations` are there from its first moment (see Stream.annotate). Raises StreamExistsError (unless exist_ok,
        which returns the stream as it is), InvalidArgumentError, InvalidTypeError, ReadOnlyError, StoreFullError.
        """
        wanted = settings.new_stream(
            self._key(name),
            shard_count=shard_count,
            retention_hours=retention_hours,
            durability=self._options["durability"] if durability is None else durability,
            max_record_size=max_record_size,
            segment_size=segment_size,
            compact_after=compact_after,
            max_bytes=max_bytes,
            on_full=on_full,
        )
        if annotations:
            wanted = replace(wanted, extra=dict(annotations))
        return self._stream(self.catalog.create(wanted, exist_ok=exist_ok))

    def stream(self, name: str) -> Stream:
        """The stream of that name. Raises StreamNotFoundError, InvalidArgumentError, ClosedError."""
        return self._stream(self.catalog.find(self._key(name)))

    def _stream(self, info: StreamInfo) -> Stream:
        # One object per stream, so that the door for puts is bound once.
        with self._lock:
            found = self._streams.get(info.id)
            if found is None:
                found = self._streams[info.id] = Stream(self, info.key, info)
            return found

    def stream_of(self, info: StreamInfo) -> Stream:
        """The stream that the catalog described so, of whatever account and region."""
        return self._stream(info)

    def lazy_stream(self, name: str) -> Stream:
        """The stream of that name, looked up at first use: for unpickling."""
        return Stream(self, self._key(name))

    def list_streams(self) -> list[str]:
        """The names of the streams of this account and region, sorted."""
        state = self.catalog.refresh()
        return sorted(
            name
            for account, region, name in state.streams
            if (account, region) == (self.account, self.region) and "/" not in name  # those are the store's own
        )

    def delete_stream(self, name: str) -> None:
        """Delete a stream and its records; durable at return.

        Whoever still has it, in any process, gets StreamNotFoundError. A stream made later under the same name is
        another one, and reuses no sequence number. Raises StreamNotFoundError, ReadOnlyError.
        """
        self._delete(self.stream(name))

    def delete_stream_of(self, stream_id: int) -> None:
        """Delete the stream of that number, if it is there: also those of the store's own."""
        with suppress(StreamNotFoundError):
            self._delete(self.stream_by_id(stream_id))

    def _delete(self, stream: Stream) -> None:
        if self.attachment.read_only:
            raise ReadOnlyError(f"{self.path} is open read-only")
        info = stream.info
        epoch = max(stream.highest_epoch(stream.written()), self.attachment.epoch_counter())
        self.attachment.raise_epoch(epoch)
        info = self.catalog.publish("delete", info, epoch=epoch)
        with self._lock:
            self._streams.pop(info.id, None)
        self._purge(stream, info)
        # What queues and consumers of it knew goes with it; after a crash in between, at their next opening.
        for other in list(self.catalog.refresh().streams.values()):
            if other.extra.get("of") == info.id:
                self._delete(self._stream(other))

    def annotation(self, name: str) -> Any:
        """The value that `annotate` last gave that name, in any process; None where none did. Not to be changed."""
        return self.catalog.refresh().notes.get(name)

    def annotate(self, name: str, update: Callable[[Any], Any]) -> Any:
        """Keep a plain value with the store under a name of one's own: what `update` makes of the present one.

        As `Stream.annotate`; None takes the name away. Raises ReadOnlyError, StoreFullError.
        """
        return self.catalog.note(name, update)

    def stream_by_id(self, stream_id: int) -> Stream:
        """The stream of that number, in whatever account and region. Raises StreamNotFoundError."""
        state = self.catalog.refresh()
        key = state.keys.get(stream_id)
        if key is None:
            raise StreamNotFoundError(f"there is no stream of number {stream_id}; it may have been deleted")
        return self._stream(state.streams[key])

    def view(self, account: str, region: str) -> Store:
        """The same open store as another account and region see it; closing one closes all."""
        twin = copy.copy(self)
        twin._options = {**self._options, "account": account, "region": region}
        twin._lock, twin._streams = threading.RLock(), {}
        settings.check_options(twin._options)
        native.watch_fork(twin)
        return twin

    def boto3_client(self, **kwargs: Any) -> Any:
        """A real boto3 client for Kinesis whose requests this store answers, with no server and no network.

        Keyword arguments are those of boto3.client, without an endpoint; `limits`, `isolate` and `delays_s` are those
        of the service. Needs the extra `boto3`. Raises InvalidArgumentError.
        """
        from streamstore.kinesis.door import client

        return client(self, **kwargs)

    def _purge(self, stream: Stream, info: StreamInfo) -> None:
        """Close each log against writers of every process, then remove the files, then say so."""
        epoch = stream.retire(info)
        self.attachment.raise_epoch(epoch)
        shutil.rmtree(self.attachment.stream_directory(info.id), ignore_errors=True)
        self.catalog.purged(info.id, epoch)

    def finish_reshards(self) -> None:
        """Finish splits and merges that were decided and not carried out, as far as the disk lets it."""
        for info in list(self.catalog.refresh().streams.values()):
            if info.pending is not None:
                with suppress(StreamNotFoundError, StoreFullError):
                    self.stream_of(info).finish_reshard()

    def remove_orphans(self) -> None:
        """Finish what a crash in the middle of a delete left; done by the first process that opens the store."""
        state = self.catalog.refresh()
        for stream_id in list(state.deleting):
            epoch = max(state.epoch_floor, self.attachment.epoch_counter())
            shutil.rmtree(self.attachment.stream_directory(stream_id), ignore_errors=True)
            self.catalog.purged(stream_id, epoch)

    # --- queues -----------------------------------------------------------------------------------------------------

    def queue(self, name: str, **options: Any) -> Queue:
        """The queue of that name, made with a stream of its own (of the same name) where it is not there.

        Options: visibility (seconds, 30), max_receive_count (6; 0 = no dead letters), codec ("msgpack", "json",
        "bytes", or a pair of callables), key_order, dedup_window (seconds), max_records, max_bytes, on_full ("block" or
        "error"), shard_count, durability, max_record_size. Nothing unacknowledged expires. Raises StreamExistsError
        where a stream of that name is no queue's, InvalidArgumentError, InvalidTypeError.
        """
        from streamstore.queue import queue

        return queue.own(self, name, options)

    def create_queue(self, name: str, stream: str, **options: Any) -> Queue:
        """Make a queue over a stream that is there; its retention wins, and what expires unacknowledged is counted.

        Options as for `queue`, and start: "LATEST", "TRIM_HORIZON" or a time. Raises StreamExistsError,
        StreamNotFoundError, InvalidArgumentError, InvalidTypeError.
        """
        from streamstore.queue import queue

        return queue.over(self, name, stream, options)

    def open_queue(self, name: str, codec: Any = None) -> Queue:
        """The queue of that name, which must be there. Raises StreamNotFoundError."""
        from streamstore.queue import queue

        return queue.existing(self, name, codec)

    def list_queues(self) -> list[str]:
        """The names of the queues of this account and region, sorted."""
        from streamstore.queue import attach

        return attach.names(self)

    def delete_queue(self, name: str) -> None:
        """Delete a queue, and its messages where its stream is its own. Raises StreamNotFoundError."""
        from streamstore.queue import attach

        attach.delete(self, name)

    def tidy_queues(self) -> list[str]:
        """Have every queue give back the space it does not need; what went wrong, a line each. A part of `maintain`."""
        from streamstore.queue import attach

        return attach.tidy(self)

    # --- consumers --------------------------------------------------------------------------------------------------

    def list_consumers(self, stream: str) -> list[str]:
        """The names of a stream's consumers, sorted. Raises StreamNotFoundError."""
        from streamstore import consumer

        return consumer.names(self, self.stream(stream))

    # --- the whole --------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Return when everything that any process published before the call is durable. Raises
        DurabilityUnknownError.
        """
        self.attachment.flush()

    def close(self) -> None:
        """Sync what is unsynced and let go: every wait ends at once, every later call raises ClosedError. Safe to
        call twice.

        Raises DurabilityUnknownError, with everything let go of, where the last sync of an interval or process stream
        failed: what was put since the one before it may not survive a power cut.
        """
        if self.caretaker is not None:
            self.caretaker.stop()
        self.attachment.close()

    def maintain(self, *, accept_clock: bool = False) -> Report:
        """Go through the store once: drop what is past retention, end slow segments, finish what crashes left.

        One process does it at a time (`busy` in the report where another one is at it). While the wall clock stands
        an hour or more off the boot clock nothing is trimmed; `accept_clock` says that it is right. Durable at return.
        Raises ReadOnlyError, ClosedError; all other trouble is told in `problems` of the report.
        """
        if self.attachment.read_only:
            raise ReadOnlyError(f"{self.path} is open read-only")
        return self.rounds.run(accept_clock=accept_clock)

    def snapshot(
        self, target: str | os.PathLike[str], *, progress: Callable[[int, int], None] | None = None
    ) -> SnapshotResult:
        """Copy the whole store as of now into a new directory, by hard links where it can, and stop no writer.

        Every record acknowledged before the call is in it. It opens as a store; `streamstore.restore` makes one with
        an identity of its own. `progress(done, streams)` is called as it goes. Durable at return. Raises
        InvalidArgumentError (the target exists), StoreFullError, StorageError, CorruptRangeError.
        """
        from streamstore.backup import snapshot

        return snapshot(self, target, progress)

    def stats(self, stream: str | None = None) -> dict[str, Any]:
        """Facts for `stat`, as plain values: the attachment, the processes, and each log's tail, durable end,
        sizes, waiters, syncs.

        Bytes and microseconds. Of the streams of this account and region, or of one.
        """
        names = self.list_streams() if stream is None else [stream]
        return {
            "path": self.path,
            **self.attachment.info(),
            "poison": self.attachment.poison(),
            "epoch_counter": self.attachment.epoch_counter(),
            "processes": self.attachment.processes(),
            "clock_jump_us": self.attachment.clock()[1],
            "clock_trusted": self.clock.look() == 0,
            "maintained_us": self.attachment.maintained(),
            "maintenance_problems": self.caretaker.problems if self.caretaker else [],
            "streams": [stats.of_stream(self.stream(name)) for name in names],
        }


def _reopen(path: str, options: dict[str, Any]) -> Store:
    """A Store out of a pickle: opened at first use, one for all that come from the same path and options in this
    process.
    """
    key = (path, *sorted(options.items()))
    with _reopened_lock:
        store = _reopened.get(key)
        if store is None or store.closed:
            store = _reopened[key] = Store(path, options, create=False)
        return store
