"""What verify must name: which bytes of a whole store hold what, and how much of that a damaged copy has lost.

From docs/format.md by way of its second implementation (`model`), not from the core.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgpack
from model import format as v1
from model import packed

import streamstore

Ranges = list[tuple[int, int]]


class Piece(NamedTuple):
    """The smallest part of a segment with a check of its own, a frame or a block: where in the file, and in the log."""

    at: int
    end_at: int
    begin: int
    end: int


class Segment(NamedTuple):
    """One live segment of a whole store."""

    file: Path
    stream: str
    raw: bytes
    begin: int
    end: int
    pieces: list[Piece]


class Broken(Exception):
    """verify named something else than what is damaged."""


def _frames(raw: bytes, header: v1.SegmentHeader) -> Iterator[Piece]:
    at, position = v1.SEGMENT_HEADER_SIZE, header.base
    while at < len(raw):
        try:
            size = v1.decode_frame(raw[at:], position, header.salt).size
        except (v1.DamagedError, v1.UnknownError):
            return
        yield Piece(at, at + size, position, position + size)
        at, position = at + size, position + size


def _blocks(raw: bytes, header: v1.SegmentHeader) -> Iterator[Piece]:
    index = struct.unpack_from("<Q", header.spare, 32)[0]
    at, position = v1.SEGMENT_HEADER_SIZE, header.base
    while at < index:
        raw_size, stored = struct.unpack_from("<II", raw, at + 16)
        end_at = at + (packed.BLOCK_HEADER_SIZE + stored + 7) // 8 * 8
        yield Piece(at, at + packed.BLOCK_HEADER_SIZE + stored, position, position + raw_size)
        at, position = end_at, position + raw_size


def _segments(directory: Path) -> Iterator[Segment]:
    """The live segments of a log, each to where the next one begins."""
    found = [(file, file.read_bytes()) for file in sorted(directory.glob("*.seg"))]
    headers = {v1.decode_segment_header(raw): (file, raw) for file, raw in found}
    live = v1.live(headers)
    for header, following in zip(live, [*live[1:], None], strict=True):
        file, raw = headers[header]
        pieces = list((_blocks if header.incompat else _frames)(raw, header))
        if following is not None:
            pieces = [piece for piece in pieces if piece.begin < following.base]
        said = msgpack.unpackb(header.description, strict_map_key=False) if header.description else {}
        yield Segment(file, said.get("name", ""), raw, header.base, pieces[-1].end if pieces else header.base, pieces)


class Oracle:
    """All logs of a whole store; `numbers` are the sequence numbers of its records by directory and position."""

    def __init__(self, root: Path, numbers: dict[str, dict[int, int]]) -> None:
        self.root, self.numbers = root, numbers
        self.manifest = (root / "manifest").read_bytes()
        directories = {file.parent for file in root.rglob("*.seg")}
        self.logs = {str(each.relative_to(root)): list(_segments(each)) for each in sorted(directories)}

    def hold(self, path: Path, findings: list[dict[str, Any]]) -> None:
        """Raise Broken where these are not exactly what the store at `path` has lost of what this one has."""
        manifest = path / "manifest"  # what stands behind its 64 bytes is of a later version, or of nobody
        if not manifest.exists() or manifest.read_bytes()[: len(self.manifest)] != self.manifest:
            if [found["kind"] for found in findings] != ["manifest"]:
                raise Broken(f"the manifest is damaged, and found was {findings[:2]}")
            return
        strangers = self._strangers(path)
        if strangers != {found["path"] for found in findings if found["kind"] == "foreign"}:
            raise Broken(f"{strangers} are foreign, and found was {findings[:2]}")
        catalog = bool(self._lost(path, self.logs["catalog"])) or any("catalog" in each for each in strangers)
        for log, segments in self.logs.items():
            about = [found for found in findings if self._log_of(path, found) == log]
            if any(str(Path(each).parent) == str(path / log) for each in strangers):
                continue  # while one stands there nothing else of the log can be told
            self._hold_log(log, self._lost(path, segments), segments, about, path)
        known = {*self.logs, "manifest"}
        others = [found for found in findings if self._log_of(path, found) not in known]
        if others and not catalog:
            raise Broken(f"of nothing that is there: {others[0]}")

    def hold_error(self, error: streamstore.StreamStoreError) -> None:
        """Raise Broken where what a read raised names numbers of records that stand outside of the damage."""
        if not isinstance(error, streamstore.CorruptRangeError) or not error.end or len(error.args) < 2:
            return
        stream_id = {segments[0].stream: log for log, segments in self.logs.items()}[error.args[1]].split("/")[1]
        log = f"streams/{stream_id}/{int(str(error.shard_id).rpartition('-')[2])}"
        told = {"first_sequence_number": error.first, "last_sequence_number": error.last, "records_lost": None}
        self._hold_numbers(log, {**told, "begin": error.begin, "end": error.end})

    def _hold_log(
        self, log: str, lost: Ranges, segments: list[Segment], about: list[dict[str, Any]], path: Path
    ) -> None:
        end = segments[-1].end
        named = [found for found in about if found["begin"] is not None and found["begin"] < end]
        if union((found["begin"], min(found["end"], end)) for found in named) != lost:
            raise Broken(f"{log}: lost are {lost}, and found was {about[:3]}")
        for found in named:
            self._hold_numbers(log, found)
        for found in about:
            if found["kind"] == "header" and not self._header_changed(path, segments, found["path"]):
                raise Broken(f"{log}: the header is as it was: {found}")
            if found["kind"] == "index" and not self._behind_changed(path, segments, found["path"]):
                raise Broken(f"{log}: the index is as it was: {found}")
            if found["kind"] in ("lineage", "catalog", "seal") and not lost:
                raise Broken(f"{log}: nothing is lost: {found}")

    def _hold_numbers(self, log: str, found: dict[str, Any]) -> None:
        numbers = self.numbers.get(log)
        if numbers is None:
            return
        inside = {number for position, number in numbers.items() if found["begin"] <= position < found["end"]}
        first, last = int(found["first_sequence_number"]), int(found["last_sequence_number"])
        if {number for number in numbers.values() if first <= number <= last} != inside:
            raise Broken(f"{log}: it is {sorted(inside)} that are lost, and found was {found}")
        if found["records_lost"] not in (None, len(inside)):
            raise Broken(f"{log}: {len(inside)} records are lost, and found was {found}")

    @staticmethod
    def _log_of(path: Path, found: dict[str, Any]) -> str:
        place = Path(found["path"] or path)
        place = place.parent if place.suffix == ".seg" else place
        return str(place.relative_to(path))

    def _strangers(self, path: Path) -> set[str]:
        """Segments whose header holds, and is one of another place."""
        headers = {
            segment.raw[: v1.SEGMENT_HEADER_SIZE]: segment.file.relative_to(self.root)
            for segments in self.logs.values()
            for segment in segments
        }
        found = set()
        for file in path.rglob("*.seg"):
            home = headers.get(file.read_bytes()[: v1.SEGMENT_HEADER_SIZE])
            if home is not None and home != file.relative_to(path):
                found.add(str(file))
        return found

    def _lost(self, path: Path, segments: list[Segment]) -> Ranges:
        """What of a log is not there any more, as ranges of positions."""
        ranges: Ranges = []
        for segment in segments:
            raw = self._now(path, segment)
            if raw[: v1.SEGMENT_HEADER_SIZE] != segment.raw[: v1.SEGMENT_HEADER_SIZE]:
                ranges.append((segment.begin, segment.end))
                continue
            ranges += [
                (piece.begin, piece.end)
                for piece in segment.pieces
                if raw[piece.at : piece.end_at] != segment.raw[piece.at : piece.end_at]
            ]
        return union(each for each in ranges if each[0] < each[1])

    def _now(self, path: Path, segment: Segment) -> bytes:
        file = path / segment.file.relative_to(self.root)
        return file.read_bytes() if file.exists() else b""

    def _header_changed(self, path: Path, segments: list[Segment], name: str) -> bool:
        return any(
            self._now(path, segment)[: v1.SEGMENT_HEADER_SIZE] != segment.raw[: v1.SEGMENT_HEADER_SIZE]
            for segment in segments
            if path / segment.file.relative_to(self.root) == Path(name)
        )

    def _behind_changed(self, path: Path, segments: list[Segment], name: str) -> bool:
        """Whether anything behind the last frame or block of a segment is another."""
        return any(
            self._now(path, segment)[segment.pieces[-1].end_at :] != segment.raw[segment.pieces[-1].end_at :]
            for segment in segments
            if segment.pieces and path / segment.file.relative_to(self.root) == Path(name)
        )


def union(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """The same positions in as few ranges as can be."""
    joined: Ranges = []
    for begin, end in sorted(ranges):
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((begin, end))
    return joined


def numbers_of(path: Path, names: Iterable[str], **view: Any) -> dict[str, dict[int, int]]:
    """The sequence numbers of the records of some streams, by the directory of their log and position."""
    found: dict[str, dict[int, int]] = {}
    with streamstore.open(path, create=False, read_only=True, **view) as store:
        for name in names:
            stream = store.stream(name)
            places = {shard.id: f"streams/{stream.info.id}/{shard.index}" for shard in stream.shards()}
            for record in stream.read():
                numbers = found.setdefault(places[record.shard_id], {})
                numbers[record.position] = int(record.sequence_number)
    return found
