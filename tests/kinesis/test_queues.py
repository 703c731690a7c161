"""Queues through the API: made, shown, listed, changed, deleted; what is refused; tags and policies."""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone

import pytest
from boto_clients import no_retries
from queue_calls import ARN, NOWHERE, dead_after, failure, make_queue, make_stream, put, receive

import streamstore
from streamstore import errors as store_errors
from streamstore.kinesis import errors, handles
from streamstore.kinesis.door import client
from streamstore.kinesis.operations import OPERATIONS
from streamstore.kinesis.service import Service

STREAM = {"StreamARN": ARN}
VISIBILITY = "VisibilityTimeoutSeconds"
DEAD = "DeadLetterConfiguration"


@pytest.fixture
def stream(kinesis):
    return make_stream(kinesis)


def described(kinesis, arn):
    return kinesis.describe_queue(QueueARN=arn)["QueueDescription"]


def test_a_queue_is_as_it_was_asked_for(kinesis, stream):
    """CREATING in the answer, then ACTIVE with the time it begins at; the identifier is not made of the name."""
    wanted = [{**STREAM, "StartingPosition": {"Type": "TRIM_HORIZON"}}]
    attributes = {VISIBILITY: 5, DEAD: dead_after(3)}
    made = kinesis.create_queue(QueueName="q", StreamConfigurationList=wanted, QueueAttributes=attributes)
    first = made["QueueDescription"]
    assert (first["QueueName"], first["QueueStatus"], first["QueueAttributes"]) == ("q", "CREATING", attributes)
    assert first["StreamConfigurationList"] == wanted
    assert re.fullmatch(r"arn:aws:kinesis:us-east-1:000000000000:queue/[0-9a-f]{32}", first["QueueARN"])
    shown = described(kinesis, first["QueueARN"])
    start = shown["StreamConfigurationList"][0]["StartingPosition"]
    assert (shown["QueueStatus"], start["Type"]) == ("ACTIVE", "TRIM_HORIZON")
    created = kinesis.describe_stream_summary(StreamName="s")["StreamDescriptionSummary"]["StreamCreationTimestamp"]
    assert start["Timestamp"] == created  # it has no records that are older
    assert {name: shown[name] for name in ("QueueName", "QueueARN", "QueueCreationTimestamp", "QueueAttributes")} == {
        name: first[name] for name in ("QueueName", "QueueARN", "QueueCreationTimestamp", "QueueAttributes")
    }


def test_what_is_not_said_has_the_services_defaults(kinesis, stream):
    """LATEST, 30 s, dead letters after 6 receives."""
    arn = kinesis.create_queue(QueueName="q", StreamConfigurationList=[STREAM])["QueueDescription"]["QueueARN"]
    shown = described(kinesis, arn)
    assert shown["QueueAttributes"] == {VISIBILITY: 30, DEAD: dead_after(6)}
    start = shown["StreamConfigurationList"][0]["StartingPosition"]
    assert start["Type"] == "LATEST"
    assert abs((start["Timestamp"] - shown["QueueCreationTimestamp"]).total_seconds()) < 60


