"""LMDB under py-lmdb, as fast as the promise "survives the death of the process" allows. Keys are 8-byte numbers."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import lmdb

from bench.engine import batches

MAP_SIZE = 64 << 30  # address space; the file stays sparse
Pair = tuple[bytes, bytes]


class LmdbStore:
    """One environment without syncs: what was committed survives kill -9, a power cut may lose all of it."""

    name = "LMDB"
    version = f"{lmdb.version()[0]}.{lmdb.version()[1]}.{lmdb.version()[2]} (py-lmdb {lmdb.__version__})"
    durability = "process"
    setup = "sync=False, metasync=False, writemap=True; keys ascend and are put with append=True"

    def __init__(self, directory: Path) -> None:
        self.environment = lmdb.open(str(directory), map_size=MAP_SIZE, sync=False, metasync=False, writemap=True)
        self.next_key = 0

    def prepare(self, data: Sequence[bytes]) -> list[Pair]:
        """Return the records under the keys that follow."""
        first, self.next_key = self.next_key, self.next_key + len(data)
        return [(struct.pack(">Q", first + index), item) for index, item in enumerate(data)]

    def prepare_batches(self, data: Sequence[bytes], size: int) -> list[Sequence[Pair]]:
        """Return the records under the keys that follow, cut into batches."""
        return batches(self.prepare(data), size)

    def put_each(self, prepared: Sequence[Pair]) -> None:
        """One write transaction a record."""
        begin = self.environment.begin
        for key, value in prepared:
            with begin(write=True) as transaction:
                transaction.put(key, value, append=True)

    def put_batches(self, prepared: Sequence[Sequence[Pair]]) -> None:
        """One write transaction a batch, one put a record."""
        for batch in prepared:
            with self.environment.begin(write=True) as transaction:
                put = transaction.put
                for key, value in batch:
                    put(key, value, append=True)

    def put_many_batches(self, prepared: Sequence[Sequence[Pair]]) -> None:
        """One write transaction a batch, which goes in with one call of Cursor.putmulti: py-lmdb's own loop in C."""
        for batch in prepared:
            with self.environment.begin(write=True) as transaction:
                transaction.cursor().putmulti(batch, append=True)

    def read_all(self) -> int:
        """Iterate a cursor over (key, value), both as bytes."""
        count = 0
        with self.environment.begin() as transaction:
            for _key, _value in transaction.cursor():
                count += 1
        return count

    def close(self) -> None:
        """Close the environment without a sync."""
        self.environment.close()
