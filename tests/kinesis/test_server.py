"""The HTTP server: starting, where it may listen, hosts, stopping, and both doors on one store at once."""

from __future__ import annotations

import http.client
import os
import signal
import threading
import time
from functools import partial

import pytest
from boto_clients import remote
from serving import check_each_once, killed_under, serve

import streamstore
from streamstore import errors

pytest.importorskip("granian")

from streamstore.server.serving import Listening


def get(url, path="/healthcheck", **headers):
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer


@pytest.fixture
def server(store):
    with streamstore.serve_in_thread(store) as running:
        yield running


@pytest.mark.parametrize(
    ("options", "refused"),
    [
        ({"host": "0.0.0.0"}, True),
        ({"host": "::"}, True),
        ({"host": "10.1.2.3", "credentials": "c"}, True),
        ({"host": "example.com", "certificate": "c", "key": "k"}, True),
        ({"certificate": "c"}, True),
        ({"port": 70_000}, True),
        ({"host": "0.0.0.0", "insecure": True}, False),
        ({"host": "10.1.2.3", "credentials": "c", "certificate": "c", "key": "k"}, False),
        ({"host": "127.0.0.9"}, False),
        ({"host": "::1"}, False),
        ({"host": "localhost"}, False),
    ],
)
def test_it_listens_to_a_network_only_with_authentication_and_tls(options, refused):
    """Unless somebody says --insecure."""
    if not refused:
        assert Listening(**options).check() is None
        return
    with pytest.raises(errors.InvalidArgumentError):
        Listening(**options).check()


def test_a_taken_port_is_refused(store, server):
    """Two servers never share a port in silence."""
    with pytest.raises(errors.StorageError, match="cannot listen"):
        streamstore.serve_in_thread(store, port=server.server.port)


def test_only_known_hosts_are_answered(store, server):
    """Names that a browser could be made to use are not, without --allow-host; there are no CORS headers."""
    assert (get(server.url).status, get(server.url, Host="localhost:1").status) == (200, 200)
    assert get(server.url, Host="evil.example").status == 421
    with streamstore.serve_in_thread(store, allowed_hosts=["kinesis.test"]) as other:
        assert get(other.url, Host="kinesis.test:4567").status == 200
    answer = get(server.url, "/", Origin="http://evil.example")
    assert answer.status == 403
    assert not any(name.lower().startswith("access-control") for name, _ in answer.getheaders())


def test_a_body_over_the_bound_is_refused_before_it_is_read(server):
    """By its Content-Length, or as soon as too much came."""
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=10)
    connection.putrequest("POST", "/")
    connection.putheader("Content-Length", str(1 << 40))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_both_doors_share_one_store(store, server, tmp_path):
    """Streams, numbers and iterators of one are good in the other, and in another handle on the directory."""
    over, inside = remote(server.url), store.boto3_client()
    over.create_stream(StreamName="s", ShardCount=1)
    iterator = inside.get_shard_iterator(StreamName="s", ShardId="0", ShardIteratorType="LATEST")["ShardIterator"]
    number = over.put_record(StreamName="s", Data=b"x", PartitionKey="k")["SequenceNumber"]
    with streamstore.open(tmp_path / "store") as other:
        other.stream("s").put_record(b"y", "k")
        assert other.stream("s").shard("shardId-000000000000").get(number).data == b"x"
    assert [item["Data"] for item in over.get_records(ShardIterator=iterator)["Records"]] == [b"x", b"y"]


def test_a_consumer_survives_a_restart_of_the_server(tmp_path):
    """In the middle of its iterators; the second server takes what the first handed out."""
    with streamstore.serve_in_thread(tmp_path / "d") as server:
        client, port = remote(server.url), server.server.port
        client.create_stream(StreamName="s", ShardCount=1)
        client.put_records(StreamName="s", Records=[{"Data": b"%d" % n, "PartitionKey": "k"} for n in range(4)])
        iterator = client.get_shard_iterator(StreamName="s", ShardId="0", ShardIteratorType="TRIM_HORIZON")
        answer = client.get_records(ShardIterator=iterator["ShardIterator"], Limit=2)
    with streamstore.serve_in_thread(tmp_path / "d", port=port):
        answer = client.get_records(ShardIterator=answer["NextShardIterator"])
        assert [item["Data"] for item in answer["Records"]] == [b"2", b"3"]


def test_stopping_ends_subscriptions_and_answers_what_is_under_way(store):
    """A subscriber's stream ends without an error, and stop() returns."""
    with streamstore.serve_in_thread(store) as server:
        client = remote(server.url)
        client.create_stream(StreamName="s", ShardCount=1)
        arn = client.describe_stream(StreamName="s")["StreamDescription"]["StreamARN"]
        consumer = client.register_stream_consumer(StreamARN=arn, ConsumerName="c")["Consumer"]["ConsumerARN"]
        events = client.subscribe_to_shard(ConsumerARN=consumer, ShardId="0", StartingPosition={"Type": "LATEST"})[
            "EventStream"
        ]
        found = []
        reader = threading.Thread(target=lambda: found.extend(events))
        reader.start()
        while server.service.subscriptions.count() == 0 or not found:
            time.sleep(0.01)
    reader.join(10)
    assert not reader.is_alive()
    assert found[0]["SubscribeToShardEvent"]["Records"] == []


def test_the_verb_serves_until_a_signal(tmp_path):
    """A ready line, an answer, exit code 0 at SIGTERM; what was acknowledged is there."""
    process, (url,) = serve(tmp_path / "d")
    client = remote(url)
    client.create_stream(StreamName="s", ShardCount=1)
    client.put_record(StreamName="s", Data=b"x", PartitionKey="k")
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    process.stdout.close()
    with streamstore.open(tmp_path / "d") as store:
        assert [record.data for record in store.stream("s").read()] == [b"x"]


def test_tls_beside_plain_http_with_a_certificate_of_its_own(tmp_path):
    """The certificate is made once, its key is ours alone, and boto3 trusts it when told to."""
    pytest.importorskip("cryptography")
    process, (plain, secure) = serve(tmp_path / "d", "--tls-port", "0")
    try:
        own = tmp_path / "d-tls"
        assert os.stat(own / "server.key").st_mode & 0o777 == 0o600
        remote(plain).create_stream(StreamName="s", ShardCount=1)
        assert remote(secure, verify=str(own / "server.crt")).list_streams()["StreamNames"] == ["s"]
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        process.stdout.close()


def test_every_200_is_on_disk_after_a_kill(tmp_path):
    """kill -9 under load from four clients: nothing acknowledged is lost, and no record comes twice."""
    with streamstore.open(tmp_path / "d") as store:
        store.create_stream("s", 2)

    def write(who, url, acknowledged):
        client = remote(url)
        for number in range(100_000):
            data = b"%d-%d" % (who, number)
            try:
                client.put_record(StreamName="s", Data=data, PartitionKey=str(number))
            except Exception:
                return
            acknowledged.append(data)

    acknowledged = killed_under([partial(write, who) for who in range(4)], tmp_path / "d", least=200)
    check_each_once(tmp_path / "d", "s", acknowledged)