def test_a_queue_begins_where_it_was_told(kinesis, stream):
    """At the oldest record, at a time, or behind what there is."""
    put(kinesis, b"old")
    arns = {kind: make_queue(kinesis, kind, start=kind) for kind in ("TRIM_HORIZON", "LATEST")}
    long_ago = datetime(2020, 1, 1, tzinfo=timezone.utc)
    wanted = {**STREAM, "StartingPosition": {"Type": "AT_TIMESTAMP", "Timestamp": long_ago}}
    made = kinesis.create_queue(QueueName="time", StreamConfigurationList=[wanted])["QueueDescription"]
    assert made["StreamConfigurationList"] == [wanted]
    put(kinesis, b"new")
    for name, expected in ((arns["TRIM_HORIZON"], 2), (made["QueueARN"], 2), (arns["LATEST"], 1)):
        assert [item["Data"] for item in receive(kinesis, name)] == [b"old", b"new"][-expected:]
    shown = described(kinesis, made["QueueARN"])["StreamConfigurationList"][0]["StartingPosition"]["Timestamp"]
    assert shown > long_ago  # the stream cannot be read from that early


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"StreamConfigurationList": []}, "Validation"),
        ({"StreamConfigurationList": [STREAM, STREAM]}, "Validation"),
        ({"StreamConfigurationList": [{"StreamARN": ARN + "-none"}]}, "ResourceNotFound"),
        ({"StreamConfigurationList": [{"StreamARN": "s"}]}, "Validation"),
        ({"StreamConfigurationList": [{**STREAM, "StartingPosition": {"Type": "NOW"}}]}, "Validation"),
        ({"StreamConfigurationList": [{**STREAM, "StartingPosition": {"Type": "AT_TIMESTAMP"}}]}, "Validation"),
        (
            {"StreamConfigurationList": [{**STREAM, "StartingPosition": {"Type": "LATEST", "Timestamp": 1}}]},
            "Validation",
        ),
        (
            {"StreamConfigurationList": [{**STREAM, "StartingPosition": {"Type": "AT_TIMESTAMP", "Timestamp": 2**33}}]},
            "InvalidArgument",
        ),
        ({"QueueName": ""}, "Validation"),
        ({"QueueName": "a/b"}, "Validation"),
        ({"QueueName": "x" * 129}, "Validation"),
        ({"QueueName": None}, "Validation"),
        ({"QueueName": "taken"}, "ResourceInUse"),
        ({"QueueAttributes": {VISIBILITY: -1}}, "Validation"),
        ({"QueueAttributes": {VISIBILITY: 43201}}, "Validation"),
        ({"QueueAttributes": {DEAD: {}}}, "Validation"),
        ({"QueueAttributes": {DEAD: {"TargetType": "OTHER"}}}, "Validation"),
        ({"QueueAttributes": {DEAD: {"TargetType": "BUILT_IN"}}}, "Validation"),
        ({"QueueAttributes": {DEAD: {"TargetType": "BUILT_IN", "MaxReceiveCount": 0}}}, "Validation"),
        ({"QueueAttributes": {DEAD: {"TargetType": "BUILT_IN", "MaxReceiveCount": 1001}}}, "Validation"),
        ({"QueueAttributes": {DEAD: {"TargetType": "NONE", "MaxReceiveCount": 1}}}, "Validation"),
        ({"Tags": {f"k{n}": "v" for n in range(51)}}, "InvalidArgument"),
        ({"Tags": {"bad!": "v"}}, "InvalidArgument"),
        ({"Tags": {}}, "Validation"),
    ],
)
def test_queues_that_cannot_be_are_refused(service, change, kind):
    """With the service's types, and nothing is made."""
    kinesis = client(service.store, service=service, config=no_retries())
    make_stream(kinesis)
    make_queue(kinesis, "taken")
    request = {"QueueName": "q", "StreamConfigurationList": [STREAM], **change}
    assert failure(kinesis.create_queue, **request) == f"{kind}Exception"
    assert service.store.list_queues() == ["taken"]


def test_the_ends_of_the_ranges_are_taken(kinesis, stream):
    """0 s to 12 hours, 1 to 1,000 receives, 128 characters, 50 tags."""
    for number, (seconds, most) in enumerate(((0, 1), (43200, 1000))):
        arn = make_queue(kinesis, f"q{number}", **{VISIBILITY: seconds, DEAD: dead_after(most)})
        assert described(kinesis, arn)["QueueAttributes"] == {VISIBILITY: seconds, DEAD: dead_after(most)}
    arn = make_queue(kinesis, "x" * 128, tags={f"k{n}": "" for n in range(50)})
    assert len(kinesis.list_tags_for_resource(ResourceARN=arn)["Tags"]) == 50


ENTRIES = [{"ReceiptHandle": "h"}]
ON_A_QUEUE = {
    "acknowledge_dead_letter_queue_records": {"Entries": ENTRIES},
    "acknowledge_queue_records": {"Entries": ENTRIES},
    "delete_queue": {},
    "describe_queue": {},
    "receive_dead_letter_queue_records": {},
    "receive_queue_records": {},
    "restore_dead_letter_queue_records": {"Entries": ENTRIES},
    "update_dead_letter_queue_records_visibility": {"Entries": [{"ReceiptHandle": "h", VISIBILITY: 1}]},
    "update_queue": {"QueueAttributes": {VISIBILITY: 1}},
    "update_queue_records_visibility": {"Entries": [{"ReceiptHandle": "h", VISIBILITY: 1}]},
}


