"""The store: a directory, its catalog, its streams; opening, deleting, what a crash left half deleted, facts for
`stat`.

The top of the package: everything below is handed out by it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any

from streamstore import limits, native
from streamstore.catalog import Catalog
from streamstore.errors import InvalidArgumentError, InvalidTypeError, ReadOnlyError, StorageError, StreamNotFoundError
from streamstore.events import Key, StreamInfo
from streamstore.stream import Stream

_reopened: weakref.WeakValueDictionary[tuple[Any, ...], Store] = weakref.WeakValueDictionary()
_reopened_lock = threading.Lock()


class Store:
    """A store of streams in one directory. Context manager; any thread, any process; picklable; goes on after a fork.

    Made by `streamstore.open`.
    """

    def __init__(self, path: str, options: dict[str, Any], *, create: bool) -> None:
        self.path = path
        self._options = options
        self._lock = threading.RLock()
        self._streams: dict[int, Stream] = {}
        self._store_id: str | None = None
        self.attachment = native.Attachment(
            path,
            create=create,
            read_only=options["read_only"],
            sync_interval_us=round(options["sync_interval"] * 1_000_000),
        )
        self.catalog = Catalog(self.attachment)
        native.watch_fork(self)

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Callable[..., Store], tuple[str, dict[str, Any]]]:
        return _reopen, (self.path, self._options)

    def __repr__(self) -> str:
        return f"<Store {self.path}{' (closed)' if self.attachment.closed else ''}>"

    def _after_fork(self) -> None:
        self._lock = threading.RLock()

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
    def closed(self) -> bool:
        return self.attachment.closed

    def _key(self, name: str) -> Key:
        if not isinstance(name, str):
            raise InvalidTypeError(f"a stream name is a str, not {type(name).__name__}")
        if not limits.STREAM_NAME.match(name):
            raise InvalidArgumentError(f"{name!r} is no stream name: 1 to 128 of the characters a-z A-Z 0-9 _ . -")
        return (self.account, self.region, name)

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
    ) -> Stream:
        """Make a stream and return it; durable at return.

        `durability` is the store's default where None. `max_record_size` counts data and key together, up to 1 GiB;
        `segment_size` is the address space a segment file takes: a multiple of 64 KiB, 128 KiB to 3 GiB, 128 MiB where
        None. Raises
        StreamExistsError (unless exist_ok, which returns the stream as it is), InvalidArgumentError,
        InvalidTypeError, ReadOnlyError, StoreFullError.
        """
        account, region, _ = self._key(name)
        chosen = self._options["durability"] if durability is None else durability
        _check_choice("durability", chosen, limits.DURABILITIES)
        _check_int("shard_count", shard_count, 1, limits.SHARD_COUNT_MAX)
        _check_int("retention_hours", retention_hours, limits.RETENTION_HOURS_MIN, limits.RETENTION_HOURS_MAX)
        _check_int("max_record_size", max_record_size, 1, limits.RECORD_SIZE_MAX)
        if segment_size is not None:
            _check_int("segment_size", segment_size, limits.SEGMENT_SIZE_MIN, limits.SEGMENT_SIZE_MAX)
            if segment_size % limits.SEGMENT_SIZE_UNIT:
                raise InvalidArgumentError(
                    f"segment_size is a multiple of {limits.SEGMENT_SIZE_UNIT}, not {segment_size}"
                )
        wanted = StreamInfo(
            id=0,
            name=name,
            account=account,
            region=region,
            uniform=shard_count,
            retention_hours=retention_hours,
            durability=chosen,
            max_record_size=max_record_size,
            segment_size=segment_size or 0,
            created_us=0,
            epoch_floor=0,
        )
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

    def lazy_stream(self, name: str) -> Stream:
        """The stream of that name, looked up at first use: for unpickling."""
        return Stream(self, self._key(name))

    def list_streams(self) -> list[str]:
        """The names of the streams of this account and region, sorted."""
        state = self.catalog.refresh()
        return sorted(
            name for account, region, name in state.streams if (account, region) == (self.account, self.region)
        )

    def delete_stream(self, name: str) -> None:
        """Delete a stream and its records; durable at return.

        Whoever still has it, in any process, gets StreamNotFoundError. A stream made later under the same name is
        another one, and reuses no sequence number. Raises StreamNotFoundError, ReadOnlyError.
        """
        if self.attachment.read_only:
            raise ReadOnlyError(f"{self.path} is open read-only")
        stream = self.stream(name)
        info = stream.info
        epoch = max(stream.highest_epoch(stream.written()), self.attachment.epoch_counter())
        self.attachment.raise_epoch(epoch)
        self.catalog.publish("delete", info, epoch=epoch)
        with self._lock:
            self._streams.pop(info.id, None)
        self._purge(stream)

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

    def _purge(self, stream: Stream) -> None:
        """Close each log against writers of every process, then remove the files, then say so."""
        epoch = stream.retire()
        self.attachment.raise_epoch(epoch)
        shutil.rmtree(self.attachment.stream_directory(stream.info.id), ignore_errors=True)
        self.catalog.purged(stream.info.id, epoch)

    def remove_orphans(self) -> None:
        """Finish what a crash in the middle of a delete left; done by the first process that opens the store."""
        state = self.catalog.refresh()
        for stream_id in list(state.deleting):
            epoch = max(state.epoch_floor, self.attachment.epoch_counter())
            shutil.rmtree(self.attachment.stream_directory(stream_id), ignore_errors=True)
            self.catalog.purged(stream_id, epoch)

    # --- the whole --------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Return when everything that any process published before the call is durable. Raises
        DurabilityUnknownError.
        """
        self.attachment.flush()

    def close(self) -> None:
        """Sync what is unsynced and let go: every wait ends at once, every later call raises ClosedError. Safe to
        call twice.
        """
        self.attachment.close()

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
            "streams": [self._stream_stats(self.stream(name)) for name in names],
        }

    def _stream_stats(self, stream: Stream) -> dict[str, Any]:
        info = stream.info
        written = set(stream.written())
        shards = [_log_stats(stream.log(index)) for index in range(info.uniform) if index in written]
        return {
            "name": info.name,
            "id": info.id,
            "arn": stream.arn,
            "durability": info.durability,
            "retention_hours": info.retention_hours,
            "shard_count": info.uniform,
            "max_record_size": info.max_record_size,
            "created_us": info.created_us,
            "record_count": sum(item["record_count"] - item["start_record_count"] for item in shards),
            "shards": shards,
        }


