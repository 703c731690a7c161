"""RocksDB under rocksdict, raw bytes in and out. Keys are 8-byte numbers."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rocksdict import Options, Rdict, WriteBatch, WriteOptions

from bench.engine import batches


class RocksdictStore:
    """One database. `process` writes the WAL without a sync, `sync` syncs it before each acknowledgement."""

    name = "RocksDB"
    version = f"rocksdict {version('rocksdict')}"

    def __init__(self, directory: Path, durability: str = "process") -> None:
        self.durability = durability
        self.setup = f"raw_mode=True, default options, WriteOptions.sync={durability == 'sync'}"
        self.database = Rdict(str(directory), options=Options(raw_mode=True))
        options = WriteOptions()
        options.sync = durability == "sync"
        self.database.set_write_options(options)
        self.write_options = options
        self.next_key = 0

    def prepare(self, data: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
        """Return the records under the keys that follow."""
        first, self.next_key = self.next_key, self.next_key + len(data)
        return [(struct.pack(">Q", first + index), item) for index, item in enumerate(data)]

    def prepare_batches(self, data: Sequence[bytes], size: int) -> list[Any]:
        """Return the records cut into batches; the WriteBatch itself is made inside the clock, as a user's would be."""
        return batches(self.prepare(data), size)

    def put_each(self, prepared: Sequence[tuple[bytes, bytes]]) -> None:
        """One put a record."""
        database = self.database
        for key, value in prepared:
            database[key] = value

    def put_batches(self, prepared: Sequence[Sequence[tuple[bytes, bytes]]]) -> None:
        """One WriteBatch a batch."""
        for batch in prepared:
            writes = WriteBatch(raw_mode=True)
            for key, value in batch:
                writes.put(key, value)
            self.database.write(writes, self.write_options)

    def read_all(self) -> int:
        """Iterate over (key, value)."""
        return sum(1 for _pair in self.database.items())

    def close(self) -> None:
        """Close the database."""
        self.database.close()
