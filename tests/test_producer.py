"""The producer over an embedded stream: what becomes of each user record, what waits for what, what is refused."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import subprocess
import sys
import threading
import time

import pytest
from producing import Resharder, check_order, check_places, places_of, put_under_resharding

import streamstore
from streamstore import errors, native
from streamstore.producer import Producer, RecordWriter, UserRecordFuture

LONG = 60_000  # longer than any test: what happens meanwhile happens for another reason


@pytest.fixture
def store(tmp_path):
    with streamstore.open(tmp_path / "s", durability="process") as made:
        yield made


def data(records):
    return [record.data for record in records]


def test_each_future_says_where_its_record_stands(store):
    """Shard, sequence number and place in the aggregate are those under which a reader finds the very record."""
    stream = store.create_stream("s", shard_count=4)
    with Producer(stream, record_max_buffered_time=LONG) as producer:
        put = [(b"%d" % number, f"key-{number % 11}") for number in range(2_000)]
        futures = [producer.put_record(*entry) for entry in put]
        producer.flush()
        assert all(future.done() for future in futures)
        assert producer.outstanding_records == producer.outstanding_bytes == 0
    found = {
        (each.shard_id, each.sequence_number, each.sub_sequence_number): (each.data, each.partition_key)
        for each in stream.read(deaggregate="strict")
    }
    assert [found[future.result()[:3]] for future in futures] == put
    assert len(found) == len(put) > 10 * sum(shard.record_count for shard in stream.shards())
    (attempt,) = futures[0].result().attempts
    assert attempt.error_code is None
    assert attempt.delay_ms >= 0 <= attempt.duration_ms


def test_one_record_is_sent_when_its_time_is_up(store):
    """A record that stays alone goes raw, once it was buffered as long as it may be, without a flush."""
    stream = store.create_stream("s")
    with Producer(stream, record_max_buffered_time=50) as producer:
        result = producer.put_record(b"alone", "k", 7).result(timeout=30)
        assert result.attempts[0].delay_ms >= 50
    (record,) = stream.read()
    assert (record.data, record.partition_key, record.explicit_hash_key) == (b"alone", "k", 7)
    assert record.sequence_number == result.sequence_number


def test_a_full_aggregate_does_not_wait(store):
    """What fills an aggregate goes at once; the rest waits for more."""
    stream = store.create_stream("s")
    with Producer(stream, record_max_buffered_time=LONG, aggregation_max_size=1_000) as producer:
        futures = [producer.put_record(b"x" * 90, "k") for _ in range(25)]
        assert futures[0].result(timeout=30).sub_sequence_number == 0
        assert not futures[-1].done()
    assert futures[-1].done()
    sizes = [len(record.data) for record in stream.read()]
    assert max(sizes) <= 1_000 < sum(sizes)


def test_without_aggregation_every_record_goes_raw(store):
    """aggregation_enabled=False: keys and hash keys stand in the stream as they were given."""
    stream = store.create_stream("s", shard_count=2)
    with Producer(stream, aggregation_enabled=False) as producer:
        futures = producer.put_records([(b"a", "x"), (b"b", "y", 5), [bytearray(b"c"), "z", None]])
    records = {record.sequence_number: record for record in stream.read()}
    found = [records[future.result().sequence_number] for future in futures]
    assert [(each.data, each.partition_key, each.explicit_hash_key) for each in found] == [
        (b"a", "x", None), (b"b", "y", 5), (b"c", "z", None),
    ]  # fmt: skip


def test_close_settles_everything(store):
    """At the return of close every future is done and every record stored, however long it might have waited."""
    stream = store.create_stream("s", shard_count=3)
    producer = Producer(stream, record_max_buffered_time=LONG)
    futures = [producer.put_record(b"%d" % number, str(number)) for number in range(100)]
    assert "100 outstanding" in repr(producer)
    producer.close()
    producer.close()
    assert producer.closed
    assert all(future.done() and future.exception() is None for future in futures)
    assert sorted(data(stream.read(deaggregate=True))) == sorted(b"%d" % number for number in range(100))
    with pytest.raises(errors.ClosedError, match="producer is closed"):
        producer.put_record(b"late", "k")


def test_a_forgotten_producer_and_the_end_of_a_program_lose_nothing(store, tmp_path):
    """A producer that nobody closed sends what it has when it is collected, and when the program ends."""
    stream = store.create_stream("s")
    producer = Producer(stream, record_max_buffered_time=LONG)
    future = producer.put_record(b"forgotten", "k")
    del producer
    assert future.result(timeout=30)
    program = (
        "import streamstore\n"
        f"store = streamstore.open({str(store.path)!r})\n"
        "producer = streamstore.Producer(store.stream('s'), record_max_buffered_time=60_000)\n"
        "producer.put_record(b'at the end', 'k')\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=60, env=environment)
    assert data(stream.read()) == [b"forgotten", b"at the end"]


def test_flush_waits_for_what_was_put_before(store):
    """flush returns once all before it is settled, though another thread goes on putting."""
    stream = store.create_stream("s")
    with Producer(stream, record_max_buffered_time=LONG) as producer:
        stop = threading.Event()

        def put_on():
            while not stop.is_set():
                producer.put_record(b"other", "k")
                time.sleep(0.001)

        thread = threading.Thread(target=put_on)
        thread.start()
        try:
            for _ in range(10):
                futures = [producer.put_record(b"mine", str(number)) for number in range(5)]
                producer.flush(timeout=30)
                assert all(future.done() for future in futures)
        finally:
            stop.set()
            thread.join()


class Gate:
    """A stream's target that stores nothing until it is opened."""

    def __init__(self, producer):
        self.open = threading.Event()
        self._put = producer._target.put
        producer._target.put = self

    def __call__(self, parcels):
        assert self.open.wait(30)
        return self._put(parcels)


