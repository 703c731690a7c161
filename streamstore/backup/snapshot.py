"""`snapshot` and `restore`: a store's streams into a new directory, under the same id by links or under a new one by
copies. Stops no writer; the new catalog says what was taken, and nothing else.

Order, so that nothing that was taken points at what was not: the catalog's state first (commits in it are below every
tail that is taken later), then the logs whose name no stream has (deliveries of queues), then the streams' logs.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from streamstore import clock, events, limits, native
from streamstore.backup import layout
from streamstore.backup.assembly import Assembly, storage_errors
from streamstore.backup.capture import CapturedLog, Placement, capture_log
from streamstore.errors import (
    CorruptRangeError,
    InvalidArgumentError,
    ShardClosedError,
    StorageError,
    StreamNotFoundError,
)
from streamstore.events import State, StreamInfo

if TYPE_CHECKING:
    from streamstore.store import Store

Progress = Callable[[int, int], None]
"""Called with (logs done, logs in all)."""


class SnapshotResult(NamedTuple):
    """What a snapshot or restore made: sizes in bytes; `linked_bytes` are shared with the source until it lets go."""

    path: str
    store_id: str
    streams: int
    shards: int
    records: int
    linked_bytes: int
    copied_bytes: int
    seconds: float
    notes: list[str]


def snapshot(store: Store, target: str | os.PathLike[str], progress: Progress | None = None) -> SnapshotResult:
    """Make a copy of the whole store as of now in a new directory: all streams, of all accounts and regions.

    Holds of each shard a prefix with every record that was acknowledged before the call, in whatever durability mode.
    Stops no writer. Sealed segments are hard links where the target is on the same file system, and copies elsewhere.
    The target opens as a store, also for writing; it goes on as the same store id, so give it a second life by
    `restore`. Durable and complete at return; a crash leaves nothing that opens. Raises InvalidArgumentError where the
    target exists, StoreFullError, StorageError, CorruptRangeError where a log's end cannot be told.
    """
    return _assemble(store, os.fsdecode(target), None, None, progress)


def copy_as_new(
    store: Store, target: str, check: Callable[[str], None] | None, progress: Progress | None
) -> SnapshotResult:
    """As `snapshot`, by copies under a new store id, with all epochs to come above all that were; `check` is called
    with the directory before it takes its name.
    """
    return _assemble(store, target, secrets.token_bytes(16), check, progress)


def _assemble(
    store: Store,
    target: str,
    new_id: bytes | None,
    check: Callable[[str], None] | None,
    progress: Progress | None,
) -> SnapshotResult:
    began = time.monotonic()
    _require_outside(store.path, target)
    with Assembly(target) as assembly, storage_errors(assembly.path):
        state = store.catalog.refresh()
        next_id, floor = state.next_id, state.epoch_floor
        infos = sorted(state.streams.values(), key=lambda info: limits.STREAM_NAME.match(info.name) is not None)
        placement = Placement(assembly, new_id)
        logs: dict[int, list[CapturedLog]] = {}
        for info in list(_with_progress(infos, progress)):
            taken = _capture_stream(store, info, placement)
            if taken is None:
                assembly.discard(f"streams/{info.id}")
            else:
                logs[info.id] = taken
        kept = [_adjusted(info, logs[info.id]) for info in infos if info.id in logs]
        every = [log for taken in logs.values() for log in taken]
        epoch = max([floor, store.attachment.epoch_counter(), *(log.epoch for log in every)])
        if new_id is not None:
            epoch = max(epoch, clock.now_us())
            kept = [_raised(info, epoch) for info in kept]
        made = replace(state, streams={info.key: info for info in kept}, deleting={}, next_id=next_id)
        made.epoch_floor = epoch
        store_id = bytes.fromhex(store.store_id) if new_id is None else new_id
        if new_id is not None:
            made = _renamed(made, store.store_id, new_id.hex())
        end = _write_catalog(assembly, store_id, made, epoch)
        native.seed(assembly.path, store_id, epoch, [(0, 0, 0, end, 64), *(_hint(log) for log in every)])
        assembly.commit(layout.Manifest(store_id, clock.now_us(), *_features(store.path)).encode(), check)
        return SnapshotResult(
            assembly.target,
            store_id.hex(),
            len(kept),
            len(every),
            sum(log.records for log in every),
            assembly.linked_bytes,
            assembly.copied_bytes,
            time.monotonic() - began,
            _notes(new_id, assembly, len(infos) - len(kept)),
        )


def _require_outside(source: str, target: str) -> None:
    inner, outer = os.path.realpath(target), os.path.realpath(source)
    if inner == outer or inner.startswith(outer + os.sep):
        raise InvalidArgumentError(f"{target} lies inside of the store {source}: choose a directory beside it")


def _with_progress(infos: list[StreamInfo], progress: Progress | None) -> Iterator[StreamInfo]:
    for done, info in enumerate(infos):
        if progress is not None:
            progress(done, len(infos))
        yield info
    if progress is not None:
        progress(len(infos), len(infos))


def _capture_stream(store: Store, info: StreamInfo, placement: Placement) -> list[CapturedLog] | None:
    """All logs of one stream; None where it was deleted meanwhile."""
    stream = store.stream_of(info)
    directory = store.attachment.stream_directory(info.id)
    try:
        known = info.lineage
        taken = [
            capture_log(stream.log(index), info.id, os.path.join(directory, str(index)), placement)
            for index in store.attachment.written_shards(info.id)
            if index in known  # others were made after the catalog was read, and nobody could name them
        ]
    except (ShardClosedError, StreamNotFoundError, FileNotFoundError, CorruptRangeError, StorageError):
        if store.catalog.is_current(info):
            raise
        return None
    return taken if store.catalog.is_current(info) else None


def _adjusted(info: StreamInfo, logs: list[CapturedLog]) -> StreamInfo:
    """The stream as it was taken: trimmed meanwhile is trimmed there."""
    moved = {log.shard: log.start for log in logs if log.start > info.starts.get(log.shard, 64)}
    return replace(info, starts={**info.starts, **moved})


def _raised(info: StreamInfo, epoch: int) -> StreamInfo:
    """The stream with every epoch to come above `epoch`."""
    shards = {index: replace(node, epoch_floor=max(node.epoch_floor, epoch)) for index, node in info.shards.items()}
    return replace(info, epoch_floor=epoch, shards=shards)


def _renamed(state: State, old_id: str, new_id: str) -> State:
    """Positions kept in the catalog name the store they belong to: they go on in the new one."""

    def translate(value: Any) -> Any:
        if isinstance(value, str):
            return new_id + value[len(old_id) :] if value.startswith(old_id + "/") else value
        if isinstance(value, dict):
            return {key: translate(item) for key, item in value.items()}
        return [translate(item) for item in value] if isinstance(value, (list, tuple)) else value

    streams = {
        key: StreamInfo.from_map({**info.to_map(), **translate(dict(info.extra))})
        for key, info in state.streams.items()
    }
    return replace(state, streams=streams, notes=translate(state.notes), extra=translate(state.extra))


def _hint(log: CapturedLog) -> tuple[int, int, int, int, int]:
    return (log.stream_id, log.shard, log.durability, log.end, min(log.last_base, log.end))


def _features(path: str) -> tuple[int, int, int]:
    """The feature bits of the source: what its files may hold, these hold too."""
    with open(os.path.join(path, "manifest"), "rb") as file:
        found = layout.parse_manifest(file.read(layout.MANIFEST_SIZE))
    assert found is not None, "the store is open"
    return found.compat, found.read_only_compat, found.incompat


def _write_catalog(assembly: Assembly, store_id: bytes, state: State, epoch: int) -> int:
    """The catalog's one segment: a snapshot of the state. Returns the position behind it."""
    assembly.directory("catalog")
    header, frame = catalog_segment(store_id, state, epoch, ordinal=1, base=64)
    size = len(header) + len(frame)
    with assembly.create("catalog/000000000001.seg") as made:
        os.pwrite(made.handle, frame, len(header))
        os.pwrite(made.handle, header, 0)
        made.finish(size)
    return 64 + len(frame)


def catalog_segment(store_id: bytes, state: State, epoch: int, *, ordinal: int, base: int) -> tuple[bytes, bytes]:
    """Header and frame of a catalog segment that says all of `state` in one event."""
    data = events.snapshot(state)
    now_us = clock.now_us()
    epoch = min(epoch + 1, layout.EPOCH_MAX)
    salt = secrets.randbits(64)
    frame = layout.encode_frame(layout.DATA, base, epoch, now_us, 1, data, salt)
    header = layout.Header(
        version=1,
        incompat=0,
        store_id=store_id,
        stream_id=0,
        shard=0,
        ordinal=ordinal,
        base=base,
        previous_end=base,
        base_ordinal=0,
        epoch=epoch,
        salt=salt,
        created_us=now_us,
        map_size=max(layout.map_size_for(len(frame)), 128 << 20),
        copied_end=base,
        floor_arrival_us=0,
    )
    return header.encode(), frame


def _notes(new_id: bytes | None, assembly: Assembly, deleted: int) -> list[str]:
    notes = []
    if new_id is None and not assembly.can_link:
        notes.append("the target is on another file system, or it has no hard links: all segments were copied")
    if deleted:
        notes.append(f"{deleted} stream(s) were deleted meanwhile and left out")
    return notes
