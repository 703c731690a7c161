"""Storms of signals whose handlers use the store, raise, close and fork, whatever their thread is just in."""

from __future__ import annotations

import sys

import pytest
from interpreters import finish, start

import streamstore

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def data(stream):
    return sorted(record.data for record in stream.read())


STORM_OF_HANDLERS = """
    path, durability = sys.argv[1:]
    store = streamstore.open(path, durability=durability, sync_interval=0.01)
    stream, other = store.create_stream("s", 2), store.create_stream("handled")
    queue = store.queue("jobs")
    handled = itertools.count()

    kinds = {signal.SIGALRM: signal.ITIMER_REAL, signal.SIGPROF: signal.ITIMER_PROF}
    goes_on = True

    def on_signal(number, frame):
        # What programs do in handlers: note it in a stream, look at another one. Now and then make a stream.
        n = next(handled)
        other.put_record(b"%d" % n, "k")
        if n % 40 == 0:
            store.create_stream(f"made-{n}")
        stream.last(1)
        if goes_on:  # once it is through: on a slow disk handlers that come on their own would pile up for good
            signal.setitimer(kinds[number], 0.001)

    for number, kind in kinds.items():
        signal.signal(number, on_signal)
        signal.setitimer(kind, 0.001)
    told, ends = [], time.monotonic() + 1.5
    reader = stream.read(follow=True, timeout=0.05)
    seen = 0
    for n in itertools.count():
        if time.monotonic() > ends:
            break
        if n % 3:
            told.append(stream.put_record(b"%d" % n, f"{n % 7}").sequence_number)
        else:
            told += [r.sequence_number for r in stream.put_records([(b"%d" % n, f"{i}") for i in range(5)])]
        if n % 11 == 0:
            queue.put(n)
            queue.get(timeout=5).ack()
        if n % 50 == 0:
            seen += sum(1 for _ in stream.read(reader.position))
            store.create_stream(f"stream-{n}")
            store.flush()
    goes_on = False
    for kind in kinds.values():
        signal.setitimer(kind, 0)
    assert sorted(told) == sorted(record.sequence_number for record in stream.read())
    count = next(handled)
    assert sorted(int(record.data) for record in other.read()) == list(range(count))
    assert count > 5
    made = {f"made-{n}" for n in range(0, count, 40)}
    assert made <= set(store.list_streams())
    store.close()
    print(len(told), count)
"""


@pytest.mark.parametrize("durability", ["sync", "interval", "process"])
def test_a_storm_of_signals_whose_handlers_use_the_store(tmp_path, durability):
    """Timers fire without end, and their handlers put, read and create, whatever the thread was just in: everything
    that was acknowledged is there, once.
    """
    told, handled = map(int, finish(start(STORM_OF_HANDLERS, tmp_path, durability)).split())
    with streamstore.open(tmp_path, create=False) as store:
        assert len(data(store.stream("s"))) == told
        assert len(data(store.stream("handled"))) == handled


STORM_OF_EXCEPTIONS = """
    store = streamstore.open(sys.argv[1], durability="process")
    stream, queue = store.create_stream("s", 2), store.queue("jobs")
    chance = __import__("random").Random(1)

    class Stop(Exception):
        pass

    def on_signal(number, frame):
        raise Stop

    signal.signal(signal.SIGALRM, on_signal)
    queue.put_many(list(range(100_000)))
    told, acked, n, stops, ends = {}, [], 0, 0, time.monotonic() + 2
    while time.monotonic() < ends:
        try:
            signal.setitimer(signal.ITIMER_REAL, chance.random() * 0.003 + 1e-6)
            while True:
                told[n] = None
                told[n] = stream.put_record(b"%d" % n, f"{n % 7}").sequence_number
                n += 1
                message = queue.get(timeout=5)
                acked.append(message.body)
                message.ack()
                store.create_stream(f"stream-{n}") if n % 50 == 0 else None
        except Stop:
            stops, n = stops + 1, n + 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    stands = {int(record.data): record.sequence_number for record in stream.read()}
    assert len(stands) == sum(1 for _ in stream.read())
    assert all(stands[n] == number for n, number in told.items() if number is not None)
    assert set(stands) <= set(told)
    assert len(acked) == len(set(acked))  # nobody got a message twice: none was given back
    assert stops > 10
    facts = queue.stats()
    store.close()
    with streamstore.open(sys.argv[1], create=False) as again:  # folded from the start, by nobody who was interrupted
        fresh = again.open_queue("jobs").stats()
    for name in ("fresh", "total_acknowledged"):
        assert fresh[name] == facts[name], (name, fresh, facts)
    print(len(stands), stops)
"""


def test_a_storm_of_handlers_that_raise(tmp_path):
    """Ctrl-C at any moment of a put, a receive, an acknowledgement or a change of the catalog, and the program goes on:
    what was acknowledged stands once, and what the process believes of its queue is what another one reads.
    """
    finish(start(STORM_OF_EXCEPTIONS, tmp_path))