def _log_stats(log: native.Log) -> dict[str, Any]:
    state = log.state()
    segments = [segment for segment in log.segments() if segment.live]
    return {
        "shard_id": log.shard_id,
        **state._asdict(),
        **log.live(),
        "bytes": state.tail - state.start,
        "dirty_bytes": state.tail - state.durable,
        "segment_count": len(segments),
        "disk_bytes": sum(segment.disk_bytes for segment in segments),
    }


def _check_int(what: str, value: Any, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidTypeError(f"{what} is an int, not {type(value).__name__}")
    if not low <= value <= high:
        raise InvalidArgumentError(f"{what} is {low} to {high}, not {value}")


def _check_choice(what: str, value: Any, choices: tuple[str, ...]) -> None:
    if not isinstance(value, str):
        raise InvalidTypeError(f"{what} is a str, not {type(value).__name__}")
    if value not in choices:
        raise InvalidArgumentError(f"{what} is one of {', '.join(choices)}, not {value!r}")


def _check_options(options: dict[str, Any]) -> None:
    _check_choice("durability", options["durability"], limits.DURABILITIES)
    for what, pattern, example in (("account", limits.ACCOUNT, "000000000000"), ("region", limits.REGION, "us-east-1")):
        if not isinstance(options[what], str):
            raise InvalidTypeError(f"{what} is a str, not {type(options[what]).__name__}")
        if not pattern.match(options[what]):
            raise InvalidArgumentError(f"{what} looks like {example!r}, not {options[what]!r}")
    interval = options["sync_interval"]
    if isinstance(interval, bool) or not isinstance(interval, (int, float)):
        raise InvalidTypeError(f"sync_interval is a number of seconds, not {type(interval).__name__}")
    if not 0.001 <= interval <= 3600:
        raise InvalidArgumentError(f"sync_interval is 0.001 to 3600 seconds, not {interval}")


def open(
    path: str | os.PathLike[str],
    *,
    durability: str = "sync",
    create: bool = True,
    read_only: bool = False,
    account: str = "000000000000",
    region: str = "us-east-1",
    sync_interval: float = 0.1,
) -> Store:
    """Open the store in a directory, making it where there is none (unless create=False or read_only=True).

    `durability` is the default for new streams: "sync", "interval" (synced every `sync_interval` seconds) or
    "process". Account and region are the view: streams of other ones are not seen. Raises StoreNotFoundError,
    FormatVersionError, ForeignFileError, StorageError, InvalidArgumentError, InvalidTypeError.
    """
    options = {
        "durability": durability,
        "read_only": bool(read_only),
        "account": account,
        "region": region,
        "sync_interval": sync_interval,
    }
    _check_options(options)
    try:
        directory = os.path.abspath(os.fsdecode(path))
    except TypeError:
        raise InvalidTypeError(f"a path is a str or os.PathLike, not {type(path).__name__}") from None
    if create and not read_only:
        _make_parents(directory)
    store = Store(directory, options, create=create and not read_only)
    if store.attachment.info()["first_opener"] and not read_only:
        try:
            store.remove_orphans()
        except BaseException:
            store.close()
            raise
    return store


def _make_parents(directory: str) -> None:
    """Make the directories above a store such that they survive a power cut, as the store itself does."""
    missing = []
    parent = os.path.dirname(directory)
    while not os.path.isdir(parent):
        missing.append(parent)
        parent = os.path.dirname(parent)
    for path in reversed(missing):
        try:
            os.makedirs(path, exist_ok=True)
            handle = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            failure = StorageError(f"{path}: the directory cannot be made ({error.strerror})")
            failure.errno = error.errno or 0
            raise failure from None
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


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


@contextmanager
def temporary(**options: Any) -> Iterator[Store]:
    """A store in a new directory, closed and deleted at the end: for tests. Options are those of `open`."""
    directory = tempfile.mkdtemp(prefix="streamstore-")
    try:
        with open(directory, **options) as store:
            yield store
    finally:
        with suppress(FileNotFoundError):
            shutil.rmtree(directory)
