"""`verify`: what is in a store's files against their checks, and where they do not hold. Changes nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from streamstore import errors, limits, native, routing
from streamstore.backup import damage, layout, strays
from streamstore.backup.damage import Damage, LogFiles, Part
from streamstore.events import StreamInfo
from streamstore.opening import open as open_store
from streamstore.store import Store
from streamstore.values import LogOptions

_CATALOG = LogOptions("sync", 0, limits.CATALOG_RECORD_SIZE_MAX, 0, 0, b"")
_THREADS = 2

Progress = Callable[[int, int, int], None]
"""Called with (bytes checked, bytes in all, records checked)."""


class Report(NamedTuple):
    """What verify found. `damage` is empty where all is good; `notes` tells of files that belong to nothing.

    A finding is a dict: `kind` ("frames", "missing", "header", "foreign", "index", "seal", "manifest", "catalog",
    "lineage"), `stream`, `shard_id`, `path`, `message`, and where positions are hit `begin`, `end`, `bytes`, `segment`,
    `file_offset`, `first_sequence_number`, `last_sequence_number`, `records_before`, `records_lost`.
    """

    damage: list[Damage]
    notes: list[str]
    shards: int
    frames: int
    records: int
    bytes: int


class _Run:
    """One verification under way: what it found so far."""

    def __init__(self, progress: Progress | None) -> None:
        self.damage: list[Damage] = []
        self.notes: list[str] = []
        self.totals = {"shards": 0, "frames": 0, "records": 0, "bytes": 0}
        self.progress = progress

    def report(self) -> Report:
        return Report(self.damage, self.notes, **self.totals)


def verify(
    path: str | os.PathLike[str], stream: str | None = None, *, progress: Progress | None = None, **view: Any
) -> Report:
    """Check every byte of the store in a directory, or of one stream, against its checks; also while others write.

    Manifest, catalog, lineage, segment headers, every frame, indexes; the tags of encrypted records where `key_ring=`
    gives the keys; and which files belong to nothing. Opens read-only and changes nothing. `account=` and `region=`
    say whose stream it is. Raises StoreNotFoundError, StreamNotFoundError, FormatVersionError, StorageError; damage is
    reported, not raised.
    """
    directory = os.path.abspath(os.fsdecode(path))
    run = _Run(progress)
    manifest = _manifest(directory, run)
    if manifest is None:
        return run.report()
    with open_store(directory, create=False, read_only=True, **view) as store:
        infos = _catalog(store, run)
        if infos is None:
            found = list(_logs_by_directory(store))
        elif stream is None:
            found = [each for info in infos for each in _logs_of(store, info)]
            run.notes += strays.find(directory, store.catalog.refresh())
        else:
            infos = [store.stream(stream).info]
            found = list(_logs_of(store, infos[0]))
        for info in infos or ():
            run.damage += strays.lineage_damage(info)
        _check_logs(found, manifest.store_id, run)
        if infos is not None:
            _check_closed(store, infos, run)
            for info in infos:
                if info.keys:
                    _check_seals(store, info, run)
    return run.report()


def require_intact(path: str) -> None:
    """Raise CorruptRangeError for the first damage that verify finds."""
    found = verify(path).damage
    if found:
        first = found[0]
        where = f"stream {first['stream']!r}, {first['shard_id']}" if first["shard_id"] else first["stream"]
        what = f"bytes {first['begin']} to {first['end']} are damaged" if first["end"] else first["message"]
        raise errors.CorruptRangeError(f"{path}: {where}: {what}; {len(found)} finding(s) in all")


def _manifest(directory: str, run: _Run) -> layout.Manifest | None:
    path = os.path.join(directory, "manifest")
    try:
        with open(path, "rb") as file:
            found = layout.parse_manifest(raw := file.read(layout.MANIFEST_SIZE))
    except OSError:
        found, raw = None, b""
        if not os.path.isdir(os.path.join(directory, "catalog")):
            raise errors.StoreNotFoundError(f"{directory}: there is no store in this directory") from None
    if found is None:
        if raw[:8] == layout.MANIFEST_MAGIC and layout.manifest_is_later(raw):
            raise errors.FormatVersionError(f"{path}: of a later version")
        run.damage.append(
            damage.finding("manifest", "manifest", None, path, message="the manifest is damaged or missing: no open")
        )
    return found


def _catalog(store: Store, run: _Run) -> list[StreamInfo] | None:
    """The streams; None where the catalog does not read."""
    directory = os.path.join(store.path, "catalog")
    files = LogFiles("catalog", store.attachment.log(0, 0, "catalog", _CATALOG), directory)
    before = len(run.damage)
    apart = _Run(None)  # the figures are those of the streams
    _check_logs([(files, 0)], bytes.fromhex(store.store_id), apart)
    run.damage += apart.damage
    try:
        streams = list(store.catalog.refresh().streams.values())
    except errors.StreamStoreError as error:
        if len(run.damage) == before:
            run.damage.append(damage.finding("catalog", "catalog", None, directory, message=str(error)))
        return None
    if not streams and not strays.first_base(directory) and any(strays.log_directories(store.path)):
        text = "the catalog is missing, though there are logs of streams"
        run.damage.append(damage.finding("catalog", "catalog", None, directory, message=text))
    return None if any(found["kind"] != "index" for found in run.damage[before:]) else streams


def _logs_of(store: Store, info: StreamInfo) -> Iterator[tuple[LogFiles, int]]:
    stream = store.stream_of(info)
    directory = store.attachment.stream_directory(info.id)
    for index in store.attachment.written_shards(info.id):
        place = os.path.join(directory, str(index))
        if index in info.shards and info.shards[index].expired:
            continue  # a power cut brought some of its files back, or the directory alone: nobody reads them
        if index in info.lineage:
            yield LogFiles(info.name, stream.log(index), place), info.id
        else:  # a step that is carried out at the next open may bring it back
            yield LogFiles(info.name, _log_by_directory(store, info.id, index, place), place), info.id


def _logs_by_directory(store: Store) -> Iterator[tuple[LogFiles, int]]:
    """What stands under `streams/`, where no catalog says what should."""
    for stream_id, index, directory in strays.log_directories(store.path):
        log = _log_by_directory(store, stream_id, index, directory)
        yield LogFiles(f"stream {stream_id}", log, directory), stream_id


def _log_by_directory(store: Store, stream_id: int, index: int, directory: str) -> native.Log:
    options = LogOptions("sync", 0, limits.RECORD_SIZE_MAX, 0, strays.first_base(directory), b"")
    return store.attachment.log(stream_id, index, routing.shard_id(index), options)


def _check_logs(found: Iterable[tuple[LogFiles, int]], store_id: bytes, run: _Run) -> None:
    work: list[tuple[LogFiles, Part]] = []
    for files, stream_id in found:
        run.totals["shards"] += 1
        headers = list(damage.header_damage(files, store_id, stream_id))
        run.damage += headers
        try:
            state = files.log.held()
            live = [segment for segment in files.log.segments() if segment.live]
        except (errors.CorruptRangeError, errors.ForeignFileError) as error:
            if not headers:
                path = files.directory
                run.damage.append(damage.finding("header", files.name, files.log.shard_id, path, message=str(error)))
            continue
        run.damage += damage.missing(files, state, live)
        run.damage += damage.index_damage(files, live)
        work += [(files, part) for part in damage.parts(state, live)]
    _check_parts(work, run)


def _check_parts(work: list[tuple[LogFiles, Part]], run: _Run) -> None:
    """Two at a time: one waits for the disk while the other checks."""
    size = sum(part.end - part.begin for _, part in work)
    begun = run.totals["bytes"]
    with ThreadPoolExecutor(_THREADS) as threads:
        try:
            for found, counted in threads.map(lambda each: damage.check_part(*each), work):
                run.damage += found
                for key, count in counted.items():
                    run.totals[key] += count
                if run.progress is not None:
                    run.progress(run.totals["bytes"] - begun, size, run.totals["records"])
        except BaseException:
            threads.shutdown(cancel_futures=True)
            raise


def _check_seals(store: Store, info: StreamInfo, run: _Run) -> None:
    """Open what is encrypted: a record that was changed on purpose holds its checks and not its tag."""
    told = [(found["path"], found["begin"], found["end"]) for found in run.damage if found["end"] is not None]
    for files, _ in _logs_of(store, info):
        try:
            state = files.log.state()
            position = state.start
            while position < state.visible:
                result = files.log.read(position, state.visible, limits.READ_CHUNK_RECORDS, limits.READ_CHUNK_SIZE)
                _, following, _, _, status, begin, end = result
                if status & 0xFF == native.CORRUPT and not any(low <= begin < high for _, low, high in told):
                    text = "an encrypted record does not open: its tag is wrong"
                    facts = {"begin": begin, "end": end, "bytes": end - begin, "message": text}
                    run.damage.append(damage.finding("seal", info.name, files.log.shard_id, files.directory, **facts))
                if following <= position:
                    break
                position = following
        except errors.KeyUnavailableError:
            run.notes.append(f"stream {info.name!r}: the key is not here, so encrypted records were not opened")
            return
        except errors.StreamStoreError:
            continue  # told already


def _check_closed(store: Store, infos: Iterable[StreamInfo], run: _Run) -> None:
    """A shard that the catalog knows as closed ends with its close frame, where the catalog says."""
    for info in infos:
        stream = store.stream_of(info)
        for index in info.shards:
            node = info.shards[index]
            if node.closed is None or node.expired or not strays.has_files(store, info.id, index):
                continue
            try:
                state = stream.log(index).state()
            except errors.StreamStoreError:
                continue  # told already
            if not state.closed or state.tail != node.closed.end:
                text = f"the catalog has it closed at {node.closed.end}, its log ends at {state.tail}"
                text += "" if state.closed else " without a close frame"
                shard_id = routing.shard_id(index)
                place = os.path.join(store.attachment.stream_directory(info.id), str(index))
                run.damage.append(damage.finding("lineage", info.name, shard_id, place, message=text))
