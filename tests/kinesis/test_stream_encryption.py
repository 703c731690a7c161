"""Encryption through the API: records are sealed on disk, and clients see KMS."""

from __future__ import annotations

import pytest
from boto_clients import no_retries
from botocore.exceptions import ClientError
from queue_calls import failure, make_queue, put, receive

import streamstore

pytest.importorskip("cryptography")
NEEDLE = b"needle-in-a-haystack"
KMS = {"StreamName": "s", "EncryptionType": "KMS", "KeyId": "alias/aws/kinesis"}


def on_disk(tmp_path):
    return any(NEEDLE in path.read_bytes() for path in (tmp_path / "store").rglob("*") if path.is_file())


def records(kinesis):
    iterator = kinesis.get_shard_iterator(StreamName="s", ShardId="0", ShardIteratorType="TRIM_HORIZON")[
        "ShardIterator"
    ]
    return kinesis.get_records(ShardIterator=iterator)["Records"]


def test_records_are_sealed_while_encryption_is_on(kinesis, store, tmp_path):
    """Any KeyId will do; what clients are told, and what is on disk; a reopen reads it with the same ring."""
    kinesis.create_stream(StreamName="s", ShardCount=1)
    kinesis.start_stream_encryption(**KMS)
    kinesis.start_stream_encryption(**KMS)
    shown = kinesis.describe_stream(StreamName="s")["StreamDescription"]
    assert (shown["EncryptionType"], shown["KeyId"]) == ("KMS", "alias/aws/kinesis")
    put = {"StreamName": "s", "Data": NEEDLE, "PartitionKey": "k"}
    assert kinesis.put_record(**put)["EncryptionType"] == "KMS"
    entries = [{"Data": NEEDLE, "PartitionKey": "k"}]
    assert kinesis.put_records(StreamName="s", Records=entries)["EncryptionType"] == "KMS"
    assert [(item["Data"], item["EncryptionType"]) for item in records(kinesis)] == [(NEEDLE, "KMS")] * 2
    assert not on_disk(tmp_path)
    kinesis.start_stream_encryption(**{**KMS, "KeyId": "alias/other"})
    assert len(store.stream("s").encryption.keys) == 2
    kinesis.stop_stream_encryption(**KMS)
    assert kinesis.describe_stream(StreamName="s")["StreamDescription"]["EncryptionType"] == "NONE"
    assert "EncryptionType" not in kinesis.put_record(**put)
    assert on_disk(tmp_path)
    assert len(records(kinesis)) == 3
    store.close()
    with streamstore.open(tmp_path / "store", key_ring=tmp_path / "keys") as again:
        assert len(records(again.boto3_client())) == 3


def test_without_a_ring_there_is_no_key(tmp_path):
    """The error is KMS's, and nothing changed."""
    with streamstore.open(tmp_path / "other") as store:
        kinesis = store.boto3_client()
        kinesis.create_stream(StreamName="s", ShardCount=1)
        with pytest.raises(ClientError, match="KMSNotFoundException"):
            kinesis.start_stream_encryption(**KMS)
        assert kinesis.describe_stream(StreamName="s")["StreamDescription"]["EncryptionType"] == "NONE"


def test_a_queue_over_an_encrypted_stream_needs_its_key(store, tmp_path):
    """With the ring it gives what was put; without it the error is KMS's, and no record is passed over."""
    kinesis = store.boto3_client()
    kinesis.create_stream(StreamName="s", ShardCount=1)
    kinesis.start_stream_encryption(**KMS)
    arn = make_queue(kinesis, VisibilityTimeoutSeconds=0)
    put(kinesis, NEEDLE, b"second")
    assert [item["Data"] for item in receive(kinesis, arn, Limit=1)] == [NEEDLE]
    assert not on_disk(tmp_path)
    store.close()
    with streamstore.open(tmp_path / "store") as keyless:
        kinesis = keyless.boto3_client(config=no_retries())
        for _ in range(3):
            assert failure(kinesis.receive_queue_records, QueueARN=arn) == "KMSInvalidStateException"
    with streamstore.open(tmp_path / "store", key_ring=tmp_path / "keys") as again:
        kinesis = again.boto3_client()
        found = receive(kinesis, arn, VisibilityTimeoutSeconds=9)
        assert [(item["Data"], item["ReceiveCount"]) for item in found] == [(NEEDLE, 2), (b"second", 1)]
