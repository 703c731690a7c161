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


def test_a_queue_over_a_stream_is_made_opened_listed_and_deleted(tmp_path):
    """As in a store that waits."""

    async def main():
        async with streamstore.aio.open(tmp_path / "s", durability="process") as store:
            stream = await store.create_stream("clicks")
            made = await store.create_queue("billing", "clicks", start="TRIM_HORIZON", visibility=7)
            await stream.put_record(b"click", "k")
            opened = await store.open_queue("billing")
            assert (await opened.get()).body == b"click"
            assert made.inner.settings.visibility_us == 7_000_000
            assert await store.list_queues() == ["billing"]
            await store.delete_queue("billing")
            assert await store.list_queues() == []
            with pytest.raises(errors.StreamNotFoundError):
                await made.get()

    run(main())


@pytest.mark.parametrize(
    ("timeout", "error"),
    [
        (-1, errors.InvalidArgumentError),
        (float("nan"), errors.InvalidArgumentError),
        ("soon", errors.InvalidTypeError),
        (True, errors.InvalidTypeError),
    ],
)
def test_a_timeout_that_is_none_is_refused(tmp_path, timeout, error):
    """As by the queue itself, by whatever waits."""

    async def main():
        async with streamstore.aio.open(tmp_path / "s", durability="process") as store:
            queue = await store.queue("jobs")
            for wait in (queue.get, lambda **given: queue.get_many(2, **given), queue.join):
                with pytest.raises(error):
                    await wait(timeout=timeout)

    run(main())


def test_a_closed_queue_says_so(tmp_path):
    """Whatever is asked of it, of a message it gave, or of a store that is closed; what was in it is there."""

    async def main():
        async with streamstore.aio.open(tmp_path / "s", durability="process") as store:
            with pytest.raises(errors.StreamNotFoundError):
                await store.open_queue("none")
            queue, other = await store.queue("jobs"), await store.queue("jobs")
            await queue.put_many(["held", "kept"])
            message = await other.get()
            for wrong, refused in ((object(), errors.InvalidTypeError), (b"x" * (2 << 20), errors.RecordTooLargeError)):
                with pytest.raises(refused):
                    await queue.put(wrong)
            await queue.close()
            calls = [queue.get, lambda: queue.put(1), lambda: queue.put_many([1]), lambda: queue.get_many(2)]
            calls += [lambda: queue.ack_many([message]), queue.join, queue.stats]
            for call in calls:
                with pytest.raises(errors.ClosedError):
                    await call()
        for call in (message.ack, message.nack, message.dead, lambda: message.extend(5)):
            with pytest.raises(errors.ClosedError):
                await call()
        async with streamstore.aio.open(tmp_path / "s", durability="process") as store:
            again = await (await store.queue("jobs")).get_many(5)
            assert [(item.body, item.receive_count) for item in again] == [("held", 2), ("kept", 1)]

    run(main())
