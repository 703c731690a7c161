"""A program that waits in one of the ways there are, until a signal or a close ends it; then it prints which."""

from __future__ import annotations

import argparse
import asyncio
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import streamstore

LARGE = b"x" * 1_000_000
KINDS = ("one-shard", "many-shards", "merge", "timeout", "aio", "put")


def wait(store: Any, path: str, kind: str) -> None:
    """Wait without end, or much longer than the test does."""
    if kind == "aio":
        asyncio.run(follow(path))
    elif kind == "put":  # behind a process that was stopped while it held the lock
        store.stream("one").put_record(b"x", "k")
    else:
        name = "one" if kind in ("one-shard", "timeout") else "many"
        timeout = 60 if kind == "timeout" else None
        for _ in store.stream(name).read("LATEST", follow=True, merge=kind == "merge", timeout=timeout):
            pass


async def follow(path: str) -> None:
    """A follower of an event loop."""
    async with streamstore.aio.open(path, create=False) as store:
        async for _ in (await store.stream("many")).read("LATEST", follow=True):
            pass


def put_large_on(path: str) -> None:
    """Put such large records that the lock is nearly always held; until killed."""
    stream = streamstore.open(path, create=False).stream("one")
    while True:
        stream.put_record(LARGE, "k")


def close_after(store: Any) -> None:
    """Close the store from another thread."""
    time.sleep(0.3)
    store.close()


def end_of(work: Callable[..., None], *arguments: Any) -> str:
    """Run until it ends; say how."""
    try:
        work(*arguments)
        return "ended"
    except (KeyboardInterrupt, streamstore.ClosedError) as error:
        return type(error).__name__


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory")
    parser.add_argument("kind", choices=(*KINDS, "put-large"))
    parser.add_argument("--close", action="store_true", help="close it from another thread")
    options = parser.parse_args()
    if options.kind == "put-large":
        put_large_on(options.directory)
    store = streamstore.open(options.directory, create=False)
    if options.close:
        threading.Thread(target=close_after, args=(store,)).start()
    print("waiting", flush=True)
    print(end_of(wait, store, options.directory, options.kind), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
