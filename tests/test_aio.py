"""The async twins: the same meanings, one waiter thread for all followers, cancelled waits that consume nothing."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

import streamstore
from streamstore import aio, errors
from streamstore.aio import waiter


def run(coroutine):
    """Run one coroutine in a loop of its own; a hang is a failure."""
    return asyncio.run(asyncio.wait_for(coroutine, 60))


def waiter_threads():
    return {thread for thread in threading.enumerate() if thread.name == "streamstore-waiter"}


def test_put_read_and_all_the_rest(tmp_path):
    """Every method of the twins does what its sync one does."""

    async def main():
        async with aio.open(tmp_path) as store:
            stream = await store.create_stream("s", 2, durability="process")
            result = await stream.put_record(b"a", "k", attributes={"n": 1})
            await stream.put_records([(b"b", "k"), (b"c", "k")], sync=True)
            shard = await stream.shard(result.shard_id)
            assert (await shard.get(result.sequence_number)).attributes == {"n": 1}
            assert [record.data for record in await shard.read()] == [b"a", b"b", b"c"]
            await shard.append([(b"d", "k")], shard.tail)
            assert shard.record_count == 4
            assert [record.data async for record in stream.read()] == [b"a", b"b", b"c", b"d"]
            assert [record.data for record in await stream.last(2)] == [b"c", b"d"]
            assert [each.id for each in await stream.shards()] == ["shardId-000000000000", "shardId-000000000001"]
            assert await store.list_streams() == ["s"]
            assert (await store.stats())["streams"][0]["record_count"] == 4
            await stream.clear()
            await store.flush()
            assert [record async for record in stream.read()] == []
            await store.delete_stream("s")
            with pytest.raises(errors.StreamNotFoundError):
                await store.stream("s")

    run(main())


def test_open_may_be_awaited(tmp_path):
    """Besides being a context manager."""

    async def main():
        store = await aio.open(tmp_path, durability="process")
        assert (await store.create_stream("s")).durability == "process"
        await store.close()
        with pytest.raises(errors.ClosedError):
            await store.list_streams()

    run(main())


@pytest.mark.parametrize("durability", ["process", "sync"])
def test_a_follower_sees_what_is_put(tmp_path, durability):
    """While others put, in order and once."""

    async def main():
        async with aio.open(tmp_path, durability=durability) as store:
            stream = await store.create_stream("s", 3)

            async def write(who):
                for turn in range(30):
                    await stream.put_record(b"%d" % turn, f"writer-{who}")

            seen = []

            async def follow():
                async with stream.read(follow=True) as reader:
                    async for record in reader:
                        seen.append((record.partition_key, int(record.data)))
                        if len(seen) == 150:
                            return

            await asyncio.gather(follow(), *(write(who) for who in range(5)))
            assert sorted(seen) == sorted((f"writer-{who}", turn) for who in range(5) for turn in range(30))
            for who in range(5):
                assert [number for key, number in seen if key == f"writer-{who}"] == list(range(30))

    run(main())


def test_a_thousand_followers_cost_one_thread(tmp_path):
    """And every one of them sees the record."""

    async def main():
        async with aio.open(tmp_path, durability="process") as store:
            stream = await store.create_stream("s")
            before = waiter_threads()  # one of an earlier test may still be about to end

            async def follow():
                async with stream.read("LATEST", follow=True) as reader:
                    return (await reader.__anext__()).data

            tasks = [asyncio.create_task(follow()) for _ in range(1000)]
            await asyncio.sleep(0.2)
            assert len(waiter_threads() - before) == 1
            stream.inner.put_record(b"x", "k")
            assert await asyncio.gather(*tasks) == [b"x"] * 1000

    run(main())


def test_a_cancelled_wait_consumes_nothing(tmp_path):
    """However often it is cancelled, the next record is the next record."""

    async def main():
        async with aio.open(tmp_path, durability="process") as store:
            stream = await store.create_stream("s", 2)
            reader = stream.read(follow=True)
            seen = []
            for turn in range(50):
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(reader.__anext__(), 0.001)
                stream.inner.put_record(b"%d" % turn, f"k{turn}")
                seen.append(int((await reader.__anext__()).data))
            assert seen == list(range(50))
            reader.close()

    run(main())


def test_a_race_of_cancel_and_put_loses_nothing(tmp_path):
    """A wait cancelled at the very moment of a put leaves the record to the next."""

    async def main():
        async with aio.open(tmp_path, durability="process") as store:
            stream = await store.create_stream("s")
            reader = stream.read(follow=True)
            seen = []
            for turn in range(200):
                task = asyncio.create_task(reader.__anext__())
                await asyncio.sleep(0)
                stream.inner.put_record(b"%d" % turn, "k")
                if turn % 3:
                    await asyncio.sleep(0.0002 * (turn % 5))
                task.cancel()
                try:
                    seen.append(int((await task).data))
                except asyncio.CancelledError:
                    continue
            while len(seen) < 200:
                seen.append(int((await reader.__anext__()).data))
            assert seen == list(range(200))

    run(main())


def test_ends_and_positions(tmp_path):
    """timeout ends a follower, positions cross between sync and async, batches hold the same records."""

    async def main():
        async with aio.open(tmp_path, durability="process") as store:
            stream = await store.create_stream("s", 2)
            await stream.put_records([(b"%d" % turn, f"k{turn}") for turn in range(100)])
            reader = stream.read(follow=True, timeout=0.1)
            first = [await reader.__anext__() for _ in range(30)]
            rest = list(stream.inner.read(reader.position))
            assert sorted(int(record.data) for record in first + rest) == list(range(100))
            assert len([record async for record in reader]) == 70
            batches = [batch async for batch in stream.read(merge=True).batches()]
            assert sum(len(batch) for batch in batches) == 100
            merged = [record.arrival_us for batch in batches for record in batch]
            assert merged == sorted(merged)
            mixed = stream.read(merge=True)
            seen = [await mixed.__anext__() for _ in range(9)]
            async for batch in mixed.batches():
                seen += batch
                break
            rest = [record async for record in stream.read(mixed.position)]
            assert sorted(int(record.data) for record in seen + rest) == list(range(100))

    run(main())


@pytest.mark.parametrize("shard_count", [1, 3])
def test_close_ends_a_waiting_task(tmp_path, shard_count):
    """A reader's close ends its iteration; the store's close raises ClosedError in it."""

    async def main():
        async with aio.open(tmp_path, durability="process") as store:
            stream = await store.create_stream("s", shard_count)

            async def drain(reader):
                return [record async for record in reader]

            reader, other = stream.read(follow=True), stream.read(follow=True)
            tasks = [asyncio.create_task(drain(each)) for each in (reader, other)]
            await asyncio.sleep(0.05)
            reader.close()
            assert await tasks[0] == []
            await store.close()
            with pytest.raises(errors.ClosedError):
                await tasks[1]

    run(main())


def test_a_deleted_stream_ends_its_followers(tmp_path):
    """With StreamNotFoundError."""

    async def main():
        async with aio.open(tmp_path) as store:
            reader = (await store.create_stream("s", 2)).read(follow=True)
            task = asyncio.create_task(reader.__anext__())
            await asyncio.sleep(0.05)
            await store.delete_stream("s")
            with pytest.raises(errors.StreamNotFoundError):
                await task

    run(main())


def test_puts_that_wait_for_the_disk_leave_the_loop_free(tmp_path):
    """Concurrent sync puts all come through, and share syncs."""

    async def main():
        async with aio.open(tmp_path) as store:
            stream = await store.create_stream("s")
            await asyncio.gather(*(stream.put_record(b"%d" % turn, "k") for turn in range(200)))
            assert stream.inner.shards()[0].record_count == 200
            syncs = store.inner.stats()["streams"][0]["shards"][0]["sync_count"]
            assert syncs < 200

    run(main())


def test_news_between_the_look_and_the_registration_is_not_missed():
    """While the thread sleeps on a word it read before, the registration itself looks once more."""
    asleep, wake = threading.Event(), threading.Event()

    class Sleeper:
        """An attachment whose wait lasts."""

        def watch(self):
            return 0

        def wait(self, seen, timeout_us):
            asleep.set()
            wake.wait(10)
            raise errors.ClosedError("the end")

    class Log:
        """A log with everything below 100 visible."""

        address, shard_id = 1, "x"

        def visible(self):
            return 100

    async def main():
        watching = waiter.Waiter(Sleeper())
        quiet, ready = waiter.Ticket([(Log(), 100)]), waiter.Ticket([(Log(), 99)])
        watching.register(quiet)
        await asyncio.to_thread(asleep.wait, 10)
        watching.register(ready)
        assert ready.future.done()
        assert not quiet.future.done()
        wake.set()
        await quiet.future  # the end of the store wakes everybody

    run(main())


def test_two_loops_in_two_threads(tmp_path):
    """One waiter wakes followers of every loop."""
    with streamstore.open(tmp_path, durability="process") as inner:
        store = aio.Store(inner)
        stream = inner.create_stream("s")
        got = []

        def work():
            async def follow():
                async with (await store.stream("s")).read(follow=True) as reader:
                    got.append((await reader.__anext__()).data)

            run(follow())

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        time.sleep(0.1)
        stream.put_record(b"x", "k")
        for thread in threads:
            thread.join()
        assert got == [b"x", b"x"]
