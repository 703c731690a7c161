"""PutRecords that the server's loop answers itself: the same answers as the long way, and never a wait."""

from __future__ import annotations

import json

import pytest

import streamstore
from streamstore import StreamNotFoundError
from streamstore.kinesis import at_once, wire
from streamstore.kinesis.service import Service
from streamstore.kinesis.wire import HttpRequest

pytest.importorskip("granian")
from streamstore.server.gate import Gate

HEADERS = {
    "content-type": "application/x-amz-json-1.1",
    "x-amz-target": at_once.TARGET,
    "x-amz-date": "20261121T160000Z",
    "authorization": "AWS4-HMAC-SHA256 Credential=any/20261121/us-east-1/kinesis/aws4_request, "
    "SignedHeaders=host;x-amz-date, Signature=" + "0" * 64,
}


def ask(name="s", data="aGVsbG8=", key="k", **more):
    body = {"StreamName": name, "Data": data, "PartitionKey": key, **more}
    return HttpRequest("POST", "/", "", HEADERS, json.dumps(body).encode())


@pytest.fixture
def gate(service):
    return Gate(service, None)


@pytest.fixture
def direct(service, gate):
    return at_once.AtOnce(service, gate.who)


@pytest.fixture
def put(service, gate, direct):
    """What the application does: at once if that can be, else the long way; says which."""

    def answer(request):
        response = direct.answer(request)
        if response is not None:
            return response, True
        response = wire.answer(service, request, gate.who, gate.allow)
        direct.learn()
        return response, False

    return answer


def stored(store, name="s"):
    return [(record.data, record.partition_key) for record in store.stream(name).read()]


def test_the_second_put_is_answered_at_once(store, put):
    """With what the first one taught: the answer names the record that is there."""
    store.create_stream("s", 2)
    store.stream("s").put_records([(b"warm", str(number)) for number in range(20)])
    first, quick = put(ask())
    assert (first.status, quick) == (200, False)
    second, quick = put(ask(data="d29ybGQ=", key="other"))
    assert (second.status, quick) == (200, True)
    assert second.headers[-1] == ("content-type", "application/x-amz-json-1.1")
    answer = json.loads(second.body)
    assert answer.keys() == json.loads(first.body).keys()
    record = store.stream("s").shard(answer["ShardId"]).get(answer["SequenceNumber"])
    assert (record.data, record.partition_key) == (b"world", "other")
    assert len(stored(store)) == 22


@pytest.mark.parametrize(
    "request_",
    [
        ask(name="t"),
        ask(data="AAA"),
        ask(key=""),
        ask(key="\u00e9"),
        ask(ExplicitHashKey="5"),
        ask(DryRun=True),
        ask(data="A" * (96 << 10)),
        ask()._replace(body=b"{"),
        ask()._replace(body=b""),
        ask()._replace(path="/x"),
        ask()._replace(method="PUT"),
        ask()._replace(headers={**HEADERS, "content-type": "application/x-amz-cbor-1.1"}),
        ask()._replace(headers={**HEADERS, "authorization": "nonsense"}),
        ask()._replace(headers={**HEADERS, "authorization": HEADERS["authorization"].replace("000", "xyz")}),
        ask()._replace(headers={name: value for name, value in HEADERS.items() if name != "x-amz-date"}),
    ],
)
def test_what_is_unusual_or_wrong_goes_the_long_way(store, put, direct, request_):
    """And leaves nothing behind where it was looked at."""
    store.create_stream("s", 1)
    put(ask())
    assert put(ask())[1]
    assert direct.answer(request_) is None
    assert len(stored(store)) == 2


@pytest.mark.parametrize("durability", ["sync", "interval"])
def test_only_a_put_that_waits_for_no_disk(store, put, durability):
    """A 200 of a sync stream is on the disk."""
    store.create_stream("s", 1, durability=durability)
    assert [put(ask())[1] for _ in range(3)] == [False, durability != "sync", durability != "sync"]
    assert len(stored(store)) == 3


def test_a_change_of_the_stream_is_seen_by_the_next_put(store, service, put):
    """Whoever makes it: nothing that was known before a catalog event is used after it."""
    kinesis = store.boto3_client()
    kinesis.create_stream(StreamName="s", ShardCount=1)
    put(ask())
    assert put(ask())[1]
    kinesis.split_shard(StreamName="s", ShardToSplit="shardId-000000000000", NewStartingHashKey="5")
    assert not put(ask())[1]
    kinesis.delete_stream(StreamName="s")
    assert put(ask())[0].status == 400
    with pytest.raises(StreamNotFoundError):
        store.stream("s")
    kinesis.create_stream(StreamName="s", ShardCount=1)
    assert [put(ask())[1] for _ in range(2)] == [False, True]
    assert len(stored(store)) == 2


def test_a_smaller_limit_holds_at_once(store, service, put):
    """A record that the stream no longer takes is refused, also when it would have been quick."""
    kinesis = store.boto3_client()
    kinesis.create_stream(StreamName="s", ShardCount=1)
    big = ask(data="A" * 8192)
    assert any(put(big)[1] for _ in range(5))
    store.delete_stream("s")
    store.create_stream("s", 1, max_record_size=100)
    assert put(big)[0].status == 400
    assert put(big)[0].status == 400
    assert stored(store) == []


@pytest.mark.parametrize("options", [{"limits": "aws"}, {"isolate": True}, {"delays_s": 0.001}])
def test_a_service_that_looks_at_more_never_answers_at_once(store, options):
    """Rates, accounts and delays are looked at the long way."""
    service = Service(store, **options)
    direct = at_once.AtOnce(service, Gate(service, None).who)
    store.create_stream("s", 1)
    store.stream("s").put_record(b"x", "k")
    direct._unknown.add("s")
    direct.learn()
    assert direct._known
    assert direct.answer(ask()) is None


@pytest.mark.parametrize("failing", ["success", "try_put_record"])
def test_a_put_whose_answer_cannot_be_made_is_not_put_again(store, service, put, direct, monkeypatch, failing):
    """Memory may run out behind the append: a client is told 500, and finds the record there once."""
    store.create_stream("s", 1)
    assert put(ask())[1] is False
    (known,) = direct._known.values()

    def fail(*arguments):
        if failing == "try_put_record":
            known.stream.put_record(*arguments)
        raise MemoryError

    where = at_once if failing == "success" else type(known.stream)
    monkeypatch.setattr(where, failing, lambda *arguments: fail(*arguments[-2:]))
    response, quick = put(ask(data="b25jZQ=="))
    assert (response.status, quick) == (500, True)
    assert json.loads(response.body)["__type"] == "InternalFailure"
    assert [data for data, _ in stored(store)] == [b"hello", b"once"]


def test_over_http_with_another_process_changing_streams(tmp_path):
    """A split in another handle between two puts: both answers are true."""
    from boto_clients import remote

    with streamstore.open(tmp_path / "d", durability="process") as store:
        store.create_stream("s", 1)
        with streamstore.serve_in_thread(store) as server:
            kinesis = remote(server.url)
            answers = [kinesis.put_record(StreamName="s", Data=b"a", PartitionKey="k") for _ in range(3)]
            with streamstore.open(tmp_path / "d") as other:
                other.stream("s").split_shard("shardId-000000000000")
            answers += [kinesis.put_record(StreamName="s", Data=b"a", PartitionKey="k") for _ in range(3)]
        for answer in answers:
            assert store.stream("s").shard(answer["ShardId"]).get(answer["SequenceNumber"]).data == b"a"
        assert len({answer["ShardId"] for answer in answers}) == 2
        assert len(stored(store)) == 6
