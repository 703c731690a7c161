"""Target of `_hot` among threads, signals and the garbage collector; over a core of memory."""

from __future__ import annotations

import gc
import signal
import sys
import threading
import time
import tracemalloc
import weakref

import fake_core
import pytest
from fake_core import (
    APPEND,
    APPEND_TRY,
    INTERRUPTED,
    POISONED,
    SYNC,
    WOULD_BLOCK,
    PartialError,
    StatusError,
)


def while_waiting(log, act, call):
    """Run `call` in a thread until it waits in the core, then `act` (which must let it go on); its result."""
    outcome = []
    thread = threading.Thread(target=lambda: outcome.append(call()))
    thread.start()
    deadline = time.monotonic() + 20
    while log.waiting() == 0 and time.monotonic() < deadline:
        time.sleep(0.001)
    act()
    thread.join()
    return outcome[0]


@pytest.mark.parametrize("gate", [APPEND, SYNC])
def test_other_threads_run_while_a_put_waits(fake, log, put, gate):
    """An append that has to wait, and every sync, let the GIL go; nobody else could open the gate."""
    log.script(APPEND_TRY, WOULD_BLOCK, 1)
    log.gate(gate, 1)
    result = while_waiting(log, lambda: log.gate(gate, 0), lambda: put(b"x", sync=True))
    assert result.position == fake.records(log)[0].position


def test_long_batches_are_copied_without_the_gil(fake, log, put):
    """Above 64 KiB the first call is already made without the GIL."""
    put(bytes(100_000))
    assert (log.calls(APPEND_TRY), log.calls(APPEND)) == (0, 1)


def test_entries_may_change_while_a_put_waits(fake, log):
    """A batch holds what was given, whatever other threads do to the objects meanwhile."""
    array = bytearray(b"array")
    inner = [b"inner" * 100, "key" * 50, 5]
    entries = [inner, (array, "k" * 60), (b"last" * 100, "l" * 70)]

    def change():
        array[:] = b"XXXXX"
        inner.clear()
        entries.clear()
        trash = [bytes(500) for _ in range(1000)]
        log.gate(APPEND, 0)
        del trash

    log.script(APPEND_TRY, WOULD_BLOCK, 1)
    log.gate(APPEND, 1)
    results = while_waiting(log, change, lambda: fake.target(log).put_records(entries))
    records = fake.records(log)
    assert [record.data for record in records] == [b"inner" * 100, b"array", b"last" * 100]
    assert [record.partition_key for record in records] == ["key" * 50, "k" * 60, "l" * 70]
    assert [result.position for result in results] == [record.position for record in records]


def test_a_list_that_changes_while_it_is_read(fake, log):
    """An iterator that takes from its own list gives what it gave; nothing is read twice."""
    entries = [(b"%d" % i, "k") for i in range(100)]

    def eat():
        while entries:
            yield entries.pop()
            if entries:
                entries.pop()

    assert len(fake.target(log).put_records(eat())) == 50
    assert log.count() == 50


@pytest.fixture
def signals():
    """Count SIGUSR1; a handler may be put in its place."""
    seen = []
    before = signal.signal(signal.SIGUSR1, lambda *_: seen.append(1))
    yield seen
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("call", [APPEND_TRY, APPEND, SYNC])
def test_a_signal_is_served_and_the_put_goes_on(fake, log, put, signals, call):
    """Each interruption runs the Python handler once, and the record is put once."""
    if call == APPEND:
        log.script(APPEND_TRY, WOULD_BLOCK, 1)
    log.script(call, INTERRUPTED, 1 if call == APPEND_TRY else 3)
    put(b"x", sync=True)
    assert len(signals) == (1 if call == APPEND_TRY else 3)
    assert len(fake.records(log)) == 1


@pytest.mark.parametrize("call", [APPEND, SYNC])
def test_a_handler_that_raises_ends_the_put(log, put, signals, call):
    """As Ctrl-C does; an interrupted append has written nothing."""

    def stop(*_):
        raise KeyboardInterrupt

    signal.signal(signal.SIGUSR1, stop)
    log.script(APPEND_TRY, WOULD_BLOCK, 1)
    log.script(call, INTERRUPTED, 1)
    with pytest.raises(KeyboardInterrupt):
        put(b"x", sync=True)
    assert log.count() == (0 if call == APPEND else 1)


def test_many_threads_put_at_once(fake):
    """All records of all threads arrive, once, each thread's in its order."""
    logs = [fake.log() for _ in range(4)]
    target = fake.target(*logs)

    def work(name):
        for i in range(0, 500, 5):
            target.put_record(b"%d" % i, f"{name}")
            target.put_records([(b"%d" % (i + j), f"{name}") for j in range(1, 5)], None, i % 100 == 0)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in range(4):
        log = logs[fake_core.route(f"{name}", 4)]
        mine = [
            int(record.data)
            for record in fake.records(log, limit=5000, buffer_size=1 << 20)
            if record.partition_key == f"{name}"
        ]
        assert mine == list(range(500))


# ---- Memory ----