def test_back_pressure(store):
    """With as much outstanding as may be a put waits; with a timeout it raises, and nothing of it is taken."""
    stream = store.create_stream("s")
    for limit in ({"max_outstanding_records": 10}, {"max_outstanding_bytes": 10}):
        with Producer(stream, **limit) as producer:
            gate = Gate(producer)
            for _ in range(10):
                producer.put_record(b"1", "k")
            assert (producer.outstanding_records, producer.outstanding_bytes) == (10, 10)
            with pytest.raises(errors.BackPressureError, match="10 user records of 10 bytes are outstanding"):
                producer.put_record(b"2", "k", timeout=0.05)
            with pytest.raises(TimeoutError, match="10 user records are still outstanding"):
                producer.flush(timeout=0.05)
            thread = threading.Thread(target=producer.put_record, args=(b"3", "k"))
            thread.start()
            gate.open.set()
            thread.join(30)
    assert data(stream.read(deaggregate=True)) == ([b"1"] * 10 + [b"3"]) * 2


def test_a_future_can_be_waited_for_in_every_way(store):
    """result, exception, await and callbacks all tell the same; a callback that raises is logged and stops nobody."""
    stream = store.create_stream("s")
    with Producer(stream, record_max_buffered_time=LONG) as producer:
        gate = Gate(producer)
        future = producer.put_record(b"1", "k")
        assert not future.done()
        assert "outstanding" in repr(future)
        for wait in (future.result, future.exception):
            with pytest.raises(TimeoutError, match="still outstanding"):
                wait(timeout=0.01)
        called = []
        future.add_done_callback(lambda each: 1 / 0)
        future.add_done_callback(called.append)

        async def wait_for_it():
            asyncio.get_running_loop().call_later(0.05, gate.open.set)
            asyncio.get_running_loop().run_in_executor(None, producer.flush)
            return await asyncio.wait_for(awaited(future), 30)

        async def awaited(each):
            return await each

        result = asyncio.run(wait_for_it())
        assert result == future.result() == asyncio.run(awaited(future))
        future.add_done_callback(called.append)
        assert called == [future, future]
        assert future.exception() is None
        assert "stored" in repr(future)


