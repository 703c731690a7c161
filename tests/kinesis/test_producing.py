"""The producer through the Kinesis API: throttled, resharded, cut off, and every future tells the truth."""

from __future__ import annotations

import random
import time

import pytest
from boto_clients import no_retries
from producing import Resharder, check_order, check_places, places_of, put_under_resharding

import streamstore
from streamstore import errors
from streamstore.producer import Producer


def make(kinesis, store, shards=2, **mode):
    """A stream by the API; its own object."""
    kinesis.create_stream(StreamName="s", **(mode or {"ShardCount": shards}))
    return store.stream("s")


def test_each_future_says_where_its_record_stands(kinesis, store):
    """Through either door a reader finds each record where its future says, in aggregates of its own shard."""
    stream = make(kinesis, store, 4)
    with Producer(kinesis, "s", record_max_buffered_time=60_000) as producer:
        futures = [producer.put_record(b"%d" % number, f"key-{number % 17}") for number in range(3_000)]
        producer.flush(timeout=60)
    places = places_of(stream.read(deaggregate="strict"))
    check_places(futures, places)
    assert len(places) == 3_000 > 50 * sum(shard.record_count for shard in stream.shards())


def test_an_arn_names_the_stream_too(kinesis, store):
    """The stream may be given by its ARN."""
    stream = make(kinesis, store)
    arn = kinesis.describe_stream_summary(StreamName="s")["StreamDescriptionSummary"]["StreamARN"]
    with Producer(kinesis, arn, aggregation_enabled=False) as producer:
        future = producer.put_record(b"1", "k", 1 << 127)
    (record,) = stream.read()
    assert (record.data, record.partition_key, record.explicit_hash_key) == (b"1", "k", 1 << 127)
    assert future.result().sequence_number == record.sequence_number


def test_an_unknown_stream_is_told_by_the_call(kinesis):
    """There is no producer for a stream that is not there."""
    with pytest.raises(errors.StreamNotFoundError, match="Stream nowhere under account"):
        Producer(kinesis, "nowhere")


def test_a_stream_that_places_records_itself_takes_no_aggregates(kinesis, store):
    """On an AUTO stream aggregation is refused, by the API and embedded; without it every record is stored."""
    stream = make(kinesis, store, StreamModeDetails={"StreamMode": "ON_DEMAND"}, RecordDistributionStrategy="AUTO")
    for arguments in ((kinesis, "s"), (stream,)):
        with pytest.raises(errors.InvalidArgumentError, match="AUTO"):
            Producer(*arguments)
        with Producer(*arguments, aggregation_enabled=False) as producer:
            futures = [producer.put_record(b"%d" % number, "k") for number in range(20)]
        assert all(future.result() for future in futures)
    assert len(list(stream.read())) == 40


@pytest.fixture
def limited(store):
    """A client under the service's own rates."""
    return store.boto3_client(limits="aws", config=no_retries())


def test_throttled_records_are_tried_again(limited, store):
    """At several times the service's rate everything is stored once in the end, and the attempts say what happened."""
    limited.create_stream(StreamName="s", ShardCount=1)
    time.sleep(0.1)
    stream = store.stream("s")
    with Producer(limited, "s", aggregation_enabled=False, rate_limit=0, record_max_buffered_time=20) as producer:
        futures = [producer.put_record(b"%d" % number, "k") for number in range(2_500)]
    results = [future.result() for future in futures]
    assert sorted(int(record.data) for record in stream.read()) == list(range(2_500))
    codes = {attempt.error_code for result in results for attempt in result.attempts}
    assert codes == {None, "ProvisionedThroughputExceededException"}
    assert all(result.attempts[-1].error_code is None for result in results)
    metrics = producer.metrics()
    assert metrics["AllErrors"][0].sum == sum(len(result.attempts) - 1 for result in results)
    assert metrics["RetriesPerRecord"][0].sum == metrics["AllErrors"][0].sum


def test_the_rate_limit_keeps_below_the_services(limited, store):
    """With a rate limit under the service's own nothing is ever throttled."""
    limited.create_stream(StreamName="s", ShardCount=1)
    time.sleep(0.1)
    with Producer(limited, "s", aggregation_enabled=False, rate_limit=20, record_max_buffered_time=10) as producer:
        begun = time.monotonic()
        for number in range(600):  # the bucket holds 200; the rest takes two seconds
            producer.put_record(b"%d" % number, "k")
        producer.flush(timeout=60)
        assert time.monotonic() - begun > 1.5
    assert "AllErrors" not in producer.metrics()
    assert store.stream("s").shard("shardId-000000000000").record_count == 600


