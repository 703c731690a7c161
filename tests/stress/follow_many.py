"""A program with many followers in one event loop; prints how many threads it had before, with them, and after."""

from __future__ import annotations

import argparse
import asyncio
import os
from typing import Any

import proof

import streamstore


def threads() -> int:
    """How many threads this process has."""
    return len(os.listdir("/proc/self/task"))


async def follow(stream: Any, ready: asyncio.Semaphore, count: int) -> list[tuple[int, int]]:
    """The next `count` records of a stream, as one of its many followers."""
    found = []
    async with stream.read("LATEST", follow=True) as reader:
        ready.release()
        async for record in reader:
            found.append(proof.recognize(record.data))
            if len(found) == count:
                break
    return found


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory")
    parser.add_argument("--followers", type=int, default=1000)
    parser.add_argument("--count", type=int, default=3)
    options = parser.parse_args()
    async with streamstore.aio.open(options.directory) as store:
        streams = [await store.create_stream(f"s-{i}", shards, durability="process") for i, shards in enumerate((1, 4))]
        for stream in streams:
            await stream.put_record(
                proof.payload(9, 0, 20), "k"
            )  # what LATEST leaves out; and now all threads are there
        before = threads()
        ready = asyncio.Semaphore(0)
        count = options.followers
        followers = [asyncio.ensure_future(follow(streams[i % 2], ready, options.count)) for i in range(count)]
        for _ in range(count):
            await ready.acquire()
        await asyncio.sleep(0.3)
        during = threads()
        expected = [(0, n) for n in range(options.count)]
        for n in range(options.count):
            for stream in streams:
                await stream.put_record(proof.payload(0, n, 50), "one key, so one shard and one order")
            await asyncio.sleep(0.1)
        found = await asyncio.wait_for(asyncio.gather(*followers), 60)
        if any(each != expected for each in found):
            raise proof.Failure("a follower missed a record, or saw one twice")
    print(before, during, len(found))


if __name__ == "__main__":
    asyncio.run(main())