def test_a_fold_that_is_interrupted_is_not_folded_twice(store):
    """The story: Ctrl-C came between two events of a delivery log that were read together. The first was in the state
    and the log's place was not moved, so that the next look folded it once more: a message was counted as received
    twice, of its three times.
    """
    twin = streamstore.open(store.path)
    queue, other = store.queue("jobs", max_receive_count=3), twin.queue("jobs")
    queue.put_many(["a", "b"])
    assert queue.stats()["fresh"] == 2
    journal = queue.engine.journal
    for message in other.get_many(2):
        message.nack()
    fold, calls = type(journal.state).fold, []

    def interrupted(self, event):
        fold(self, event)
        calls.append(event)
        if len(calls) == 1:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(journal.state), "fold", interrupted)
        with pytest.raises(KeyboardInterrupt):
            queue.stats()
    assert [message.receive_count for message in queue.get_many(2)] == [2, 2]
    twin.close()


def test_a_catalog_whose_fold_is_interrupted_is_folded_anew(store, monkeypatch):
    """As above, for streams: what the catalog said before the interruption and after it are one state."""
    with streamstore.open(store.path) as twin:
        stream = twin.create_stream("s", 1)
        stream.split_shard(stream.shards()[0].id, 1 << 127)
        fold = streamstore.catalog.events.fold
        calls = []

        def interrupted(state, data):
            fold(state, data)
            calls.append(data)
            if len(calls) == 2:
                raise KeyboardInterrupt

        monkeypatch.setattr(streamstore.catalog.events, "fold", interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.list_streams()
        monkeypatch.undo()
        assert store.catalog.refresh() == twin.catalog.refresh()
        assert len(store.stream("s").shards()) == 3


def test_a_handler_that_looks_in_the_middle_of_a_fold(store, monkeypatch):
    """The handler of a signal interrupts the thread that is folding the catalog, and needs the catalog: it gets all of
    it, may change it, and nothing is folded twice.
    """
    with streamstore.open(store.path) as twin:
        for n in range(5):
            twin.create_stream(f"s{n}")
    fold, calls, seen = streamstore.catalog.events.fold, [], []

    def interrupted(state, data):
        fold(state, data)
        calls.append(data)
        if len(calls) == 3:
            store.create_stream("from-the-handler").put_record(b"x", "k")
            seen.extend(store.list_streams())

    monkeypatch.setattr(streamstore.catalog.events, "fold", interrupted)
    assert store.list_streams() == [f"s{n}" for n in range(5)]  # as of the call, which came before the handler's
    assert seen == store.list_streams() == ["from-the-handler", *(f"s{n}" for n in range(5))]
    assert data(store.stream("from-the-handler")) == [b"x"]


@pytest.mark.parametrize("moment", ["hand_out", "position", "_settle"])
def test_a_handler_that_closes_the_reader_in_any_of_its_steps(store, moment):
    """SIGTERM ends a consumer: its handler closes the reader that the same thread is just in, and once hung on a lock
    that this thread held. The loop ends, and the position is behind what was handed out.
    """
    stream = store.create_stream("s", 2, durability="process")
    stream.put_records([(b"%d" % n, f"{n}") for n in range(100)])
    for after in range(60):
        reader, handed = stream.read(), []
        steps = iter(range(after))

        def trace(frame, event, argument, reader=reader, steps=steps):
            if frame.f_code.co_name not in (moment, "_reached", "_store_reached"):
                return None
            if next(steps, None) is None:
                sys.settrace(None)
                reader.close()
                return None
            return trace

        sys.settrace(trace)
        try:
            for record in reader:
                handed.append(record.data)
                assert reader.position
        finally:
            sys.settrace(None)
        left = [record.data for record in stream.read(reader.position)]
        assert sorted(handed + left) == data(stream), after


def test_a_handler_that_forks(tmp_path):
    """The child of a handler writes through what the interrupted thread was just writing through."""
    code = """
        store = streamstore.open(sys.argv[1], durability="process")
        stream = store.create_stream("s")
        children = []

        def on_signal(number, frame):
            pid = os.fork()
            if pid == 0:
                try:
                    stream.put_record(b"child", "k")
                finally:
                    os._exit(0)
            children.append(pid)
            if len(children) < 15:
                signal.setitimer(signal.ITIMER_REAL, 0.002)

        signal.signal(signal.SIGALRM, on_signal)
        signal.setitimer(signal.ITIMER_REAL, 0.002)
        count = 0
        while len(children) < 15:
            stream.put_record(b"parent", "k")
            store.create_stream(f"s{count}") if count % 20 == 0 else None
            count += 1
        assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * len(children)
        found = [record.data for record in stream.read()]
        assert (found.count(b"parent"), found.count(b"child")) == (count, len(children))
        store.close()
    """
    finish(start(code, tmp_path))