def test_resharding_loses_and_doubles_nothing(store):
    """Under splits and merges all the time each user record is stored once, in its own shard, in order of its key."""
    stream = store.create_stream("s", shard_count=2)
    with (
        Producer(stream, record_max_buffered_time=2, aggregation_max_size=400, preserve_order=True) as producer,
        Resharder(stream, 5) as resharder,
    ):
        futures = put_under_resharding(producer, resharder, 6_000, keys=20)
    results = [future.result() for future in futures]
    records = list(stream.read(deaggregate="strict"))
    assert len(records) == 6_000
    check_places(futures, places_of(records))
    check_order(records, keys=20)
    moved = [attempt for each in results for attempt in each.attempts if attempt.error_code]
    assert {attempt.error_code for attempt in moved} <= {"ShardClosedError"}
    assert len({each.shard_id for each in results}) > 4


def test_what_the_store_refuses_the_future_says(store):
    """A stream that was deleted: the future fails with the store's own error as its cause, and with its attempt."""
    stream = store.create_stream("s")
    other = store.create_stream("other")
    with Producer(stream) as producer, Producer(other) as unaffected:
        store.delete_stream("s")
        future = producer.put_record(b"1", "k")
        fine = unaffected.put_record(b"2", "k")
        with pytest.raises(errors.UserRecordFailedError, match="StreamNotFoundError") as raised:
            future.result(timeout=30)
        assert isinstance(raised.value.__cause__, errors.StreamNotFoundError)
        assert raised.value.code == raised.value.attempts[-1].error_code == "StreamNotFoundError"
        assert "failed: StreamNotFoundError" in repr(future)
        assert producer.outstanding_records == 0
        assert fine.result(timeout=30)
    assert producer.metrics()["ErrorsByCode"][0].dimension == "StreamNotFoundError"


def test_a_full_stream_is_tried_until_the_time_is_over(store):
    """What does not fit is tried again until record_ttl, then told as expired with all its attempts."""
    stream = store.create_stream("s", max_bytes=1 << 20, on_full="error", max_record_size=1 << 21)
    with Producer(stream, record_ttl=1_500, record_max_buffered_time=20) as producer:
        future = producer.put_record(b"x" * (3 << 19), "k")
        with pytest.raises(
            errors.UserRecordFailedError, match="Expired: it was not stored within record_ttl"
        ) as raised:
            future.result(timeout=30)
    codes = [attempt.error_code for attempt in raised.value.attempts]
    assert codes[-1] == "Expired"
    assert len(codes) > 2
    assert set(codes[:-1]) == {"StreamFullError"}


def test_a_mistake_of_ours_leaves_nobody_waiting(store, caplog):
    """Should the sender itself fail, every outstanding future fails with the reason, and close returns."""
    with Producer(store.create_stream("s"), record_max_buffered_time=LONG) as producer:
        futures = [producer.put_record(b"1", "k") for _ in range(5)]

        def broken(parcels):
            raise ZeroDivisionError("a mistake")

        producer._target.put = broken
        with caplog.at_level(logging.CRITICAL, logger="streamstore.producer"):
            producer.flush(timeout=30)
        for future in futures:
            assert future.exception(timeout=30).code == "InternalError"
            assert isinstance(future.exception().__cause__, ZeroDivisionError)
        assert producer.outstanding_records == 0
        with pytest.raises(errors.ClosedError):
            producer.put_record(b"2", "k")


