"""The async Store, and the way to open one."""

from __future__ import annotations

import os
from collections.abc import Generator
from types import TracebackType
from typing import Any

from streamstore import opening, store
from streamstore.aio.offload import call
from streamstore.aio.queue import Queue
from streamstore.aio.stream import Stream
from streamstore.backup import SnapshotResult


class Store:
    """The async twin of a store, and an async context manager; `.inner` is the sync one."""

    def __init__(self, inner: store.Store) -> None:
        self.inner = inner
        self.path = inner.path

    def __repr__(self) -> str:
        return f"<aio {self.inner!r}>"

    async def __aenter__(self) -> Store:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def create_stream(self, name: str, shard_count: int = 1, retention_hours: int = 24, **options: Any) -> Stream:
        """Make a stream and return it, as Store.create_stream does."""
        return Stream(await call(self.inner.create_stream, name, shard_count, retention_hours, **options))

    async def stream(self, name: str) -> Stream:
        """The stream of that name."""
        return Stream(await call(self.inner.stream, name))

    async def list_streams(self) -> list[str]:
        """The names of the streams, sorted."""
        return await call(self.inner.list_streams)

    async def delete_stream(self, name: str) -> None:
        """Delete a stream and its records, as Store.delete_stream does."""
        await call(self.inner.delete_stream, name)

    async def queue(self, name: str, **options: Any) -> Queue:
        """The queue of that name, made where it is not there, as Store.queue."""
        return Queue(await call(self.inner.queue, name, **options))

    async def create_queue(self, name: str, stream: str, **options: Any) -> Queue:
        """Make a queue over a stream that is there, as Store.create_queue."""
        return Queue(await call(self.inner.create_queue, name, stream, **options))

    async def open_queue(self, name: str, codec: Any = None) -> Queue:
        """The queue of that name, which must be there. Raises StreamNotFoundError."""
        return Queue(await call(self.inner.open_queue, name, codec))

    async def list_queues(self) -> list[str]:
        """The names of the queues, sorted."""
        return await call(self.inner.list_queues)

    async def delete_queue(self, name: str) -> None:
        """Delete a queue, as Store.delete_queue does."""
        await call(self.inner.delete_queue, name)

    async def flush(self) -> None:
        """Return when everything published before the call is durable."""
        await call(self.inner.flush)

    async def snapshot(self, target: str | os.PathLike[str]) -> SnapshotResult:
        """Copy the whole store into a new directory, as Store.snapshot does."""
        return await call(self.inner.snapshot, target)

    async def stats(self, stream: str | None = None) -> dict[str, Any]:
        """Facts as plain values, as Store.stats gives them."""
        return await call(self.inner.stats, stream)

    async def close(self) -> None:
        """Let go: every wait ends at once, every later call raises ClosedError."""
        await call(self.inner.close)


class _Opening:
    """`await open(...)` and `async with open(...)` both give the Store."""

    def __init__(self, path: str | os.PathLike[str], options: dict[str, Any]) -> None:
        self._path = path
        self._options = options
        self._store: Store | None = None

    async def _open(self) -> Store:
        return Store(await call(opening.open, self._path, **self._options))

    def __await__(self) -> Generator[Any, None, Store]:
        return self._open().__await__()

    async def __aenter__(self) -> Store:
        self._store = await self._open()
        return self._store

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._store is not None:
            await self._store.close()


def open(path: str | os.PathLike[str], **options: Any) -> _Opening:
    """Open a store for asyncio: `async with open(path) as store` or `store = await open(path)`; options as for the
    sync open.
    """
    return _Opening(path, options)