def test_a_target_in_a_cycle_is_collected(fake, log):
    """What a target keeps alive may refer to it."""

    class Owner:
        pass

    owner = Owner()
    owner.target = fake.hot.Target(0, [log.address], [0], ["s"], 100, False, owner)
    gone = weakref.ref(owner)
    del owner
    gc.collect()
    assert gone() is None


def exercise(fake, log, target, key, block):
    """Every way through puts, reads and results, failures too."""
    target.put_record(bytearray(b"data"), key, 1 << 70, block)
    results = target.put_records([[b"data", key], (memoryview(b"data"), key, 5)] * 60, [block] * 120)
    assert list(results) == results[:]
    repr((results, results[0], results[0].sequence_number))
    for record in fake.records(log, limit=3):
        parts = (
            record.data,
            record.view,
            record.partition_key,
            record.explicit_hash_key,
            record.attributes,
            record.source,
        )
        hash((record, repr(record), len(parts)))
        assert fake.get(log, record.position) == record
        assert fake.hot.make_record(*record.__reduce__()[1]) == record
    fake.hot.make_put_results(results.__reduce__()[1][0])
    for bad in ((b"x", ""), (b"x", "\ud800"), (b"x", key, -1), (5, key), (b"x" * 101, key), ()):
        with pytest.raises((TypeError, ValueError)):
            target.put_records([(bytearray(b"x"), key), bad], [None, block])
        with pytest.raises((TypeError, ValueError)):
            target.put_record(*bad)
    log.script(SYNC, POISONED, 2)
    with pytest.raises(PartialError):
        target.put_records([(b"x", key)], None, True)
    with pytest.raises(StatusError):
        target.put_record(b"x", key, sync=True)


def test_nothing_leaks(fake, log):
    """Many rounds of everything leave no small block and no large one behind."""
    target = fake.target(log, record_size_max=100)
    key, block, rounds = "key" * 5, b"\x81\xa1u\x80", 200

    def held_after(count):
        for _ in range(count):
            exercise(fake, log, target, key, block)
        gc.collect()
        return sys.getallocatedblocks(), tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    held_after(50)
    grown = []
    for _ in range(5):  # what runs the tests has threads as well: a leak shows each time, and they do not
        before, after = held_after(50), held_after(rounds)
        grown.append((after[0] - before[0], after[1] - before[1]))
    tracemalloc.stop()
    assert min(blocks for blocks, _ in grown) < rounds, grown  # to 512 bytes each
    assert min(size for _, size in grown) < rounds * 512, grown  # all others; Python's free lists move a little


def deeds(fake, target):
    """One call of every kind that takes memory, each with all it needs made before."""
    full, large, target_log = fake.log(), fake.log(), fake.log()
    fake.put(large, (bytes(5000), "k"))
    fake.put(full, *[(b"x" * i, "k", i) for i in range(40)], attribute_blocks=[b"\x81\xa1u\x80"] * 40)
    records = fake.records(full)
    many = [[bytearray(b"data"), "k"], (memoryview(b"data"), "k", 1 << 70)] * 150
    results = target.put_records([(b"x", "k")] * 3)
    reduced = records[1].__reduce__()[1]
    yield "put_record", lambda: target.put_record(bytearray(b"data"), "k", 1 << 70, b"\x80")
    yield "put_records", lambda: target.put_records(many, [b"\x80"] * 300)
    yield "refused", lambda: target.put_records([(b"x", "k", -1)])
    yield "too large", lambda: target.put_record(bytes(101), "k")
    yield "results", lambda: (results[0], results[:], repr(results[1]), results.__reduce__(), results[2].__reduce__())
    yield "make_put_results", lambda: fake.hot.make_put_results(results.__reduce__()[1][0])
    yield "read", lambda: fake.read(full, buffer_size=500)
    yield "read and cut", lambda: fake.read(full, buffer_size=1 << 18)
    yield "get", lambda: fake.get(full)
    yield "get large", lambda: fake.get(large)
    yield "make_record", lambda: fake.hot.make_record(*reduced)
    yield (
        "record",
        lambda: (records[1].data, records[1].view, repr(records[1]), records[1].__reduce__(), records[1].attributes),
    )
    yield "Target", lambda: fake.target(target_log)


def test_every_allocation_may_fail(fake, request):
    """Whichever allocation is refused, the call raises and nothing is torn; with memory it works again."""
    capi = pytest.importorskip("_testcapi")
    target = fake.target(fake.log(), fake.log(), record_size_max=100)
    gc.disable()  # a collection would take memory for other ends
    request.addfinalizer(gc.enable)
    refusals = 0
    for name, deed in deeds(fake, target):
        for nth in range(400):
            failed = None
            capi.set_nomemory(nth, nth + 1)
            try:
                deed()
            except BaseException as error:
                failed = type(error)
            finally:
                capi.remove_mem_hooks()
            assert failed in (None, MemoryError, fake_core.ArgumentError, fake_core.TooLargeError), name
            refusals += failed is MemoryError
        if name not in ("refused", "too large"):
            deed()
    assert refusals > 100