def test_all_ten_that_take_a_queue_say_what_is_wrong_with_its_arn(kinesis, stream):
    """None, one of another form, one that was never given out, one of another account, a deleted one."""
    arn = make_queue(kinesis)
    forged = arn[:-1] + ("0" if arn[-1] != "0" else "1")
    deleted = make_queue(kinesis, "gone")
    kinesis.delete_queue(QueueARN=deleted)
    assert len(ON_A_QUEUE) == sum(name.count("Queue") for name in OPERATIONS) - 2
    for name, options in ON_A_QUEUE.items():
        call = getattr(kinesis, name)
        assert failure(call, **options) == "ValidationException", name
        assert failure(call, QueueARN=ARN, **options) == "ValidationException", name
        assert failure(call, QueueARN="x" * 2049, **options) == "ValidationException", name
        for other in (NOWHERE, forged, deleted, arn.replace("0" * 12, "1" * 12, 1), NOWHERE[:-31], NOWHERE + "é"):
            assert failure(call, QueueARN=other, **options) == "ResourceNotFoundException", (name, other)
        odd = NOWHERE.replace("us-east-1", "us:east")
        assert failure(call, QueueARN=odd, **options) == "InvalidArgumentException", name
    assert described(kinesis, arn)["QueueStatus"] == "ACTIVE"


def test_queues_are_listed_in_pages_and_by_stream(kinesis, stream, service):
    """By name; a token goes with its filter, and for five minutes."""
    make_stream(kinesis, "t")
    made = {name: make_queue(kinesis, name, stream=name[0]) for name in ("s2", "t1", "s1", "s3")}
    names = ["s1", "s2", "s3", "t1"]
    listed = kinesis.list_queues()["QueueSummaries"]
    assert [(item["QueueName"], item["QueueARN"], item["QueueStatus"]) for item in listed] == [
        (name, made[name], "ACTIVE") for name in names
    ]
    pages = [*kinesis.get_paginator("list_queues").paginate(PaginationConfig={"PageSize": 3})]
    assert [[item["QueueName"] for item in page["QueueSummaries"]] for page in pages] == [names[:3], names[3:]]
    mine = [{"StreamARN": ARN}]
    first = kinesis.list_queues(StreamFilter=mine, MaxResults=2)
    second = kinesis.list_queues(StreamFilter=mine, NextToken=first["NextToken"])
    assert [item["QueueName"] for item in second["QueueSummaries"]] == ["s3"]
    assert "NextToken" not in second
    for wrong in ({"NextToken": first["NextToken"]}, {"NextToken": "x"}):
        assert failure(kinesis.list_queues, **wrong) == "InvalidArgumentException"
    created = listed[0]["Streams"][0]["StreamCreationTimestamp"]
    assert listed[0]["Streams"][0]["StreamARN"] == ARN
    for moment, count in ((created, 3), (datetime(2020, 1, 1, tzinfo=timezone.utc), 0)):
        wanted = [{"StreamARN": ARN, "StreamCreationTimestamp": moment}]
        assert len(kinesis.list_queues(StreamFilter=wanted)["QueueSummaries"]) == count
    assert kinesis.list_queues(StreamFilter=[{"StreamARN": ARN + "-none"}])["QueueSummaries"] == []
    for wrong in ({"MaxResults": 0}, {"MaxResults": 10001}, {"NextToken": ""}, {"StreamFilter": []}):
        assert failure(kinesis.list_queues, **wrong) == "ValidationException"
    service.advance(301_000_000)
    expired = failure(kinesis.list_queues, StreamFilter=mine, NextToken=first["NextToken"])
    assert expired == "ExpiredNextTokenException"


