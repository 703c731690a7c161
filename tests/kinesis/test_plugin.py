"""The pytest plugin, as another project's tests use it."""

from __future__ import annotations

from importlib.metadata import entry_points

import pytest

pytest_plugins = ["pytester"]
pytest.importorskip("granian")

# Where the package is installed its entry point is enough, and to name the plugin again is an error.
INSTALLED = any(found.value == "streamstore.pytest_plugin" for found in entry_points(group="pytest11"))
PLUGIN = [] if INSTALLED else ["-p", "streamstore.pytest_plugin"]

TESTS = """
import boto3
import pytest

SHARD = "shardId-000000000000"


def start(kinesis):
    kinesis.create_stream(StreamName="s", ShardCount=1)
    return kinesis.get_shard_iterator(StreamName="s", ShardId=SHARD, ShardIteratorType="TRIM_HORIZON")["ShardIterator"]


def put(kinesis, count=1):
    return kinesis.put_records(StreamName="s", Records=[{"Data": b"x", "PartitionKey": "k"}] * count)


def test_records_age_and_iterators_expire(kinesis, streamstore_clock):
    kept = start(kinesis)
    put(kinesis)
    streamstore_clock.advance(minutes=6)
    with pytest.raises(kinesis.exceptions.ExpiredIteratorException):
        kinesis.get_records(ShardIterator=kept)
    for hours, left in ((1, 1), (24, 0)):
        streamstore_clock.advance(hours=hours)
        again = kinesis.get_shard_iterator(StreamName="s", ShardId=SHARD, ShardIteratorType="TRIM_HORIZON")
        assert len(kinesis.get_records(ShardIterator=again["ShardIterator"])["Records"]) == left


def test_both_doors_share_the_store(kinesis, kinesis_server):
    start(kinesis)
    options = {"region_name": "us-east-1", "aws_access_key_id": "a", "aws_secret_access_key": "b"}
    remote = boto3.client("kinesis", endpoint_url=kinesis_server, **options)
    assert remote.list_streams()["StreamNames"] == ["s"]
    remote.close()


def test_entries_fail_by_rule(kinesis, streamstore_faults):
    start(kinesis)
    streamstore_faults.fail_every(3)
    answer = put(kinesis, 7)
    assert [place for place, item in enumerate(answer["Records"]) if "ErrorCode" in item] == [2, 5]
    assert answer["FailedRecordCount"] == 2
    streamstore_faults.clear()
    streamstore_faults.throttle("s")
    answer = put(kinesis, 2)
    assert [item["ErrorCode"] for item in answer["Records"]] == ["ProvisionedThroughputExceededException"] * 2
    text = "Rate exceeded for shard " + SHARD + " in stream s under account 000000000000."
    assert answer["Records"][0]["ErrorMessage"] == text


def test_an_answer_is_lost_after_the_commit(kinesis, streamstore_faults):
    kept = start(kinesis)
    streamstore_faults.drop_answers("PutRecord")
    kinesis.put_record(StreamName="s", Data=b"x", PartitionKey="k")  # boto3 tries again: the record is there twice
    assert len(kinesis.get_records(ShardIterator=kept)["Records"]) == 2


def test_some_requests_fail_by_the_die(kinesis, streamstore_faults, kinesis_service):
    from botocore.config import Config
    from streamstore.kinesis.door import client

    once = client(kinesis_service.store, service=kinesis_service, config=Config(retries={"total_max_attempts": 1}))
    streamstore_faults.fail_some("ListStreams", 0.5, "LimitExceededException")
    outcomes = []
    for _ in range(12):
        try:
            once.list_streams()
            outcomes.append("o")
        except once.exceptions.LimitExceededException:
            outcomes.append("x")
    print("OUTCOMES", "".join(outcomes))
    assert 2 < outcomes.count("x") < 10
"""


def test_the_fixtures_do_what_they_promise(pytester, monkeypatch):
    """Clock, faults, both doors; the same seed gives the same faults."""
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    pytester.makepyfile(TESTS)
    outcomes = []
    for seed in ("1", "1", "2"):
        options = [*PLUGIN, "--streamstore-seed", seed, "-s", "-p", "no:cacheprovider"]
        result = pytester.runpytest_subprocess(*options)
        result.assert_outcomes(passed=5)
        outcomes += [line for line in result.outlines if "OUTCOMES" in line]
    assert outcomes[0] == outcomes[1] != outcomes[2]
