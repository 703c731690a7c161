"""boto3 in process: the tutorials run, and nothing of the environment or the network is touched."""

from __future__ import annotations

import json
import socket

import pytest
from boto_clients import remote

import streamstore
from streamstore import errors


@pytest.fixture
def hostile(monkeypatch):
    """An environment that would send a client elsewhere, and a network that must not be used."""
    for name, value in {
        "AWS_PROFILE": "nobody",
        "AWS_DEFAULT_REGION": "mars-1",
        "AWS_REGION": "mars-1",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ENDPOINT_URL_KINESIS": "http://127.0.0.1:1",
        "AWS_CONFIG_FILE": "/nonexistent/config",
        "AWS_ACCESS_KEY_ID": "real",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_SESSION_TOKEN": "token",
        "AWS_DEFAULTS_MODE": "auto",
        "AWS_USE_FIPS_ENDPOINT": "true",
        "AWS_USE_DUALSTACK_ENDPOINT": "true",
        "AWS_RETRY_MODE": "adaptive",
        "AWS_MAX_ATTEMPTS": "99",
        "AWS_CA_BUNDLE": "/nonexistent/ca.pem",
        "AWS_DATA_PATH": "/nonexistent/models",
        "HTTP_PROXY": "http://127.0.0.1:1",
    }.items():
        monkeypatch.setenv(name, value)

    def refuse(*arguments, **options):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def tutorial(kinesis):
    """The producer and the consumer of any tutorial, without a line that knows where they run."""
    kinesis.create_stream(StreamName="clicks", ShardCount=1)
    kinesis.get_waiter("stream_exists").wait(StreamName="clicks")
    for number in range(12):
        kinesis.put_record(StreamName="clicks", Data=json.dumps({"n": number}), PartitionKey=str(number))
    shards = kinesis.describe_stream(StreamName="clicks")["StreamDescription"]["Shards"]
    iterator = kinesis.get_shard_iterator(
        StreamName="clicks", ShardId=shards[0]["ShardId"], ShardIteratorType="TRIM_HORIZON"
    )["ShardIterator"]
    found, sizes = [], []
    while True:
        answer = kinesis.get_records(ShardIterator=iterator, Limit=5)
        if not answer["Records"]:
            break
        sizes.append(len(answer["Records"]))
        found += [json.loads(record["Data"])["n"] for record in answer["Records"]]
        iterator = answer["NextShardIterator"]
    assert (found, sizes) == (list(range(12)), [5, 5, 2])
    assert answer["MillisBehindLatest"] == 0


def test_the_tutorial_runs_over_http(tmp_path):
    """With nothing but an endpoint and any credentials."""
    pytest.importorskip("granian")
    with streamstore.serve_in_thread(tmp_path / "d") as server:
        tutorial(remote(server.url))


def test_the_tutorial_runs_in_a_hostile_environment(tmp_path, hostile):
    """Create, put JSON, describe, TRIM_HORIZON, get_records with Limit 5 in a loop: without environment or network."""
    kinesis = streamstore.boto3_client(tmp_path, durability="process")
    assert kinesis.meta.region_name == "us-east-1"
    assert kinesis.meta.endpoint_url.endswith(".invalid")
    tutorial(kinesis)
    kinesis.close()


def test_the_store_is_open_while_its_client_is(tmp_path):
    """`streamstore.boto3_client` opens the store, and the client's close() closes it; what was written is there."""
    kinesis = streamstore.boto3_client(tmp_path)
    kinesis.create_stream(StreamName="s", ShardCount=1)
    kinesis.close()
    with pytest.raises(kinesis.exceptions.ClientError, match="InternalFailure"):
        kinesis.list_streams()
    with streamstore.open(tmp_path) as store:
        assert store.list_streams() == ["s"]


@pytest.mark.parametrize("name", ["endpoint_url", "verify", "use_ssl", "api_version"])
def test_options_that_would_lead_elsewhere_are_refused(store, name):
    """An endpoint makes no sense where no request leaves the process."""
    with pytest.raises(errors.InvalidArgumentError, match=name):
        store.boto3_client(**{name: "x"})


def test_without_boto3_it_says_which_extra_is_missing(store, monkeypatch):
    """The error names the extra."""
    monkeypatch.setitem(__import__("sys").modules, "boto3", None)
    with pytest.raises(errors.StreamStoreError, match=r"streamstore-kinesis\[boto3\]"):
        store.boto3_client()


def test_regions_are_one_view_and_arns_echo_the_callers(store):
    """Clients of two regions see the same streams, each under ARNs of its own region."""
    one, two = store.boto3_client(region_name="eu-west-1"), store.boto3_client(region_name="ap-south-1")
    one.create_stream(StreamName="s", ShardCount=1)
    arn = two.describe_stream(StreamName="s")["StreamDescription"]["StreamARN"]
    assert arn == "arn:aws:kinesis:ap-south-1:000000000000:stream/s"
    assert one.describe_stream(StreamARN=arn)["StreamDescription"]["StreamName"] == "s"


def test_isolated_accounts_and_regions_do_not_see_each_other(store):
    """With isolate, the credential scope says whose streams there are, and iterators of others are refused."""
    clients = [
        store.boto3_client(isolate=True, region_name=region, aws_access_key_id=account)
        for region, account in [("eu-west-1", "111111111111"), ("eu-west-1", "222222222222"), ("us-east-1", "1" * 12)]
    ]
    for kinesis in clients:
        kinesis.create_stream(StreamName="s", ShardCount=1)
    arns = [kinesis.describe_stream(StreamName="s")["StreamDescription"]["StreamARN"] for kinesis in clients]
    assert arns[1] == "arn:aws:kinesis:eu-west-1:222222222222:stream/s"
    assert len(set(arns)) == 3
    iterator = clients[0].get_shard_iterator(
        StreamName="s", ShardId="shardId-000000000000", ShardIteratorType="LATEST"
    )["ShardIterator"]
    with pytest.raises(clients[1].exceptions.ResourceNotFoundException):
        clients[1].get_records(ShardIterator=iterator)
    with pytest.raises(clients[1].exceptions.ResourceNotFoundException):
        clients[1].describe_stream(StreamARN=arns[0])


def test_two_handles_share_iterators(tmp_path):
    """What one client made another takes, in another handle on the same directory, also after a reopen."""
    first = streamstore.boto3_client(tmp_path)
    first.create_stream(StreamName="s", ShardCount=1)
    shard = "shardId-000000000000"
    iterator = first.get_shard_iterator(StreamName="s", ShardId=shard, ShardIteratorType="LATEST")["ShardIterator"]
    first.put_record(StreamName="s", Data=b"x", PartitionKey="k")
    second = streamstore.boto3_client(tmp_path)
    assert [record["Data"] for record in second.get_records(ShardIterator=iterator)["Records"]] == [b"x"]
    first.close()
    second.close()
    third = streamstore.boto3_client(tmp_path)
    assert len(third.get_records(ShardIterator=iterator)["Records"]) == 1
    third.close()
