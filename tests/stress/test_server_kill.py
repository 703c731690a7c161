"""kill -9 of the server under load, again and again: all that clients put and saw over the wire, held to a history."""

from __future__ import annotations

import os
import random
import sys
import time
from functools import partial

import pytest
from running import STRESS
from serving import killed_under

import streamstore

sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from history import Found, History, check

boto3 = pytest.importorskip("boto3")
pytest.importorskip("granian")
CLIENTS, SHARDS, TOGETHER = 8, 4, 5


def client(url):
    from botocore.config import Config

    credentials = {"aws_access_key_id": "any", "aws_secret_access_key": "any", "region_name": "us-east-1"}
    return boto3.client("kinesis", endpoint_url=url, config=Config(retries={"total_max_attempts": 1}), **credentials)


def name_of(data):
    producer, n = data.split(b"-")
    return int(producer), int(n)


def write(history, producer, url, acknowledged):
    """Put batches until the server is gone."""
    kinesis = client(url)
    try:
        for first in range(0, 1_000_000, TOGETHER):
            names = [f"{producer}-{first + place}" for place in range(TOGETHER)]
            entries = [{"Data": name.encode(), "PartitionKey": name} for name in names]
            history.invoke(producer, first, first + TOGETHER, time.monotonic_ns())
            answer = kinesis.put_records(StreamName="s", Records=entries)
            at = time.monotonic_ns()
            for n, item in enumerate(answer["Records"], first):
                if "ShardId" in item:
                    history.ok(producer, n, item["ShardId"], int(item["SequenceNumber"]), at)
                    acknowledged.append(b"")
    except Exception:
        return  # the server was killed
    finally:
        kinesis.close()


def follow(history, places, url, acknowledged):
    """Read on in all shards behind the places where the one before stopped, until the server is gone."""
    kinesis = client(url)
    try:
        while True:
            for index in range(SHARDS):
                shard = f"shardId-{index:012d}"
                start = {"ShardIteratorType": "TRIM_HORIZON"}
                if shard in places:
                    number = places[shard]
                    start = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": number}
                at = kinesis.get_shard_iterator(StreamName="s", ShardId=shard, **start)["ShardIterator"]
                for item in kinesis.get_records(ShardIterator=at, Limit=100)["Records"]:
                    history.saw("follower", shard, *name_of(item["Data"]), int(item["SequenceNumber"]))
                    places[shard] = item["SequenceNumber"]
    except Exception:
        return
    finally:
        kinesis.close()


@pytest.mark.parametrize("rounds", [pytest.param(2, id="short"), pytest.param(10, id="long", marks=STRESS)])
def test_every_200_is_on_disk(tmp_path, rounds):
    """Kills at random moments of one store's life: what was acknowledged, or only seen, is there for good."""
    dice, history, places = random.Random(1), History(), {}
    with streamstore.open(tmp_path / "d") as store:
        store.create_stream("s", SHARDS)
    for turn in range(rounds):
        clients = [partial(write, history, turn * CLIENTS + who) for who in range(CLIENTS)]
        clients.append(partial(follow, history, places))
        killed_under(clients, tmp_path / "d", least=50, longer=dice.random())
    with streamstore.open(tmp_path / "d") as store:
        shards = {shard.id: [] for shard in store.stream("s").shards()}
        for record in store.stream("s").read():
            shards[record.shard_id].append(Found(int(record.sequence_number), name_of(record.data)))
    assert len(places) == SHARDS
    assert check(history, shards) == []
