"""What is under load: something that can be put to and read from, by a connection for each thread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from streamstore.errors import InvalidArgumentError


class Read(NamedTuple):
    """What one read gave: the data of its records, and how far behind the tip it ends (-1: not said)."""

    data: Sequence[bytes]
    behind_ms: int


class Reading(Protocol):
    """A place in all shards of a stream. One thread."""

    def read(self, limit: int) -> Read:
        """Up to `limit` records of one shard, in turn; at the end of all it begins anew where it is a loop."""

    def follow(self, limit: int) -> Read:
        """Records as they come; waits up to some tenths of a second for them."""

    def close(self) -> None: ...


class Connection(Protocol):
    """One thread's way to the subject."""

    def put(self, entries: Sequence[tuple[bytes, str]]) -> int:
        """Put (data, partition key) pairs in one call; returns how many were refused."""

    def reading(self, share: int, shares: int, *, tip: bool, fan_out: bool) -> Reading:
        """A place at the tip or at the beginning, in every `shares`-th shard from the `share`-th on."""

    def close(self) -> None: ...


def share_of(shard_ids: Sequence[str], share: int, shares: int, *, tip: bool) -> Sequence[str]:
    """The shards of one of several readers. At the tip no two may have the same one: what comes would count twice.

    Raises InvalidArgumentError for more readers of the tip than shards.
    """
    mine = shard_ids[share::shares]
    if mine:
        return mine
    if tip:
        raise InvalidArgumentError(
            f"{shares} readers share {len(shard_ids)} shards; give at most one a shard, or use the workload fan-out"
        )
    return [shard_ids[share % len(shard_ids)]]


class Subject(Protocol):
    """What is under load, as an address says; picklable, and opened in each process for itself."""

    address: str

    def prepare(self, shards: int) -> None:
        """Make the stream where it is missing."""

    def durability(self) -> str:
        """What an acknowledgement survives: sync, interval, process, or unknown."""

    def connect(self) -> Connection: ...
    def close(self) -> None: ...


def subject_of(address: str, *, durability: str | None = None, region: str | None = None) -> Subject:
    """The subject an address names: store:DIR#STREAM, queue:DIR#NAME, http://HOST:PORT/STREAM or kinesis:STREAM.

    `durability` is for a stream or queue that has to be made. Raises InvalidArgumentError.
    """
    kind, _, rest = address.partition(":")
    if kind in ("http", "https", "kinesis"):
        from streamstore.bench.load.endpoint import Endpoint

        return Endpoint(address, region)
    directory, _, name = rest.rpartition("#")
    if kind in ("store", "queue") and directory and name:
        from streamstore.bench.load.embedded import EmbeddedQueue, EmbeddedStream

        return (EmbeddedStream if kind == "store" else EmbeddedQueue)(address, directory, name, durability)
    raise InvalidArgumentError(
        f"{address!r} is nothing that load can be put on: store:DIR#STREAM, queue:DIR#NAME, http://HOST:PORT/STREAM "
        "or kinesis:STREAM"
    )