BAD_RECORDS = [
    (("text", "k"), errors.InvalidTypeError, "data must be bytes"),
    ((b"", None), errors.InvalidTypeError, "partition_key must be str"),
    ((b"", ""), errors.InvalidArgumentError, "0 characters"),
    ((b"", "k" * 257), errors.InvalidArgumentError, "257 characters"),
    ((b"", "\ud800"), errors.InvalidArgumentError, "lone surrogate"),
    ((b"", "k", 1 << 128), errors.InvalidArgumentError, "2\\*\\*128"),
    ((b"", "k", -1), errors.InvalidArgumentError, "2\\*\\*128"),
    ((b"", "k", "5"), errors.InvalidTypeError, "explicit_hash_key must be an int"),
    ((b"x" * (1 << 20), "k"), errors.RecordTooLargeError, "1048577 bytes .* limit of 1048576"),
]


@pytest.mark.parametrize(("arguments", "error", "text"), BAD_RECORDS)
def test_a_bad_record_is_refused_at_once(store, arguments, error, text):
    """The call says exactly what is wrong with it; nothing is kept, and the next record is fine."""
    stream = store.create_stream("s")
    with Producer(stream) as producer:
        with pytest.raises(error, match=text):
            producer.put_record(*arguments)
        assert producer.outstanding_records == 0
        assert producer.put_record(b"fine", "schlüssel").result(timeout=30)
    assert data(stream.read()) == [b"fine"]


BAD_PRODUCERS = [
    (lambda stream: Producer(stream, record_ttl=0), errors.InvalidArgumentError, "record_ttl is 100 to"),
    (lambda stream: Producer(stream, record_ttl=1.5), errors.InvalidTypeError, "record_ttl is int, not float"),
    (lambda stream: Producer(stream, aggregation_enabled=1), errors.InvalidTypeError, "aggregation_enabled is bool"),
    (lambda stream: Producer(stream, metrics_level="all"), errors.InvalidArgumentError, "none or summary or detailed"),
    (lambda stream: Producer(stream, metrics_level=5), errors.InvalidTypeError, "metrics_level is str, not int"),
    (lambda stream: Producer(stream, min_connections=5), errors.InvalidTypeError, "connections are made when"),
    (lambda stream: Producer(stream, colection_max_count=5), errors.InvalidTypeError, "'colection_max_count'"),
    (lambda stream: Producer(stream, stream="s"), errors.InvalidArgumentError, "no other stream"),
    (lambda stream: Producer("ftp://host", "s"), errors.InvalidArgumentError, "no endpoint"),
    (lambda stream: Producer("http://host"), errors.InvalidTypeError, "stream is the name"),
    (lambda stream: Producer(5, "s"), errors.InvalidTypeError, "a Stream, a boto3 client or a URL, not int"),
]


@pytest.mark.parametrize(("call", "error", "text"), BAD_PRODUCERS)
def test_a_bad_producer_is_refused(store, call, error, text):
    """Knobs out of their range and targets that are none are told before a thread starts."""
    stream = store.create_stream("s")
    before = threading.active_count()
    with pytest.raises(error, match=text):
        call(stream)
    assert threading.active_count() == before


def test_bad_batches_are_refused(store):
    """A batch is a sequence of tuples; what stood before a bad entry is taken."""
    with Producer(store.create_stream("s")) as producer:
        for batch in (b"bytes", {"a": 1}, [b"no tuple"], [(b"", "k", 1, 2)], [(b"",)]):
            with pytest.raises(errors.InvalidTypeError):
                producer.put_records(batch)


def test_a_forked_child_makes_its_own(store):
    """In a forked child the producer says whose it is; the parent's goes on and loses nothing."""
    stream = store.create_stream("s")
    with Producer(stream, record_max_buffered_time=LONG) as producer:
        producer.put_record(b"parent", "k")
        pid = os.fork()
        if pid == 0:
            try:
                for call in (lambda: producer.put_record(b"child", "k"), producer.flush):
                    with pytest.raises(errors.ForkedError):
                        call()
                producer.close()
                os._exit(0)
            except BaseException:
                os._exit(1)
        assert os.waitpid(pid, 0)[1] == 0
    assert data(stream.read()) == [b"parent"]


