"""The types of the C extension that puts, reads and builds Records; `streamstore.native` binds it and re-exports it.

All addresses are those of the core's objects as ints. Before `bind` nothing but sequence numbers and make_* works.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn, TypeAlias, final, overload

_Data: TypeAlias = bytes | bytearray | memoryview
_Entry: TypeAlias = tuple[_Data, str | None] | tuple[_Data, str | None, int | None] | list[Any]

def bind(
    table_address: int,
    raise_for: Callable[[int, str], NoReturn],
    unpack: Callable[[bytes], dict[str, Any]],
    make_time: Callable[[int], datetime],
    partial_put: Callable[[list[PutResult | int]], NoReturn],
    errors: dict[str, type[Exception]],
) -> None: ...
def sequence_number(epoch: int, position: int, shard_index: int) -> str: ...
def parse_sequence_number(text: str, /) -> tuple[int, int, int]: ...
def read(
    log: int, shard_index: int, shard_id: str, position: int, end: int, limit: int, buffer_size: int
) -> tuple[list[Record], int, int, bool, int, int, int]: ...
def make_record(
    shard_id: str,
    shard_index: int,
    epoch: int,
    position: int,
    next_position: int,
    ordinal: int,
    arrival_us: int,
    data: bytes,
    partition_key: str | None,
    explicit_hash_key: int | None = None,
    attribute_block: bytes = b"",
) -> Record: ...
def make_put_result(shard_id: str, shard_index: int, epoch: int, position: int, arrival_us: int) -> PutResult: ...
def make_put_results(items: tuple[PutResult, ...], /) -> PutResults: ...

@final
class Record:
    @property
    def data(self) -> bytes: ...
    @property
    def view(self) -> memoryview: ...
    @property
    def size(self) -> int: ...
    @property
    def partition_key(self) -> str | None: ...
    @property
    def explicit_hash_key(self) -> int | None: ...
    @property
    def sequence_number(self) -> str: ...
    @property
    def shard_id(self) -> str: ...
    @property
    def position(self) -> int: ...
    @property
    def next_position(self) -> int: ...
    @property
    def epoch(self) -> int: ...
    @property
    def ordinal(self) -> int: ...
    @property
    def arrival_us(self) -> int: ...
    @property
    def arrival_time(self) -> datetime: ...
    @property
    def attribute_block(self) -> bytes: ...
    @property
    def attributes(self) -> dict[str, Any]: ...
    @property
    def event_us(self) -> int | None: ...
    @property
    def event_time(self) -> datetime | None: ...
    @property
    def source(self) -> Mapping[str, Any] | None: ...
    def __hash__(self) -> int: ...

@final
class PutResult:
    @property
    def shard_id(self) -> str: ...
    @property
    def sequence_number(self) -> str: ...
    @property
    def position(self) -> int: ...
    @property
    def epoch(self) -> int: ...
    @property
    def arrival_us(self) -> int: ...
    def __hash__(self) -> int: ...

@final
class PutResults(Sequence[PutResult]):
    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, index: int) -> PutResult: ...
    @overload
    def __getitem__(self, index: slice) -> list[PutResult]: ...
    def __iter__(self) -> Iterator[PutResult]: ...

@final
class Target:
    def __new__(
        cls,
        ranges: int,
        logs: Sequence[int],
        shard_indexes: Sequence[int],
        shard_ids: Sequence[str],
        record_size_max: int,
        sync: bool,
        keepalive: object,
    ) -> Target: ...
    def put_record(
        self,
        data: _Data,
        partition_key: str | None,
        explicit_hash_key: int | None = None,
        attribute_block: bytes | None = None,
        sync: bool = False,
    ) -> PutResult: ...
    def put_records(
        self,
        entries: Iterable[_Entry],
        attribute_blocks: Iterable[bytes | None] | None = None,
        sync: bool = False,
    ) -> PutResults: ...
