"""kill -9 of the server under load from eight clients, again and again: every HTTP 200 is on disk, none of it twice."""

from __future__ import annotations

import random
from functools import partial

import pytest
from serving import check_each_once, killed_under

import streamstore

boto3 = pytest.importorskip("boto3")
pytest.importorskip("granian")
pytestmark = pytest.mark.stress
CLIENTS, ROUNDS = 8, 10


def client(url):
    from botocore.config import Config

    credentials = {"aws_access_key_id": "any", "aws_secret_access_key": "any", "region_name": "us-east-1"}
    return boto3.client("kinesis", endpoint_url=url, config=Config(retries={"total_max_attempts": 1}), **credentials)


def write(who, url, acknowledged):
    kinesis = client(url)
    try:
        for number in range(1_000_000):
            names = [f"{who}-{number}-{place}".encode() for place in range(5)]
            entries = [{"Data": name, "PartitionKey": name.decode()} for name in names]
            answer = kinesis.put_records(StreamName="s", Records=entries)
            acknowledged += [name for name, item in zip(names, answer["Records"], strict=True) if "ShardId" in item]
    except Exception:
        return  # the server was killed
    finally:
        kinesis.close()


def test_every_200_is_on_disk(tmp_path):
    """Over ten kills at random moments of one store's life, in `sync`."""
    dice = random.Random(1)
    acknowledged: list[bytes] = []
    with streamstore.open(tmp_path / "d") as store:
        store.create_stream("s", 4)
    for turn in range(ROUNDS):
        clients = [partial(write, f"{turn}-{who}") for who in range(CLIENTS)]
        acknowledged += killed_under(clients, tmp_path / "d", least=50, longer=dice.random())
    check_each_once(tmp_path / "d", "s", acknowledged)