def test_an_update_leaves_alone_what_is_in_flight_and_what_it_does_not_name(kinesis, stream, store):
    """The visibility of what is received afterwards; receives count against the new limit."""
    put(kinesis, b"one", b"two")
    arn = make_queue(kinesis, **{VISIBILITY: 1000})
    receive(kinesis, arn, Limit=1)
    answer = kinesis.update_queue(QueueARN=arn, QueueAttributes={VISIBILITY: 0})["QueueDescription"]
    assert (answer["QueueStatus"], answer["QueueAttributes"]) == ("UPDATING", {VISIBILITY: 0, DEAD: dead_after(6)})
    assert described(kinesis, arn)["QueueStatus"] == "ACTIVE"
    assert [item["Data"] for item in receive(kinesis, arn)] == [b"two"]
    assert [item["Data"] for item in receive(kinesis, arn)] == [b"two"]  # again: visible at once
    assert store.open_queue("q").stats()["in_flight"] == 1
    kinesis.update_queue(QueueARN=arn, QueueAttributes={DEAD: dead_after(2)})
    assert described(kinesis, arn)["QueueAttributes"] == {VISIBILITY: 0, DEAD: dead_after(2)}
    assert [item["Data"] for item in receive(kinesis, arn, dead=True)] == [b"two"]
    kinesis.update_queue(QueueARN=arn, QueueAttributes={DEAD: dead_after(0), VISIBILITY: 7})
    assert described(kinesis, arn)["QueueAttributes"] == {VISIBILITY: 7, DEAD: dead_after(0)}
    kinesis.update_queue(QueueARN=arn, QueueAttributes={})
    for wrong in ({VISIBILITY: 43201}, {DEAD: {"TargetType": "BUILT_IN"}}):
        assert failure(kinesis.update_queue, QueueARN=arn, QueueAttributes=wrong) == "ValidationException"
    assert failure(kinesis.update_queue, QueueARN=arn) == "ValidationException"
    assert described(kinesis, arn)["QueueAttributes"] == {VISIBILITY: 7, DEAD: dead_after(0)}


def test_a_deleted_queue_is_gone_and_its_stream_is_not(kinesis, stream):
    """Handles are no good any more; a queue of the same name is another one, and begins anew."""
    put(kinesis, b"one")
    arn = make_queue(kinesis)
    record = receive(kinesis, arn)[0]
    kinesis.delete_queue(QueueARN=arn)
    assert kinesis.list_queues()["QueueSummaries"] == []
    again = make_queue(kinesis)
    assert again != arn
    answer = kinesis.acknowledge_queue_records(QueueARN=again, Entries=[{"ReceiptHandle": record["ReceiptHandle"]}])
    assert [item["ErrorCode"] for item in answer["Failed"]] == ["InvalidArgumentException"]
    assert [item["RecordId"] for item in receive(kinesis, again)] == [record["RecordId"]]


def test_a_stream_with_queues_stays_and_stays_on_demand(kinesis, stream):
    """Until its queues are deleted; no flag helps. Its summary counts them, and not among the consumers."""
    arn = make_queue(kinesis)
    kinesis.register_stream_consumer(StreamARN=ARN, ConsumerName="c")
    shown = kinesis.describe_stream_summary(StreamName="s")["StreamDescriptionSummary"]
    assert (shown["QueueCount"], shown["ConsumerCount"]) == (1, 1)
    assert failure(kinesis.delete_stream, StreamName="s", EnforceConsumerDeletion=True) == "ResourceInUseException"
    provisioned = {"StreamARN": ARN, "StreamModeDetails": {"StreamMode": "PROVISIONED"}}
    assert failure(kinesis.update_stream_mode, **provisioned) == "ResourceInUseException"
    kinesis.delete_queue(QueueARN=arn)
    kinesis.update_stream_mode(**provisioned)
    make_queue(kinesis)  # on any stream, where the service's limits are not asked for
    kinesis.update_stream_mode(**provisioned)  # no switch


