"""The async queue: the same promises on an event loop, and waits that cost nothing and consume nothing."""

from __future__ import annotations

import asyncio
import queue as std
import threading

import pytest

import streamstore
from streamstore import errors


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 60))


@pytest.mark.parametrize("durability", ["process", "sync"])
def test_put_get_and_settle(tmp_path, durability):
    """As in the sync queue, message by message and in batches."""

    async def main():
        async with streamstore.aio.open(tmp_path / "s", durability=durability) as store:
            queue = await store.queue("jobs", max_receive_count=2)
            await queue.put({"n": 1})
            await queue.put_many([2, 3, 4])
            message = await queue.get()
            assert message.body == {"n": 1}
            await message.nack()
            async with await queue.get() as again:
                assert again.receive_count == 2
            await queue.ack_many(await queue.get_many(2))
            with pytest.raises(KeyError):
                async with await queue.get():
                    raise KeyError
            last = await queue.get()
            await last.extend(60)
            assert not await queue.join(timeout=0.05)
            await last.dead("no use")
            assert await queue.join(timeout=5)
            with pytest.raises(std.Empty):
                await queue.get(timeout=0.02)
            assert (await queue.stats())["dead"] == 1
            assert [letter.reason for letter in queue.inner.dead_letters] == ["no use"]

    run(main())


def test_a_thousand_waiters_cost_no_threads(tmp_path):
    """Each gets one message; one thread watches for all of them."""

    async def main():
        async with streamstore.aio.open(tmp_path / "s", durability="process") as store:
            queue = await store.queue("jobs")
            before = threading.active_count()
            waiters = [asyncio.ensure_future(queue.get()) for _ in range(1_000)]
            await asyncio.sleep(0.05)
            assert threading.active_count() <= before + 1
            await queue.put_many(list(range(1_000)))
            messages = await asyncio.gather(*waiters)
            assert sorted(message.body for message in messages) == list(range(1_000))
            await queue.ack_many(messages)

    run(main())


def test_a_cancelled_get_consumes_nothing(tmp_path):
    """Whoever waits next gets the message, received for the first time."""

    async def main():
        async with streamstore.aio.open(tmp_path / "s", durability="process") as store:
            queue = await store.queue("jobs")
            for number in range(20):
                first = asyncio.ensure_future(queue.get())
                second = asyncio.ensure_future(queue.get())
                await asyncio.sleep(0)
                first.cancel()
                await queue.put(number)
                message = await second
                assert (message.body, message.receive_count) == (number, 1)
                await message.ack()

    run(main())


def test_what_becomes_due_wakes_a_waiter(tmp_path):
    """A nack elsewhere, a delay, a visibility that ends."""

    async def main():
        async with streamstore.aio.open(tmp_path / "s", durability="process") as store:
            queue = await store.queue("jobs")
            await queue.put("x", delay=0.05)
            message = await queue.get()
            waiter = asyncio.ensure_future(queue.get(visibility=0.05))
            await asyncio.sleep(0.02)
            await message.nack()
            assert (await waiter).receive_count == 2
            assert (await queue.get()).receive_count == 3

    run(main())


def test_close_ends_a_wait(tmp_path):
    """A get raises, a loop ends."""

    async def main():
        async with streamstore.aio.open(tmp_path / "s", durability="process") as store:
            queue = await store.queue("jobs")

            async def loop():
                return [message async for message in queue]

            getting, looping = asyncio.ensure_future(queue.get()), asyncio.ensure_future(loop())
            await asyncio.sleep(0.05)
            await queue.close()
            assert await looping == []
            with pytest.raises(errors.ClosedError):
                await getting

    run(main())
