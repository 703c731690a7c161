"""The steps of a repair, by kind of damage: which file each replaces, what it says about it, and how it is done.

A step builds its file aside (`NAME.repair`), durable, and takes the name by a rename; the original was kept before.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from streamstore import description, reshard
from streamstore.backup import damage, layout, packed, rebuilding, salvage, strays
from streamstore.backup.assembly import sync_directory
from streamstore.backup.damage import Damage
from streamstore.backup.salvage import Lost
from streamstore.backup.snapshot import catalog_segment
from streamstore.lineage import Child
from streamstore.lineage import Step as LineageStep
from streamstore.native import FIRST_POSITION
from streamstore.opening import open as open_store

SUFFIX = ".repair"
PACKED = 1  # the feature bit of a compacted segment
_LOSS = ("stream", "shard_id", "begin", "end", "first_sequence_number", "last_sequence_number", "records_lost")


@dataclass
class Step:
    """One change: `replaces` are the files it takes the place of; `in_store` steps are events in the catalog."""

    facts: dict[str, Any]
    replaces: list[str]
    run: Callable[[], None]
    in_store: tuple[int, int, int] | None = None


def _facts(what: str, path: str, why: str, **more: Any) -> dict[str, Any]:
    return {"what": what, "path": path, "why": why, **more}


def _losses(found: list[Damage]) -> dict[str, Any]:
    return {"lost": [{name: each[name] for name in _LOSS} for each in found]}


def _take_name(path: str) -> None:
    os.rename(path + SUFFIX, path)
    sync_directory(os.path.dirname(path))


def _write(path: str, *parts: bytes) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path + SUFFIX)  # of a repair that was killed
    handle = os.open(path + SUFFIX, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.writelines(parts)
        file.flush()
        os.fsync(file.fileno())
    _take_name(path)


def steps(root: str, kind: str, found: list[Damage], notes: list[str]) -> Iterator[Step]:
    """What can be done against findings of one kind."""
    if not found:
        return
    if kind == "manifest":
        yield from _manifest(root, notes)
    elif kind == "foreign":
        yield from (_move_away(each, "the file belongs elsewhere") for each in found)
    elif kind == "header":
        for each in found:
            yield from _header(root, each)
    elif kind == "lineage":
        for each in found:
            yield from _close(root, each)
    elif kind == "index":
        for each in found:
            yield from _mend(each["path"], [], notes)
    else:
        yield from _ranges(root, found, notes)


# --- manifest ---------------------------------------------------------------------------------------------------------


def _manifest(root: str, notes: list[str]) -> Iterator[Step]:
    path = os.path.join(root, "manifest")
    raw = b""
    with suppress(FileNotFoundError), open(path, "rb") as file:
        raw = file.read(layout.MANIFEST_SIZE)
    fixed = salvage.corrected(raw, 56) if len(raw) == layout.MANIFEST_SIZE else None
    if fixed is not None and layout.parse_manifest(fixed) is not None:
        yield Step(_facts("one byte put right", path, "the manifest's check"), [path], lambda: _write(path, fixed))
        return
    headers = list(_all_headers(root))
    if not headers:
        notes.append("the manifest cannot be made again: no segment holds that says which store this is")
        return
    store_id = Counter(header.store_id for header in headers).most_common(1)[0][0]
    created = min(header.created_us for header in headers if header.store_id == store_id)
    made = layout.Manifest(store_id, created).encode()
    why = f"made again from {len(headers)} segment headers"
    yield Step(_facts("manifest made again", path, why), [path], lambda: _write(path, made))


def _all_headers(root: str) -> Iterator[layout.Header]:
    places = [os.path.join(root, "catalog"), *(directory for _, _, directory in strays.log_directories(root))]
    for place in places:
        yield from (header for _, header in headers_in(place))


def headers_in(directory: str) -> list[tuple[str, layout.Header]]:
    """The segments of one log whose headers hold, by ordinal."""
    found = []
    for name in sorted(os.listdir(directory)) if os.path.isdir(directory) else ():
        if damage.segment_ordinal(name):
            path = os.path.join(directory, name)
            raw = read_header(path)
            if layout.header_state(raw) == layout.VALID:
                found.append((path, layout.parse_header(raw)))
    return found


def read_header(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(layout.HEADER_SIZE)


# --- catalog ----------------------------------------------------------------------------------------------------------


def catalog(root: str, notes: list[str]) -> Step:
    """A new segment that says all that is known, behind and in place of the old ones."""
    directory = os.path.join(root, "catalog")
    old = (
        [os.path.join(directory, name) for name in sorted(os.listdir(directory)) if damage.segment_ordinal(name)]
        if os.path.isdir(directory)
        else []
    )
    made = rebuilding.rebuild(root)
    notes += [note for note in made.notes if note not in notes]
    path = os.path.join(directory, f"{made.ordinal:012d}.seg")

    def run() -> None:
        with open(os.path.join(root, "manifest"), "rb") as file:
            manifest = layout.parse_manifest(file.read(layout.MANIFEST_SIZE))
        assert manifest is not None, "it is put right before the catalog is"
        os.makedirs(directory, mode=0o700, exist_ok=True)
        header, frame = catalog_segment(manifest.store_id, made.state, made.epoch, ordinal=made.ordinal, base=made.base)
        size = len(header) + len(frame)
        _write(path, header, frame, bytes(layout.allocation(size) - size))
        for file_ in old:  # kept already; while they stand, their damage is read before what replaces them
            os.unlink(file_)
        sync_directory(directory)

    text = f"made again: {len(made.state.streams)} stream(s), from its events that hold and from the segments"
    return Step(_facts("catalog made again", path, text), old, run)


# --- one segment ------------------------------------------------------------------------------------------------------


def _move_away(found: Damage, why: str) -> Step:
    path = found["path"]

    def run() -> None:
        os.unlink(path)  # kept already
        sync_directory(os.path.dirname(path))

    return Step(_facts("taken out", path, why), [path], run)


def _header(root: str, found: Damage) -> Iterator[Step]:
    path = found["path"]
    if not path.endswith(".seg"):
        return
    raw = read_header(path)
    fixed = salvage.corrected(raw, layout.HEADER_SIZE - 8)
    if fixed is not None and layout.header_state(fixed) == layout.VALID:
        yield _with_header(path, fixed, "one byte put right")
        return
    others = [(other, header) for other, header in headers_in(os.path.dirname(path)) if other != path]
    like = _neighbour(root, path, others)
    made = salvage.rebuilt_header(path, like, raw) if like is not None else None
    if made is not None and _fits(layout.parse_header(made), [header for _, header in others]):
        yield _with_header(path, made, "header made again from the frames")
    else:
        yield _move_away(found, "its header cannot be made again, and without one no frame can be checked")


def _neighbour(root: str, path: str, others: list[tuple[str, layout.Header]]) -> layout.Header | None:
    """What the place says about a segment without a header."""
    with open(os.path.join(root, "manifest"), "rb") as file:
        manifest = layout.parse_manifest(file.read(layout.MANIFEST_SIZE))
    parts = os.path.relpath(path, root).split(os.sep)
    if manifest is None or len(parts) != 4:
        return None
    ordinal = damage.segment_ordinal(parts[-1])
    later = [header for _, header in others if header.ordinal > ordinal]
    earlier = [(other, header) for other, header in others if header.ordinal < ordinal]
    near = later[:1] or [header for _, header in earlier[-1:]]
    raw = layout.parse_header(read_header(path))
    like = layout.empty_header(manifest.store_id, int(parts[1]), int(parts[2]), ordinal)
    words = near[0].description if near else raw.description
    return replace(like, base_ordinal=_records_before(raw, earlier, later), description=words)


def _records_before(raw: layout.Header, earlier: list[tuple[str, layout.Header]], later: list[layout.Header]) -> int:
    """The damaged field where it can be true, else what the segment before says of itself."""
    counted = 0
    if earlier:
        path, header = earlier[-1]
        counted = header.base_ordinal + salvage.walk(path, header, [])[1]
    high = later[0].base_ordinal if later else 1 << 62
    return raw.base_ordinal if counted <= raw.base_ordinal <= high else min(counted, high)


def _fits(made: layout.Header, others: list[layout.Header]) -> bool:
    """It must cut no other segment, and none may cut it."""
    return all(
        (other.base < made.base) == (other.ordinal < made.ordinal) and other.base != made.base for other in others
    )


def _with_header(path: str, header: bytes, what: str) -> Step:
    def run() -> None:
        with open(path, "rb") as file:
            file.seek(layout.HEADER_SIZE)
            _write(path, header, file.read())

    return Step(_facts(what, path, "the header is damaged and hides the segment"), [path], run)


# --- lost ranges ------------------------------------------------------------------------------------------------------


def _ranges(root: str, found: list[Damage], notes: list[str]) -> Iterator[Step]:
    by_file: dict[str, list[Damage]] = {}
    for each in found:
        if each["segment"]:
            by_file.setdefault(each["path"], []).append(each)
        else:
            yield _trim(root, each)
    for path, ranges in by_file.items():
        yield from _mend(path, ranges, notes)


def _mend(path: str, ranges: list[Damage], notes: list[str]) -> Iterator[Step]:
    """One segment with pads in place of what is lost, and its index made again."""
    header = layout.parse_header(read_header(path))
    if header.incompat != PACKED:
        yield from _rewrite(path, ranges)
        return
    why = "blocks that do not hold" if ranges else "an index that does not hold"
    with open(path, "rb") as file:
        raw = file.read()
    end = packed.fields(raw[: layout.HEADER_SIZE]).end
    behind = [each for each in ranges if each["end"] > end]
    if behind:
        yield from _gap_segment(path, header, behind[-1], max(behind[0]["begin"], end), notes)
    inside = [each for each in ranges if each["begin"] < end]
    if ranges and not inside:
        return
    try:
        made = packed.mend(raw, [(each["begin"], min(each["end"], end)) for each in inside], why)
    except (packed.CannotMendError, ValueError, RuntimeError) as error:
        notes.append(f"{path}: left as it is: {error}")
        return
    what = "damaged blocks made pads" if ranges else "index made again"
    yield Step(_facts(what, path, why, **(_losses(inside) if inside else {})), [path], lambda: _write(path, made))


def _gap_segment(before: str, header: layout.Header, found: Damage, begin: int, notes: list[str]) -> Iterator[Step]:
    """A segment of pads where one is gone behind a compacted one, which cannot be made longer."""
    directory = os.path.dirname(before)
    later = [other for _, other in headers_in(directory) if other.ordinal > header.ordinal and other.base > begin]
    following = min(later, key=lambda other: other.ordinal, default=None)
    ordinal = header.ordinal + 1 if following is None else following.ordinal - 1
    if ordinal == header.ordinal:
        notes.append(f"{directory}: no number is free for a segment between {header.ordinal} and the next")
        return
    said = packed.fields(read_header(before))
    records = header.base_ordinal + said.records if following is None else following.base_ordinal
    like = replace(header, incompat=0, ordinal=ordinal, base_ordinal=records, floor_arrival_us=said.last_arrival_us)
    path = os.path.join(directory, f"{ordinal:012d}.seg")
    why = "a segment that is gone"

    def run() -> None:
        with suppress(FileNotFoundError):
            os.unlink(path + SUFFIX)
        gap = Lost(begin, found["end"], 0)
        salvage.pad_segment(path + SUFFIX, like, gap, following is not None, why)
        _take_name(path)

    yield Step(_facts("pads in place of a segment", path, why, **_losses([found])), [path], run)


def _close(root: str, found: Damage) -> Iterator[Step]:
    """A close frame where a closed shard has lost its own: what the catalog knows of it is all that it said."""
    if found["path"] is None:
        return
    stream_id, index = (int(part) for part in os.path.relpath(found["path"], root).split(os.sep)[1:3])
    with open_store(root, create=False, read_only=True) as store:
        info = next((each for each in store.catalog.refresh().streams.values() if each.id == stream_id), None)
        if info is None:
            return
        lineage = info.lineage
        closed = lineage[index].closed
        headers = [header for _, header in headers_in(found["path"])]
        if closed is None:
            return
        store_id = bytes.fromhex(store.store_id)
        children = [lineage[child] for child in lineage[index].children]
        step = LineageStep(children[0].parents, tuple(Child(child.index, *child.hash_range) for child in children))
        said_so = description.describe(info, index)
    last = max((header.ordinal for header in headers), default=0)
    like = layout.empty_header(store_id, stream_id, index, last + 1)
    like = replace(like, base_ordinal=closed.records, description=said_so)
    data = reshard.encode(step)
    if closed.end < FIRST_POSITION + salvage.close_size(data):
        return  # a tombstone of which nothing is known
    raw = salvage.close_segment(like, closed.end, closed.epoch, closed.arrival_us, data)
    if headers and layout.parse_header(raw).base < headers[-1].base:
        return
    path = os.path.join(found["path"], f"{last + 1:012d}.seg")
    whole = raw.ljust(layout.allocation(len(raw)), b"\0")
    yield Step(_facts("close frame made again", path, found["message"]), [path], lambda: _write(path, whole))


def _trim(root: str, found: Damage) -> Step:
    """What is missing before the first segment becomes trimmed: the catalog says so from now on."""
    stream_id, index = (int(part) for part in os.path.relpath(found["path"], root).split(os.sep)[1:3])
    facts = _facts("horizon moved", found["path"], "no segment holds what lies before", **_losses([found]))
    return Step(facts, [], lambda: None, in_store=(stream_id, index, found["end"]))


def in_store(root: str, steps_: list[Step]) -> None:
    """Publish the steps that are events."""
    places = [step.in_store for step in steps_ if step.in_store is not None]
    if not places:
        return
    with open_store(root, create=False, maintenance=False) as store:
        infos = {info.id: info for info in store.catalog.refresh().streams.values()}
        for stream_id, index, position in places:
            if stream_id in infos:
                store.catalog.publish("trim", infos[stream_id], starts={index: position})


def _rewrite(path: str, ranges: list[Damage]) -> Iterator[Step]:
    """The segment with pads in place of what is lost, and its index made again."""
    headers = [header for _, header in headers_in(os.path.dirname(path))]
    raw = read_header(path)
    header = layout.parse_header(raw)
    later = [other for other in headers if other.ordinal > header.ordinal and other.base > header.base]
    sealed = bool(later)
    why = "frames that do not hold" if ranges else "an index that does not hold"
    end = min((other.base for other in later), default=0) or max([each["end"] for each in ranges], default=0)
    if not sealed:
        end = max(end, salvage.walk(path, header, [(each["begin"], each["end"]) for each in ranges])[0])
    lost = [Lost(each["begin"], each["end"], _next_ordinal(each, later)) for each in ranges]
    needed = layout.map_size_for(end - header.base)
    if needed > layout.MAP_SIZE_MAX:
        return
    if needed > header.map_size:
        raw = replace(header, map_size=needed).encode()

    def run() -> None:
        with suppress(FileNotFoundError):
            os.unlink(path + SUFFIX)
        salvage.rewrite(path, path + SUFFIX, raw, lost, end, sealed, why)
        _take_name(path)

    what = "lost ranges made pads" if ranges else "index made again"
    yield Step(_facts(what, path, why, **(_losses(ranges) if ranges else {})), [path], run)


def _next_ordinal(found: Damage, later: list[layout.Header]) -> int:
    if found["records_lost"] is None:
        return later[0].base_ordinal + 1 if later else 0
    return int(found["records_before"] + found["records_lost"] + 1)
