"""fork, spawn and thread pools: handles go on where it makes sense, and say ForkedError where it does not."""

from __future__ import annotations

import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest

import streamstore
from streamstore import errors

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def in_child(work):
    """Run `work` in a forked child; what it raises is told and fails the test."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        try:
            work()
        except BaseException as error:
            os.write(writing, repr(error).encode())
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        told = pipe.read()
    os.waitpid(pid, 0)
    assert told.decode() == ""


@pytest.fixture
def stream(store):
    return store.create_stream("s", 2, durability="process")


def data(stream):
    return sorted(record.data for record in stream.read())


def test_a_store_used_before_and_after_a_fork(store, stream):
    """Parent and child write through the same objects, and both see everything."""
    stream.put_record(b"before", "k")
    shard = stream.shards()[0]

    def child():
        stream.put_record(b"child", "k")
        stream.put_records([(b"batch", "k")])
        shard.append([(b"append", "k")])
        store.create_stream("made in the child".replace(" ", "-"))
        assert data(stream) == [b"append", b"batch", b"before", b"child"]
        store.flush()

    in_child(child)
    stream.put_record(b"parent", "k")
    assert data(stream) == [b"append", b"batch", b"before", b"child", b"parent"]
    assert store.list_streams() == ["made-in-the-child", "s"]


def test_a_first_use_after_the_fork(store, stream):
    """Nothing was bound in the parent yet."""
    in_child(lambda: stream.put_records([(b"x", "k"), (b"y", "q")]))
    assert data(stream) == [b"x", b"y"]


def test_a_reader_belongs_to_the_parent(stream):
    """In the child it raises ForkedError, also in the middle of a batch; in the parent it goes on."""
    stream.put_records([(b"%d" % turn, "k") for turn in range(100)])
    reader = stream.read()
    loop = iter(reader)
    first = next(loop)

    def child():
        with pytest.raises(errors.ForkedError):
            next(loop)
        with pytest.raises(errors.ForkedError):
            _ = reader.position
        reader.close()
        assert len(list(stream.read())) == 100

    in_child(child)
    assert len([first, *reader]) == 100


def test_the_childs_exit_lets_go_of_nothing_of_the_parents(store, stream):
    """The parent's locks and slot are its own."""
    stream.put_record(b"a", "k")
    slot = store.attachment.info()["slot"]
    in_child(lambda: stream.put_record(b"b", "k"))
    in_child(lambda: None)
    assert [process["slot"] for process in store.attachment.processes() if process["alive"]] == [slot]
    stream.put_record(b"c", "k", sync=True)
    assert data(stream) == [b"a", b"b", b"c"]


def test_a_fork_while_threads_write(stream):
    """Locks that another thread held at the fork do not stop the child."""
    stop = threading.Event()

    def write():
        while not stop.is_set():
            stream.put_record(b"t", "k")

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for turn in range(10):
            in_child(lambda turn=turn: (stream.put_record(b"child %d" % turn, "k"), len(stream.last(1))))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert {record.data for record in stream.read()} == {b"t"} | {b"child %d" % turn for turn in range(10)}


def test_a_closed_store_stays_closed_in_the_child(store, stream):
    """A fork is no reopen."""
    store.close()

    def child():
        with pytest.raises(errors.ClosedError):
            stream.put_record(b"x", "k")

    in_child(child)


def put(stream, who):
    """What a worker process does: module level, so that spawn finds it."""
    return [stream.put_record(b"%d" % who, f"k{who}").sequence_number for _ in range(5)]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing(stream, method):
    """A stream crosses to workers as an argument and just works there."""
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool:
        numbers = [number for found in pool.map(put, [stream] * 4, range(4)) for number in found]
    assert len(set(numbers)) == 20
    assert data(stream) == sorted(b"%d" % who for who in range(4) for _ in range(5))
    assert {record.sequence_number for record in stream.read()} == set(numbers)


def test_records_results_and_shards_cross_processes(stream):
    """What a worker returns is equal to what it had."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        result = pool.submit(stream.put_record, b"x", "k").result()
        records = pool.submit(stream.last, 1).result()
        shard = pool.submit(stream.shard, result.shard_id).result()
    assert records == stream.last(1)
    assert shard.get(result.sequence_number).data == b"x"


def test_a_thread_pool(stream):
    """Any thread may use any handle."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, [stream] * 8, range(8)))
    assert len(data(stream)) == 40


def test_grandchildren(stream):
    """A child of a child is as good as any."""

    def child():
        stream.put_record(b"child", "k")
        in_child(lambda: stream.put_record(b"grandchild", "k"))
        assert data(stream) == [b"child", b"grandchild"]

    in_child(child)
    assert data(stream) == [b"child", b"grandchild"]


def test_errors_of_the_childs_own_use(tmp_path):
    """A store opened in the child is the child's alone."""

    def child():
        with streamstore.open(tmp_path / "own") as store:
            store.create_stream("s").put_record(b"x", "k")

    in_child(child)
    with streamstore.open(tmp_path / "own", create=False) as store:
        assert data(store.stream("s")) == [b"x"]
