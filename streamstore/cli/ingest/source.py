"""Who a source is: its id, whether two ids mean the same file, and that only one run takes it in at a time.

A file is known by its first bytes, not by its name or inode: it may be renamed by rotation, copied, moved to another
machine, or grow, and stays itself; a new file under an old name (or in an old inode) is a new source. An id made from a
file reads `head:SIZE:DIGEST`, where SIZE is how many first bytes there were to digest, at most HEAD_SIZE.
"""

from __future__ import annotations

import hashlib
import uuid
from pathlib import Path

import xxhash

from streamstore.cli.exits import VerbError
from streamstore.cli.ingest.resume import Place
from streamstore.native import Record
from streamstore.source_lock import SourceLock

HEAD_SIZE = 4096
ID_SIZE_MAX = 512


class Source:
    """The identity of what is taken in."""

    def __init__(self, source_id: str, head: bytes | None, *, resumable: bool) -> None:
        self.id = source_id
        self.resumable = resumable
        self._head = head
        self._known: dict[str, bool] = {source_id: True}

    def locate(self, record: Record) -> Place | None:
        """The record's place in this source; None where it came from elsewhere."""
        source = record.source if record.attribute_block else None
        if not source or not self.is_same(source.get("id")):
            return None
        position, number = source.get("position"), source.get("line")
        return Place(position, number, source["id"]) if isinstance(position, int) and isinstance(number, int) else None

    def is_same(self, other_id: object) -> bool:
        """Whether a record with the source id `other_id` came from this source (perhaps when the file was shorter)."""
        if not isinstance(other_id, str):
            return False
        known = self._known.get(other_id)
        if known is None:
            known = self._known[other_id] = self._head is not None and _is_head(other_id, self._head)
        return known


def file_source(path: Path) -> Source:
    """The source that a file is, by its first bytes."""
    with open(path, "rb") as file:
        head = file.read(HEAD_SIZE)
    return Source(_head_id(head), head, resumable=True)


def named_source(source_id: str) -> Source:
    """A source named by the user; the name is trusted."""
    if not 0 < len(source_id.encode()) <= ID_SIZE_MAX:
        raise VerbError(f"--source-id takes 1 to {ID_SIZE_MAX} bytes")
    return Source(source_id, None, resumable=True)


def pipe_source() -> Source:
    """stdin without a name: it carries positions, but nobody can find it again."""
    return Source(f"pipe:{uuid.uuid4()}", None, resumable=False)


def _head_id(head: bytes) -> str:
    return f"head:{len(head)}:{xxhash.xxh3_128_hexdigest(head)}"


def _is_head(source_id: str, head: bytes) -> bool:
    kind, _, rest = source_id.partition(":")
    size_text, _, _ = rest.partition(":")
    if kind != "head" or not size_text.isdigit() or not 0 < int(size_text) <= len(head):
        return False
    return _head_id(head[: int(size_text)]) == source_id


def position_hash(position: int) -> int:
    """The explicit hash key of a line without a partition key: spread evenly, and the same in every run."""
    return int.from_bytes(hashlib.md5(b"%d" % position, usedforsecurity=False).digest(), "big")


def lock_source(directory: Path, stream_name: str, source_id: str) -> SourceLock:
    """Held while a source is taken into a stream, by one run at a time."""
    try:
        return SourceLock(directory / "manifest", stream_name, source_id)
    except BlockingIOError:
        raise VerbError(
            "another ingest of the same source into this stream is running; wait for it, or stop it"
        ) from None