def test_fail_if_throttled_tells_at_once(limited, store):
    """A throttled record fails at its first try, and is not stored."""
    limited.create_stream(StreamName="s", ShardCount=1)
    time.sleep(0.1)
    knobs = {"aggregation_enabled": False, "rate_limit": 0, "fail_if_throttled": True}
    with Producer(limited, "s", **knobs) as producer:
        futures = [producer.put_record(b"%d" % number, "k") for number in range(2_500)]
    failed = [future for future in futures if future.exception() is not None]
    assert failed
    assert {future.exception().code for future in failed} == {"ProvisionedThroughputExceededException"}
    assert {len(future.attempts) for future in failed} == {1}
    assert len(list(store.stream("s").read())) == 2_500 - len(failed)


def test_a_split_that_nobody_told_of(kinesis, store):
    """Aggregates for a shard that was split meanwhile: strays are seen by where the service put them, and all of such
    an aggregate goes in again. Readers by the KCL's rule see each user record once; nobody misses one.
    """
    stream = make(kinesis, store, 1)
    with Producer(kinesis, "s", record_max_buffered_time=60_000) as producer:
        futures = [producer.put_record(b"%d" % number, f"key-{number}") for number in range(500)]
        store.stream("s").split_shard("shardId-000000000000")
        producer.flush(timeout=60)
        futures += [producer.put_record(b"%d" % number, f"key-{number}") for number in range(500, 1_000)]
    strict = list(stream.read(deaggregate="strict"))
    assert sorted(int(record.data) for record in strict) == list(range(1_000))
    places = places_of(stream.read(deaggregate="strict"))
    check_places(futures, places)
    wrong = [future for future in futures if future.attempts[0].error_code == "Wrong Shard"]
    # Those were stored twice: once where no reader by the KCL's rule sees them. They are counted.
    everything = list(stream.read(deaggregate=True))
    assert len(everything) == 1_000 + len(wrong)
    errors_by_code = {each.dimension: each.sum for each in producer.metrics().get("ErrorsByCode", [])}
    assert errors_by_code.get("Wrong Shard", 0) == len(wrong) > 0


def test_resharding_all_the_time(store):
    """Under splits and merges all the time each user record is seen once by the KCL's rule, in order of its key."""
    client = store.boto3_client(config=no_retries())
    client.create_stream(StreamName="s", ShardCount=2)
    stream = store.stream("s")
    knobs = {"record_max_buffered_time": 2, "aggregation_max_size": 300, "preserve_order": True, "max_connections": 3}
    with Producer(client, "s", **knobs) as producer, Resharder(stream, 4) as resharder:
        futures = put_under_resharding(producer, resharder, 3_000, keys=12)
    records = list(stream.read(deaggregate="strict"))
    assert len(records) == 3_000
    check_places(futures, places_of(records))
    check_order(records, keys=12)
    assert len({future.result().shard_id for future in futures}) > 4