def test_with_the_services_limits_queues_need_on_demand_and_share_the_quota_of_consumers(store, monkeypatch):
    """20 of both together."""
    service = Service(store, limits="aws")
    monkeypatch.setattr(service.throttle, "control", lambda operation, call: None)
    kinesis = client(store, service=service, config=no_retries())
    kinesis.create_stream(StreamName="s", ShardCount=1)
    request = {"QueueName": "q", "StreamConfigurationList": [STREAM]}
    assert failure(kinesis.create_queue, **request) == "InvalidArgumentException"
    kinesis.update_stream_mode(StreamARN=ARN, StreamModeDetails={"StreamMode": "ON_DEMAND"})
    for number in range(10):
        kinesis.register_stream_consumer(StreamARN=ARN, ConsumerName=f"c{number}")
        make_queue(kinesis, f"q{number}")
    assert failure(kinesis.create_queue, **request) == "LimitExceededException"
    consumer = {"StreamARN": ARN, "ConsumerName": "more"}
    assert failure(kinesis.register_stream_consumer, **consumer) == "LimitExceededException"
    kinesis.update_account_settings(MinimumThroughputBillingCommitment={"Status": "ENABLED"})
    kinesis.create_queue(**request)


def test_tags_and_policies_of_a_queue(kinesis, stream):
    """By its ARN, apart from those of the stream; they go with it."""
    arn = make_queue(kinesis, tags={"a": "1"})
    kinesis.tag_resource(ResourceARN=arn, Tags={"b": "2"})
    kinesis.untag_resource(ResourceARN=arn, TagKeys=["a"])
    assert kinesis.list_tags_for_resource(ResourceARN=arn)["Tags"] == [{"Key": "b", "Value": "2"}]
    assert kinesis.list_tags_for_resource(ResourceARN=ARN)["Tags"] == []
    too_many = {f"k{n}": "v" for n in range(50)}
    assert failure(kinesis.tag_resource, ResourceARN=arn, Tags=too_many) == "InvalidArgumentException"
    policy = json.dumps({"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "kinesis:ReceiveQueueRecords"}]})
    assert kinesis.get_resource_policy(ResourceARN=arn)["Policy"] == "{}"
    kinesis.put_resource_policy(ResourceARN=arn, Policy=policy)
    assert kinesis.get_resource_policy(ResourceARN=arn)["Policy"] == policy
    assert kinesis.get_resource_policy(ResourceARN=ARN)["Policy"] == "{}"
    kinesis.delete_resource_policy(ResourceARN=arn)
    assert failure(kinesis.delete_resource_policy, ResourceARN=arn) == "ResourceNotFoundException"
    assert failure(kinesis.list_tags_for_resource, ResourceARN=NOWHERE) == "ResourceNotFoundException"
    kinesis.delete_queue(QueueARN=arn)
    assert failure(kinesis.list_tags_for_resource, ResourceARN=arn) == "ResourceNotFoundException"


def test_with_delays_a_queue_is_creating_first(store):
    """It is not there for records, and no change is taken; while it is UPDATING it delivers."""
    service = Service(store, delays_s=60)
    kinesis = client(store, service=service, config=no_retries())
    kinesis.create_stream(StreamName="s", ShardCount=1)
    assert failure(kinesis.create_queue, QueueName="q", StreamConfigurationList=[STREAM]) == "ResourceInUseException"
    service.delays.delay_us = 0
    arn = make_queue(kinesis)
    service.delays.delay_us = 60_000_000
    shown = described(kinesis, arn)
    start = shown["StreamConfigurationList"][0]["StartingPosition"]
    assert (shown["QueueStatus"], start) == ("CREATING", {"Type": "TRIM_HORIZON"})
    assert kinesis.list_queues()["QueueSummaries"][0]["QueueStatus"] == "CREATING"
    for name in ("receive_queue_records", "receive_dead_letter_queue_records"):
        assert failure(getattr(kinesis, name), QueueARN=arn) == "ResourceNotFoundException"
    update = {"QueueARN": arn, "QueueAttributes": {VISIBILITY: 1}}
    assert failure(kinesis.update_queue, **update) == "ResourceInUseException"
    service.advance(61_000_000)
    put(kinesis, b"x")
    kinesis.update_queue(**update)
    assert described(kinesis, arn)["QueueStatus"] == "UPDATING"
    assert len(receive(kinesis, arn)) == 1
    service.advance(61_000_000)
    assert described(kinesis, arn)["QueueStatus"] == "ACTIVE"


def test_accounts_and_regions_have_queues_of_their_own(store):
    """With `isolate`; one name is two queues, and neither sees the other's ARN."""
    service = Service(store, isolate=True)
    arns = []
    for account, region in (("1" * 12, "us-east-1"), ("2" * 12, "eu-west-1")):
        kinesis = client(store, service=service, config=no_retries(), aws_access_key_id=account, region_name=region)
        kinesis.create_stream(StreamName="s", ShardCount=1)
        stream = kinesis.describe_stream_summary(StreamName="s")["StreamDescriptionSummary"]["StreamARN"]
        made = kinesis.create_queue(QueueName="q", StreamConfigurationList=[{"StreamARN": stream}])
        arns.append(made["QueueDescription"]["QueueARN"])
        assert [item["QueueARN"] for item in kinesis.list_queues()["QueueSummaries"]] == arns[-1:]
    moved = arns[0].replace("1" * 12, "2" * 12).replace("us-east-1", "eu-west-1")
    for other in (arns[0], moved):
        assert failure(kinesis.describe_queue, QueueARN=other) == "ResourceNotFoundException"


def test_queues_made_in_python_are_there_too(kinesis, store):
    """Listed and described; one with a stream of its own is not deleted from here, for its records would go."""
    jobs = store.queue("jobs", visibility=2.5, max_receive_count=0, codec="bytes")
    jobs.put(b"work")
    summary = kinesis.list_queues()["QueueSummaries"][0]
    shown = described(kinesis, summary["QueueARN"])
    assert shown["QueueAttributes"] == {VISIBILITY: 3, DEAD: dead_after(0)}
    assert shown["StreamConfigurationList"][0]["StreamARN"].endswith(":stream/jobs")
    assert failure(kinesis.delete_queue, QueueARN=summary["QueueARN"]) == "InvalidArgumentException"
    assert failure(kinesis.delete_stream, StreamName="jobs") == "ResourceInUseException"
    assert [item["Data"] for item in receive(kinesis, summary["QueueARN"])] == [b"work"]


def test_queues_are_there_after_a_reopen(kinesis, stream, store, tmp_path):
    """ARN, attributes, tags and receipts."""
    put(kinesis, b"x")
    arn = make_queue(kinesis, tags={"a": "1"}, **{VISIBILITY: 1000})
    before = described(kinesis, arn)
    record = receive(kinesis, arn)[0]
    store.close()
    with streamstore.open(tmp_path / "store") as again:
        kinesis = again.boto3_client()
        assert described(kinesis, arn) == before
        assert kinesis.list_tags_for_resource(ResourceARN=arn)["Tags"] == [{"Key": "a", "Value": "1"}]
        entries = [{"ReceiptHandle": record["ReceiptHandle"]}]
        assert len(kinesis.acknowledge_queue_records(QueueARN=arn, Entries=entries)["Successful"]) == 1
        assert again.open_queue("q").stats()["total_acknowledged"] == 1


def test_identifiers_are_ours_or_nothing():
    """Every digit counts, and so does the key."""
    key = b"k" * 32
    text = handles.queue_id(key, 7)
    assert handles.queue_number(key, text) == 7
    wrong = [text[:place] + format(int(text[place], 16) ^ 1, "x") + text[place + 1 :] for place in range(len(text))]
    assert text.upper() != text
    for other in (*wrong, text.upper(), " " + text[1:], text + "0", "", "é" * 32):
        assert handles.queue_number(key, other) is None
    assert handles.queue_number(b"other" * 6, text) is None


def test_a_full_store_is_what_each_operation_declares():
    """Those on a queue's records have no other throttle."""
    full = store_errors.StoreFullError("no space")
    names = {name: errors.from_store(full, operation.errors).type for name, operation in OPERATIONS.items()}
    assert names["ReceiveQueueRecords"] == names["AcknowledgeQueueRecords"] == "ThrottlingException"
    assert names["PutRecord"] == "ProvisionedThroughputExceededException"