def test_logging_goes_into_a_stream(store):
    """Two lines bring a program's log into a stream, with the logger's name as the key."""
    stream = store.create_stream("s")
    handler = streamstore.LogHandler(stream, level=logging.INFO)
    logger = logging.getLogger("app.part")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    try:
        handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
        logger.info("first %s", "Ö")
        logger.debug("not this")
        handler.flush()
        logger.warning("second")
    finally:
        logger.removeHandler(handler)
        handler.close()
    records = list(stream.read(deaggregate=True))
    assert [record.data.decode() for record in records] == ["INFO first Ö", "WARNING second"]
    assert records[0].partition_key == "app.part"
    handler.emit(logging.makeLogRecord({"name": "late", "msg": "late"}))
    assert handler.dropped_count == 1


def test_a_handler_never_waits(store):
    """Where nothing more may be outstanding a log record is dropped and counted; the program goes on."""
    stream = store.create_stream("s")
    with Producer(stream, max_outstanding_records=1) as producer:
        gate = Gate(producer)
        handler = streamstore.LogHandler(producer)
        for _ in range(5):
            handler.emit(logging.makeLogRecord({"name": "app", "msg": "m"}))
        assert handler.dropped_count == 4
        gate.open.set()
        handler.close()
        assert not producer.closed


def test_a_file_whose_lines_are_records(store):
    """What is written comes line by line; a rest becomes a record at flush; a line that fails is told at flush."""
    stream = store.create_stream("s")
    with Producer(stream) as producer:
        with RecordWriter(producer, "app.log") as file:
            assert file.writable()
            assert file.write(b"one\ntw") == 6
            file.write(memoryview(b"o\n\nrest"))
            file.flush()
            assert data(stream.read(deaggregate=True)) == [b"one", b"two", b"", b"rest"]
            file.write(b"last")
        with pytest.raises(ValueError, match="closed"):
            file.write(b"more")
        assert data(stream.read(deaggregate=True))[-1] == b"last"
        failing = RecordWriter(producer, "app.log")
        store.delete_stream("s")
        failing.write(b"lost\n")
        with pytest.raises(errors.UserRecordFailedError, match="StreamNotFoundError"):
            failing.flush()
        failing.close()


def test_nothing_of_a_settled_record_is_kept(store):
    """Futures that were given up, with callbacks and causes that refer back to them, are collected once let go of."""
    stream = store.create_stream("s")
    with Producer(stream, record_max_buffered_time=LONG) as producer:
        store.delete_stream("s")
        for _ in range(20):
            future = producer.put_record(b"x" * 1_000, "k")
            future.add_done_callback(lambda each, own=future: own)
        producer.flush()
        assert future.exception().code == "StreamNotFoundError"
        assert future._data is None
        del future
        gc.collect()
        assert [each for each in gc.get_objects() if isinstance(each, UserRecordFuture)] == []


def test_what_c_is_handed_is_checked(store):
    """The classes beneath the producer refuse what is none of theirs, and are made by nobody else."""
    with pytest.raises(TypeError, match="subclass of UserPut"):
        native.Intake(object, None, lambda: None, 0, 1, 1, 1)
    with pytest.raises(TypeError, match="must hold UserPut, not <class 'int'>"):
        native.settle([5], None)
    with pytest.raises(TypeError, match="must be a list"):
        native.settle((), None)
    for kind in (native.UserPut, UserRecordFuture):
        with pytest.raises(TypeError):
            kind()
    with Producer(store.create_stream("s")) as producer:
        future = producer.put_record(b"1", "k")
        producer.flush()
        with pytest.raises(AttributeError):
            del future._tries
        bundler = native.Bundler(None, 100, 1, 1 << 20)
        with pytest.raises(ValueError, match="is settled"):
            bundler.bundle([future])
