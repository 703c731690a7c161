"""CBOR 1.1 byte by byte: requests as the Java SDK writes them, and the very bytes of answers."""

from __future__ import annotations

import pytest

from streamstore.kinesis import wire
from streamstore.kinesis.cbor_codec import CborCodec
from streamstore.kinesis.errors import ServiceError
from streamstore.kinesis.json_codec import JsonCodec
from streamstore.kinesis.validation import check
from streamstore.kinesis.values import Moment, RecordList, ResultList
from streamstore.kinesis.wire import HttpRequest

pytest.importorskip("cbor2")
CBOR = CborCodec()


def text(value):
    """A text string of fewer than 24 bytes, or of fewer than 256."""
    data = value.encode()
    return (bytes([0x60 + len(data)]) if len(data) < 24 else bytes([0x78, len(data)])) + data


REQUESTS = {
    "a put, in a map of known size": (
        "PutRecordInput",
        b"\xa3" + text("StreamName") + text("s") + text("Data") + b"\x43\x00\xff\x7f"
        + text("PartitionKey") + text("k"),
        {"StreamName": "s", "Data": b"\x00\xff\x7f", "PartitionKey": "k"},
    ),
    "a put, in a map without end": (
        "PutRecordInput",
        b"\xbf" + text("StreamName") + text("s") + text("Data") + b"\x40" + text("PartitionKey") + text("k") + b"\xff",
        {"StreamName": "s", "Data": b"", "PartitionKey": "k"},
    ),
    "a put without a key, which a null may stand for": (
        "PutRecordInput",
        b"\xbf" + text("StreamName") + text("s") + text("Data") + b"\x41x" + text("PartitionKey") + b"\xf6\xff",
        {"StreamName": "s", "Data": b"x"},
    ),
    "bytes in pieces": (
        "PutRecordInput",
        b"\xa2" + text("Data") + b"\x5f\x42ab\x41c\xff" + text("PartitionKey") + b"\x7f\x61k\x61l\xff",
        {"Data": b"abc", "PartitionKey": "kl"},
    ),
    "a list without end": (
        "PutRecordsInput",
        b"\xbf" + text("StreamName") + text("s") + text("Records") + b"\x9f"
        b"\xbf" + text("Data") + b"\x41a" + text("PartitionKey") + text("k") + b"\xff\xff\xff",
        {"StreamName": "s", "Records": [{"Data": b"a", "PartitionKey": "k"}]},
    ),
    "a time: milliseconds under tag 1": (
        "GetShardIteratorInput",
        b"\xbf" + text("StreamName") + text("s") + text("ShardId") + text("0") + text("ShardIteratorType")
        + text("AT_TIMESTAMP") + text("Timestamp") + b"\xc1\x1b\x00\x00\x01\x8b\xcf\xe5\x68\x7b\xff",
        {"StreamName": "s", "ShardId": "0", "ShardIteratorType": "AT_TIMESTAMP", "Timestamp": 1_700_000_000_123},
    ),
    "a time before 1970": (
        "GetShardIteratorInput",
        b"\xa4" + text("StreamName") + text("s") + text("ShardId") + text("0") + text("ShardIteratorType")
        + text("AT_TIMESTAMP") + text("Timestamp") + b"\xc1\x20",
        {"StreamName": "s", "ShardId": "0", "ShardIteratorType": "AT_TIMESTAMP", "Timestamp": -1},
    ),
    "an integer of every width": (
        "ListStreamsInput",
        b"\xa1" + text("Limit") + b"\x1b" + (100).to_bytes(8, "big"),
        {"Limit": 100},
    ),
    "a boolean": (
        "DeleteStreamInput",
        b"\xa2" + text("StreamName") + text("s") + text("EnforceConsumerDeletion") + b"\xf5",
        {"StreamName": "s", "EnforceConsumerDeletion": True},
    ),
    "a map of tags": (
        "AddTagsToStreamInput",
        b"\xa2" + text("StreamName") + text("s") + text("Tags") + b"\xa1" + text("a") + text("1"),
        {"StreamName": "s", "Tags": {"a": "1"}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_is_read_as_it_was_meant(name):
    """Definite and indefinite lengths, strings in pieces, times, nulls."""
    shape, body, expected = REQUESTS[name]
    assert check(shape, CBOR.decode(body), CBOR) == expected


REFUSED = {
    "base64 in the place of bytes": ("PutRecordInput", b"\xa1" + text("Data") + text("QUJD")),
    "seconds as a text": ("GetShardIteratorInput", b"\xa1" + text("Timestamp") + b"\xc1" + text("1700000000")),
    "a date by tag 0": ("GetShardIteratorInput", b"\xa1" + text("Timestamp") + b"\xc0" + text("2023-11-14T22:13:20Z")),
    "a number that is too large": ("ListStreamsInput", b"\xa1" + text("Limit") + b"\xc2\x49\x01" + bytes(8)),
    "a text in the place of a number": ("ListStreamsInput", b"\xa1" + text("Limit") + text("5")),
    "a list": ("ListStreamsInput", b"\x80"),
    "an end that does not come": ("ListStreamsInput", b"\xbf" + text("Limit") + b"\x05"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_another_type_is_a_serialization_error(name):
    """JSON's ways of writing blobs and times are not CBOR's."""
    shape, body = REFUSED[name]
    with pytest.raises(ServiceError, match="SerializationException"):
        check(shape, CBOR.decode(body), CBOR)


def test_the_bytes_of_an_answer():
    """Milliseconds under tag 1, bytes as bytes, an absent key left out; in the order in which they were given."""
    assert CBOR.encode({"A": "x", "B": [1, 256], "C": True, "D": Moment(1_700_000_000_123), "E": b"\x00\xff"}) == (
        b"\xa5" + text("A") + text("x") + text("B") + b"\x82\x01\x19\x01\x00" + text("C") + b"\xf5"
        + text("D") + b"\xc1\x1b\x00\x00\x01\x8b\xcf\xe5\x68\x7b" + text("E") + b"\x42\x00\xff"
    )  # fmt: skip


def test_the_bytes_of_records(store):
    """As GetRecords gives them: number, time, bytes, key; a record without a key has none."""
    stream = store.create_stream("s", 1)
    results = [stream.put_record(b"\x00\x01", "k"), stream.put_record(b"", None)]
    records = stream.last(2)
    expected = b"\xa1" + text("Records") + b"\x82"
    for result, record, (data, key) in zip(results, records, ((b"\x42\x00\x01", "k"), (b"\x40", None)), strict=True):
        expected += b"\xa4" if key else b"\xa3"
        expected += text("SequenceNumber") + text(result.sequence_number)
        expected += text("ApproximateArrivalTimestamp") + b"\xc1\x1b" + (record.arrival_us // 1000).to_bytes(8, "big")
        expected += text("Data") + data + (text("PartitionKey") + text(key) if key else b"")
    assert CBOR.encode({"Records": RecordList(records)}) == expected
    marked = CBOR.encode({"Records": RecordList(records[:1], encrypted=True)})
    assert marked.endswith(text("EncryptionType") + text("KMS"))


def test_the_bytes_of_results(store):
    """As PutRecords gives them, with an entry that failed among them."""
    result = store.create_stream("s", 1).put_record(b"x", "k")
    failed = ServiceError("ProvisionedThroughputExceededException", "slow down")
    one = b"\xa2" + text("SequenceNumber") + text(result.sequence_number) + text("ShardId") + text(result.shard_id)
    two = b"\xa2" + text("ErrorCode") + text(failed.type) + text("ErrorMessage") + text("slow down")
    answer = CBOR.encode({"FailedRecordCount": 1, "Records": ResultList([result, failed])})
    assert answer == b"\xa2" + text("FailedRecordCount") + b"\x01" + text("Records") + b"\x82" + one + two


def test_the_bytes_of_an_error(service):
    """The type in the body and in a header, the text beside it; named as in JSON."""
    for error, named in ((ServiceError("InvalidArgumentException", "no"), "message"),
                         (ServiceError("SerializationException", "no"), "Message")):  # fmt: skip
        answer = wire.failure(error, CBOR)
        assert answer.body == b"\xa2" + text("__type") + text(error.type) + text(named) + text("no")
        assert dict(answer.headers)["content-type"] == "application/x-amz-cbor-1.1"
        assert dict(answer.headers)["x-amzn-errortype"] == error.type
        plain = wire.failure(error, JsonCodec())
        assert plain.body == f'{{"__type":"{error.type}","{named}":"no"}}'.encode()


def test_a_question_in_cbor_is_answered_in_cbor(service):
    """Also where it is wrong."""
    headers = {"content-type": "application/x-amz-cbor-1.1", "x-amz-target": "Kinesis_20131202.ListStreams"}
    service.store.create_stream("s", 1)
    for body, start in ((b"\xa0", b"\xa3"), (b"\x80", b"\xa2" + text("__type") + text("SerializationException"))):
        request = HttpRequest("POST", "/", "", headers, body)
        answer = wire.answer(service, request, lambda *_: service.caller)
        assert dict(answer.headers)["content-type"] == "application/x-amz-cbor-1.1"
        assert answer.body.startswith(start)
