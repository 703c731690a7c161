"""Interpreters that end in the middle of things: live views, waiting threads, unfinished loops, programs executed."""

from __future__ import annotations

import os
import subprocess
import textwrap

import pytest
from interpreters import finish, start

import streamstore


def data(stream):
    return sorted(record.data for record in stream.read())


PUT_THREE = """
    store = streamstore.open(sys.argv[1], durability="process")
    stream = store.create_stream("s", 2, exist_ok=True)
    stream.put_records([(b"one", "a"), (b"two", "b"), (b"three", "c")])
"""
ENDS = {
    "views": """
        record = stream.last(1)[0]
        keep = [record.view, memoryview(record.data), record, store, stream, stream.last(3)]
        keep.append(keep)  # nothing but the end of the interpreter takes it apart
    """,
    "a reader in the middle": """
        reader = stream.read()
        first = next(reader)
        batches = stream.read(follow=True).batches()
        next(batches)
    """,
    "threads that wait": """
        def wait(call):
            try:
                call()
            except streamstore.ClosedError:
                pass  # the end of the program closes the store
        follow = lambda: list(stream.read("LATEST", follow=True))
        for call in (follow, follow, follow, store.queue("q").get):
            threading.Thread(target=wait, args=(call,), daemon=True).start()
        time.sleep(0.1)
    """,
    "threads that put": """
        def put(n):
            try:
                while True:
                    stream.put_record(b"more", f"{n}")
            except streamstore.ClosedError:
                pass
        for n in range(3):
            threading.Thread(target=put, args=(n,), daemon=True).start()
        time.sleep(0.1)
    """,
    "a thread that outlives the main one": """
        def later():
            time.sleep(0.2)
            stream.put_record(b"four", "k")
        threading.Thread(target=later).start()
    """,
    "maintenance": """
        stream.set_retention(hours=48)
        store.maintain()
    """,
    "a loop with followers": """
        import asyncio
        from streamstore import aio
        async def follow():
            async with aio.open(sys.argv[1], create=False) as opened:
                task = asyncio.ensure_future(anext(aiter((await opened.stream("s")).read("LATEST", follow=True))))
                await asyncio.sleep(0.1)
                task.cancel()
        asyncio.run(follow())
    """,
    "a producer that is not flushed": """
        producer = streamstore.Producer(stream)
        futures = [producer.put_record(b"user", "k") for _ in range(10)]
    """,
    "an object whose end reads": """
        class Late:
            def __del__(self, stream=stream):
                try:
                    stream.put_record(b"late", "k")
                except (streamstore.ClosedError, ImportError):
                    pass
        late = Late()
        late.me = late
    """,
    "a stopped interpreter": """
        def read_on():
            try:
                while True:
                    stream.read("LATEST", follow=True).close()
            except streamstore.ClosedError:
                pass
        threading.Thread(target=read_on, daemon=True).start()
        sys.exit(0)
    """,
}


@pytest.mark.parametrize("how", list(ENDS))
def test_an_interpreter_ends_in_the_middle_of_things(tmp_path, how):
    """No crash, no hang and no complaint, and all that was acknowledged is there; in one of the ways nothing less is
    told than what was put at the end.
    """
    for _ in range(3 if how.startswith("threads") else 1):
        finish(start(textwrap.dedent(PUT_THREE) + textwrap.dedent(ENDS[how]), tmp_path))
        with streamstore.open(tmp_path, create=False) as store:
            assert [process["pid"] for process in store.attachment.processes() if process["alive"]] == [os.getpid()]
            found = data(store.stream("s"))
            damaged = [shard.verify()[0] for shard in store.stream("s").shards()]
        assert {b"one", b"two", b"three"} <= set(found)
        assert damaged == [[], []]
        if "outlives" in how:
            assert b"four" in found
    if "producer" in how:
        with streamstore.open(tmp_path, create=False) as store:
            records = [record.data for record in store.stream("s").read(deaggregate=True)]
            assert records.count(b"user") == 10


def test_a_program_that_is_executed_inherits_nothing(store):
    """A child by exec holds no lock of the store, though all descriptors that may be were handed to it."""
    stream = store.create_stream("s", durability="process")
    stream.put_record(b"x", "k")
    child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        store.close()
        with streamstore.open(store.path, create=False) as again:
            info = again.attachment.info()
            assert info["first_opener"] == 1
            assert len([process for process in again.attachment.processes() if process["alive"]]) == 1
    finally:
        child.kill()
        child.wait()
