"""Servers that fork their workers, daemons, pools, and forks while other threads stand in the middle of a put."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from concurrent.futures import ProcessPoolExecutor

import pytest
from interpreters import start

import streamstore
from streamstore import errors

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def data(stream):
    return sorted(record.data for record in stream.read())


def wait_for(pid):
    """The exit status of a child that ends within a while."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise AssertionError("the child hangs")


def fork(work):
    """The pid of a child that does `work` and ends with 0 if all went well."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        work()
        status = 0
    except BaseException:  # told here, because nothing after the fork may unwind into the parent's frames
        traceback.print_exc()
    finally:
        os._exit(status)


def test_a_fork_while_a_thread_stands_in_a_put(store):
    """A put waits for room that only the parent's main thread can make; the child has no part in it and goes on."""
    full = store.create_stream("full", durability="process", max_bytes=1 << 20, on_full="block", segment_size=128 << 10)
    other = store.create_stream("other", durability="process")

    def fill():
        for _ in range(60):
            full.put_record(bytes(50_000), "k")

    thread = threading.Thread(target=fill)
    thread.start()
    try:
        tail = -1
        while tail != (tail := full.log(0).state().tail) or tail < 900_000:
            time.sleep(0.05)

        def child():
            for n in range(20):
                other.put_record(b"%d" % n, "k")
            assert len(data(other)) == 20
            store.create_stream("made-by-the-child")

        assert wait_for(fork(child)) == 0
        assert thread.is_alive()
    finally:
        full.clear()
        for _ in range(100):
            thread.join(0.1)
            if not thread.is_alive():
                break
            full.clear()
    assert not thread.is_alive()
    assert "made-by-the-child" in store.list_streams()


def test_a_fork_from_another_thread(store):
    """The thread that forks is the child's only one, and whatever the others of the parent held is let go of."""
    stream = store.create_stream("s", durability="process")
    statuses = []

    def from_here():
        statuses.append(wait_for(fork(lambda: [stream.put_record(b"child", "k") for _ in range(10)])))

    threads = [threading.Thread(target=from_here) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(200):
        stream.put_record(b"parent", "k")
    for thread in threads:
        thread.join()
    assert statuses == [0] * 4
    assert data(stream) == [b"child"] * 40 + [b"parent"] * 200


def test_a_child_outlives_its_parent(tmp_path):
    """A daemon forks twice, its parent ends or is killed, and it goes on through what it inherited."""
    code = """
        path, how = sys.argv[1:]
        store = streamstore.open(path, durability="process")
        stream = store.create_stream("s", exist_ok=True)
        stream.put_record(b"parent", "k")
        reading, writing = os.pipe()
        if os.fork() == 0:
            if os.fork() == 0:
                os.read(reading, 1) if how == "ends" else time.sleep(0.3)
                stream.put_record(b"daemon", "k")
                print("done", flush=True)
                os._exit(0)
            os._exit(0)
        os.wait()
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        os.write(writing, b"x")
    """
    for how in ("ends", "killed"):
        process = start(code, tmp_path, how)
        out, complaints = process.communicate(timeout=60)  # until the daemon has let go of the pipe, too
        assert (out, complaints) == ("done\n", "")
    with streamstore.open(tmp_path, create=False) as store:
        assert data(store.stream("s")) == [b"daemon"] * 2 + [b"parent"] * 2


def test_a_prefork_server(store):
    """Workers forked from a parent that has the store open, some killed in the middle of their work and replaced, the
    rest ended by a signal; the parent writes as well. Whatever a worker was told is there.
    """
    stream = store.create_stream("s", 4, durability="process")
    stream.put_record(b"before any fork", "k")
    reading, writing = os.pipe()

    def serve(worker):
        try:
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
            for n in range(100_000):
                number = stream.put_record(b"%d %d" % (worker, n), f"{n}").sequence_number
                os.write(writing, f"{worker} {n} {number}\n".encode())
                stream.last(1)
        except SystemExit:
            store.close()

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # until a worker has its handler
    workers = {number: fork(lambda number=number: serve(number)) for number in range(4)}
    for turn in range(6):
        stream.put_record(b"parent", f"{turn}")
        time.sleep(0.05)
        os.kill(workers.pop(turn), signal.SIGKILL)
        workers[turn + 4] = fork(lambda number=turn + 4: serve(number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    time.sleep(0.1)
    for pid in workers.values():
        os.kill(pid, signal.SIGTERM)
    os.close(writing)
    with open(reading, encoding="ascii") as pipe:
        *told, last = pipe.read().split("\n")
    assert last == ""
    while workers:
        pid, status = os.waitpid(-1, 0)
        if pid in workers.values():
            assert os.waitstatus_to_exitcode(status) == 0
            workers = {number: other for number, other in workers.items() if other != pid}
    found = {record.sequence_number: record.data for record in stream.read()}
    assert len(told) > 30
    for line in told:
        worker, n, number = line.split()
        assert found[number] == f"{worker} {n}".encode()
    assert list(found.values()).count(b"parent") == 6
    assert len(set(found.values()) - {b"parent"}) == len(found) - 6


def put(stream, who):
    """What a worker of a pool does: module level, so that spawn finds it."""
    return [stream.put_record(b"%d" % who, f"k{who}").sequence_number for _ in range(5)]


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_pool_whose_workers_are_replaced(store, method):
    """Each worker ends after two tasks, however they are started; the stream goes with the task."""
    stream = store.create_stream("s", 2, durability="process")
    with multiprocessing.get_context(method).Pool(2, maxtasksperchild=2) as pool:
        numbers = [
            number for found in pool.starmap(put, [(stream, n) for n in range(6)], chunksize=1) for number in found
        ]
    assert len(set(numbers)) == 30
    assert {record.sequence_number for record in stream.read()} == set(numbers)


def test_a_pool_whose_worker_dies(store):
    """A broken pool of concurrent.futures breaks nothing here."""
    stream = store.create_stream("s", durability="process")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        assert len(pool.submit(put, stream, 1).result()) == 5
        with pytest.raises(Exception, match="terminated abruptly"):
            pool.submit(os._exit, 3).result()
    put(stream, 2)
    assert data(stream) == [b"1"] * 5 + [b"2"] * 5
    assert [process["pid"] for process in store.attachment.processes() if process["alive"]] == [os.getpid()]


def test_a_message_belongs_to_the_process_that_received_it(store):
    """A forked child may not settle what its parent holds by the same object; the parent still can."""
    queue = store.queue("jobs")
    queue.put("work")
    message = queue.get(timeout=5)

    def child():
        with pytest.raises((errors.ForkedError, errors.StaleReceiptError)):
            message.ack()

    assert wait_for(fork(child)) == 0
    message.ack()
    assert queue.stats()["total_acknowledged"] == 1
