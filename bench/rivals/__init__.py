"""The rivals, one file each, imported only when a row needs them: timing ours needs none of them installed."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

OPENERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "lmdb": ("lmdb_store", "LmdbStore", {}),
    "persist_files": ("persist_queues", "PersistFileQueue", {}),
    "persist_sqlite": ("persist_queues", "PersistSqliteQueue", {}),
    "litequeue": ("litequeue_queue", "LiteQueueQueue", {}),
    "litequeue_work": ("work_queues", "LiteWork", {"durable": False}),
    "litequeue_work_sync": ("work_queues", "LiteWork", {"durable": True}),
    "persist_work": ("work_queues", "PersistWork", {"durable": True}),
    "persist_work_sync": ("work_queues", "PersistWork", {"durable": True}),
    "rocksdb": ("rocksdict_store", "RocksdictStore", {"durability": "process"}),
    "rocksdb_sync": ("rocksdict_store", "RocksdictStore", {"durability": "sync"}),
    "sqlite_sync": ("sqlite_store", "SqliteStore", {"durability": "sync"}),
}


def open_rival(name: str, directory: Path) -> Any:
    """Open one rival by its short name; ImportError where its library is not installed."""
    module, kind, options = OPENERS[name]
    return getattr(import_module(f"bench.rivals.{module}"), kind)(directory, **options)