class Cut:
    """A client whose PutRecords may fail before anything is stored, after it, or for some of the records."""

    def __init__(self, client, seed):
        self._client = client
        self._chance = random.Random(seed)
        self.lost_answers = 0  # user data that was stored and said to have failed
        self.calls = 0

    def __getattr__(self, name):
        return getattr(self._client, name)

    def put_records(self, **request):
        self.calls += 1
        kind = self._chance.randrange(6)
        time.sleep(self._chance.random() * 0.01)
        if kind == 0:
            raise ConnectionError("before")
        if kind == 1:  # the service refuses some
            answer = self._client.put_records(**{**request, "Records": request["Records"][::2]})
            records = [{"ErrorCode": "InternalFailure", "ErrorMessage": "half"}] * len(request["Records"])
            records[::2] = answer["Records"]
            return {"FailedRecordCount": len(records) // 2, "Records": records}
        answer = self._client.put_records(**request)
        if kind == 2:
            self.lost_answers += len(request["Records"])
            raise ConnectionError("after")
        return answer


@pytest.mark.parametrize("aggregated", [True, False])
def test_a_bad_network_loses_nothing(store, aggregated):
    """Requests that fail before they arrive, half-way and after: every record is stored, and doubled only where an
    answer was lost, as the service's own contract has it. The attempts of those say so.
    """
    client = Cut(store.boto3_client(config=no_retries()), seed=4)
    client.create_stream(StreamName="s", ShardCount=3)
    stream = store.stream("s")
    knobs = {"record_max_buffered_time": 5, "aggregation_max_size": 500, "aggregation_enabled": aggregated}
    with Producer(client, "s", **knobs) as producer:
        futures = []
        for number in range(1_500):
            futures.append(producer.put_record(b"%d" % number, f"key-{number}"))
            if number % 40 == 0:
                time.sleep(0.003)
        producer.flush(timeout=90)
    places = places_of(stream.read(deaggregate="strict"))
    check_places(futures, places)
    doubled = len(places) - 1_500
    lost = [each for future in futures for each in future.attempts if each.error_code == "ConnectionError"]
    assert doubled <= len(lost)
    assert client.lost_answers > 0 < doubled
    if not aggregated:
        assert doubled == client.lost_answers


def test_order_holds_over_a_bad_network(store):
    """With preserve_order the last copy of each record stands in the order of the puts, whatever failed in between."""
    client = Cut(store.boto3_client(config=no_retries()), seed=9)
    client.create_stream(StreamName="s", ShardCount=2)
    stream = store.stream("s")
    knobs = {"record_max_buffered_time": 2, "aggregation_max_size": 200, "preserve_order": True}
    with Producer(client, "s", **knobs) as producer:
        futures = []
        for number in range(600):
            futures.append(producer.put_record(b"%d" % number, f"key-{number % 6}"))
            if number % 20 == 0:
                time.sleep(0.002)
        producer.flush(timeout=90)
    order = {}
    for place, record in enumerate(stream.read(deaggregate="strict")):
        order.setdefault(record.partition_key, {})[int(record.data)] = place  # the last copy of each
    for key, places in order.items():
        assert [number for number, _ in sorted(places.items(), key=lambda each: each[1])] == sorted(places), key
    assert sum(map(len, order.values())) == 600 == len([future.result() for future in futures])
    assert client.lost_answers > 0


def test_a_bad_record_in_a_batch_spoils_no_other(store):
    """Where the service refuses a request for what one record is, the others go in, and that one's future says why."""

    class Picky(Cut):
        def put_records(self, **request):
            from botocore.exceptions import ClientError

            if any(record["Data"] == b"bad" for record in request["Records"]):
                said = {"Code": "ValidationException", "Message": "no"}
                raise ClientError({"Error": said}, "PutRecords")
            return self._client.put_records(**request)

    client = Picky(store.boto3_client(config=no_retries()), seed=1)
    client.create_stream(StreamName="s", ShardCount=1)
    with Producer(client, "s", aggregation_enabled=False) as producer:
        futures = producer.put_records([(b"a", "k"), (b"bad", "k"), (b"b", "k")])
    assert [future.exception() is None for future in futures] == [True, False, True]
    assert futures[1].exception().code == "ValidationException"
    assert [record.data for record in store.stream("s").read()] == [b"a", b"b"]


def test_server_restarts(store):
    """A server that goes and comes back on its port: what was put meanwhile is stored once it is there again."""
    pytest.importorskip("granian")
    store.create_stream("s", shard_count=2)
    server = streamstore.serve_in_thread(store)
    port = int(server.url.rpartition(":")[2])
    options = {"region_name": "us-east-1", "aws_access_key_id": "a", "aws_secret_access_key": "b"}
    knobs = {"record_max_buffered_time": 5, "request_timeout": 2_000, "connect_timeout": 1_000}
    with Producer(server.url, "s", client_options=options, **knobs) as producer:
        futures = []
        for _ in range(3):
            for number in range(200):
                futures.append(producer.put_record(b"%d" % len(futures), f"key-{number}"))
            time.sleep(0.05)
            server.stop()
            futures += [producer.put_record(b"%d" % len(futures), "away")]
            time.sleep(0.2)
            server = streamstore.serve_in_thread(store, port=port)
        try:
            producer.flush(timeout=60)
        finally:
            server.stop()
    places = places_of(store.stream("s").read(deaggregate="strict"))
    check_places(futures, places)
    again = [future for future in futures if len(future.attempts) > 1]
    assert len(places) - 603 <= len(again) > 0


def test_what_is_cut_off_for_good_expires(store):
    """Nobody answers: each future fails once its time is over, and says what was tried."""

    class Dead(Cut):
        def put_records(self, **request):
            raise ConnectionError("nobody there")

    client = Dead(store.boto3_client(config=no_retries()), seed=1)
    client.create_stream(StreamName="s", ShardCount=1)
    with Producer(client, "s", record_ttl=2_000, record_max_buffered_time=20) as producer:
        futures = [producer.put_record(b"1", "k") for _ in range(10)]
    for future in futures:
        assert future.exception().code == "Expired"
        codes = [attempt.error_code for attempt in future.attempts]
        assert set(codes[:-1]) == {"ConnectionError"}
        assert codes[-1] == "Expired"
    assert list(store.stream("s").read()) == []
