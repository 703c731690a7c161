"""SQLite in WAL mode through the standard library: one table, an integer key, the data as a blob."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from bench.engine import batches

INSERT = "INSERT INTO records (data) VALUES (?)"


class SqliteStore:
    """One database. `sync` is synchronous=FULL (each commit syncs the WAL), `process` is synchronous=OFF."""

    name = "SQLite"
    version = sqlite3.sqlite_version

    def __init__(self, directory: Path, durability: str = "sync") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        synchronous = {"sync": "FULL", "process": "OFF"}[durability]
        self.durability = durability
        self.setup = f"journal_mode=WAL, synchronous={synchronous}; executemany inside BEGIN and COMMIT"
        self.connection = sqlite3.connect(directory / "records.db", isolation_level=None)
        self.connection.execute("PRAGMA journal_mode=WAL")
        self.connection.execute(f"PRAGMA synchronous={synchronous}")
        self.connection.execute("CREATE TABLE records (id INTEGER PRIMARY KEY, data BLOB NOT NULL)")

    def prepare(self, data: Sequence[bytes]) -> list[tuple[bytes]]:
        """Return one row a record."""
        return [(item,) for item in data]

    def prepare_batches(self, data: Sequence[bytes], size: int) -> list[Sequence[tuple[bytes]]]:
        """Return the rows cut into batches."""
        return batches(self.prepare(data), size)

    def put_each(self, prepared: Sequence[tuple[bytes]]) -> None:
        """One insert a record, each its own transaction."""
        execute = self.connection.execute
        for row in prepared:
            execute(INSERT, row)

    def put_batches(self, prepared: Sequence[Sequence[tuple[bytes]]]) -> None:
        """One transaction a batch."""
        for batch in prepared:
            self.connection.execute("BEGIN IMMEDIATE")
            self.connection.executemany(INSERT, batch)
            self.connection.execute("COMMIT")

    def read_all(self) -> int:
        """Select every row in order."""
        return sum(1 for _row in self.connection.execute("SELECT id, data FROM records ORDER BY id"))

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()
