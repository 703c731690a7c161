"""Authentication and rights: botocore's own signatures pass, everything that was touched does not."""

from __future__ import annotations

import json
import os

import pytest
from boto_clients import remote
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

import streamstore
from streamstore import errors
from streamstore.kinesis import wire
from streamstore.kinesis.service import Service
from streamstore.kinesis.wire import HttpRequest
from streamstore.server import credentials
from streamstore.server.gate import Gate

pytest.importorskip("granian")
SECRET = "a+secret/with=characters"
KEYS = {
    "keys": [
        {"access_key_id": "root", "secret_access_key": SECRET, "rights": ["read", "write", "admin"]},
        {"access_key_id": "writer", "secret_access_key": SECRET, "rights": ["write"], "streams": ["clicks*"]},
        {"access_key_id": "guest", "secret_access_key": SECRET, "rights": [], "principal": "arn:aws:iam::1:user/g"},
    ]
}
TARGET = "Kinesis_20131202.ListStreams"
PASSED = "SerializationException"


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "keys.json"
    path.write_text(json.dumps(KEYS))
    path.chmod(0o600)
    return str(path)


@pytest.fixture
def gate(service, key_file):
    return Gate(service, credentials.load(key_file))


def signed(key="root", secret=SECRET, query=False, body=b"{}", region="us-east-1", service="kinesis", token=None):
    """A request as botocore signs it."""
    headers = {"host": "localhost", "content-type": "application/x-amz-json-1.1", "x-amz-target": TARGET}
    request = AWSRequest("POST", "http://localhost/", headers=headers, data=body)
    kind = SigV4QueryAuth if query else SigV4Auth
    kind(Credentials(key, secret, token), service, region).add_auth(request)
    prepared = request.prepare()
    sent = {
        name.lower(): value.decode() if isinstance(value, bytes) else value for name, value in prepared.headers.items()
    }
    # botocore presigns without a body: what passes the gate then ends for want of one.
    body = b"" if query else body
    return HttpRequest("POST", "/", prepared.url.partition("?")[2], {"host": "localhost", **sent}, body)


def ask(service, gate, request):
    """The type of the error, or nothing."""
    answer = wire.answer(service, request, gate.who, gate.allow)
    assert answer.status in (200, 400)
    return json.loads(answer.body).get("__type", "") if answer.status == 400 else ""


def test_botocores_signatures_pass(service, gate):
    """In the header and presigned, in every region, with a session token, with and without spaces."""
    for request in (signed(), signed(region="eu-west-3"), signed(token="t"), signed(body=b'{"Limit":1}')):
        assert ask(service, gate, request) == ""
    assert ask(service, gate, signed(query=True)) == PASSED
    assert ask(service, gate, signed(query=True)._replace(body=b"{}")) == "InvalidSignatureException"
    tight = signed()
    tight.headers["authorization"] = tight.headers["authorization"].replace(", ", ",")
    assert ask(service, gate, tight) == ""


@pytest.mark.parametrize(
    ("touch", "kind"),
    [
        (lambda request: request._replace(body=b'{"Limit":2}'), "InvalidSignature"),
        (
            lambda request: request.headers.update({"x-amz-target": "Kinesis_20131202.DescribeLimits"}),
            "InvalidSignature",
        ),
        (lambda request: request.headers.update({"x-amz-extra": "unsigned"}), "InvalidSignature"),
        (lambda request: request.headers.update({"host": "evil"}), "InvalidSignature"),
        (lambda request: request._replace(query="a=b"), "InvalidSignature"),
        (lambda request: request.headers.update({"x-amz-content-sha256": "0" * 64}), "InvalidSignature"),
        (lambda request: request.headers.update({"x-amz-content-sha256": "UNSIGNED-PAYLOAD"}), "InvalidSignature"),
        (lambda request: request.headers.pop("authorization") and None, "MissingAuthenticationToken"),
        (lambda request: request.headers.pop("x-amz-date") and None, "IncompleteSignature"),
        (lambda request: request._replace(query="X-Amz-Algorithm=AWS4-HMAC-SHA256"), "InvalidSignature"),
        (lambda request: request.headers.update({"authorization": "Basic x"}), "IncompleteSignature"),
        (lambda request: request.headers.update({"authorization": ""}), "MissingAuthenticationToken"),
        (
            lambda request: request.headers.update({"authorization": "AWS4-HMAC-SHA256 Credential=a"}),
            "IncompleteSignature",
        ),
    ],
)
def test_whatever_was_touched_is_refused(service, gate, touch, kind):
    """Body, signed and unsigned headers, the query, the header itself."""
    request = signed()
    changed = touch(request)
    assert ask(service, gate, changed if isinstance(changed, HttpRequest) else request) == f"{kind}Exception"


def test_headers_must_be_signed(service, gate):
    """A signature that leaves out the target or the host is worth nothing, even if it is right."""
    request = signed()
    for name in ("host", "x-amz-target"):
        header = request.headers["authorization"]
        names = header.split("SignedHeaders=")[1].split(",")[0]
        fewer = ";".join(each for each in names.split(";") if each != name)
        from streamstore.server import sigv4

        claimed = sigv4.claim(request)._replace(signed=tuple(fewer.split(";")))
        right = sigv4.expected(claimed, request, SECRET)
        changed = header.replace(names, fewer).replace(claimed.signature, right)
        answered = ask(service, gate, request._replace(headers={**request.headers, "authorization": changed}))
        assert answered == "InvalidSignatureException"


def test_wrong_keys_and_scopes_are_refused_alike(service, gate):
    """An unknown key and a wrong secret get the same answer; another service's scope is no good."""
    answers = [
        wire.answer(service, request, gate.who, gate.allow).body for request in (signed("x"), signed(secret="x"))
    ]
    assert answers[0] == answers[1]
    assert ask(service, gate, signed(service="s3")) == "InvalidSignatureException"


def test_time_runs_out(service, gate):
    """Five minutes either way; a presigned request as long as it says."""
    request, presigned = signed(), signed(query=True)
    wrong = "InvalidSignatureException"
    for offset_s, kinds in (
        (290, ("", PASSED)),
        (310, (wrong, PASSED)),
        (-310, (wrong, wrong)),
        (3700, (wrong, wrong)),
    ):
        service.clock_offset_us = offset_s * 1_000_000
        assert (ask(service, gate, request), ask(service, gate, presigned)) == kinds


def test_rights_and_policies_over_http(store, key_file):
    """Each key does what it may to the streams it may; a policy lets one in, and its Deny stops anybody."""
    with streamstore.serve_in_thread(store, credentials=key_file) as server:
        root, writer, guest = (
            remote(server.url, aws_access_key_id=key, aws_secret_access_key=SECRET)
            for key in ("root", "writer", "guest")
        )
        stranger = remote(server.url)
        for name in ("clicks", "orders"):
            root.create_stream(StreamName=name, ShardCount=1)
        put = {"Data": b"x", "PartitionKey": "k"}
        writer.put_record(StreamName="clicks", **put)
        arn = root.describe_stream(StreamName="orders")["StreamDescription"]["StreamARN"]
        iterator = root.get_shard_iterator(StreamName="clicks", ShardId="0", ShardIteratorType="LATEST")[
            "ShardIterator"
        ]

        def denied(call, **options):
            with pytest.raises(ClientError) as caught:
                call(**options)
            return caught.value.response["Error"]["Code"]

        assert denied(writer.put_record, StreamName="orders", **put) == "AccessDeniedException"
        assert denied(writer.put_record, StreamARN=arn, **put) == "AccessDeniedException"
        assert denied(writer.get_records, ShardIterator=iterator) == "AccessDeniedException"
        assert denied(writer.create_stream, StreamName="clicks2", ShardCount=1) == "AccessDeniedException"
        assert denied(guest.put_record, StreamName="orders", **put) == "AccessDeniedException"
        assert denied(guest.list_streams) == "AccessDeniedException"
        assert denied(stranger.list_streams) == "InvalidSignatureException"
        statement = {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::1:user/g"}, "Action": "kinesis:Put*"}
        root.put_resource_policy(ResourceARN=arn, Policy=json.dumps({"Statement": [{**statement, "Resource": arn}]}))
        guest.put_record(StreamName="orders", **put)
        assert denied(guest.describe_stream, StreamName="orders") == "AccessDeniedException"
        refusal = {"Effect": "Deny", "Principal": "*", "Action": "kinesis:PutRecord", "Resource": arn}
        root.put_resource_policy(ResourceARN=arn, Policy=json.dumps({"Statement": [statement, refusal]}))
        assert denied(guest.put_record, StreamName="orders", **put) == "AccessDeniedException"
        assert denied(root.put_record, StreamName="orders", **put) == "AccessDeniedException"


def test_queues_are_judged_by_their_stream_and_their_own_policy(store, key_file):
    """A key for a stream is one for its queues; a queue's policy lets one in to that queue alone, and stops anybody."""
    with streamstore.serve_in_thread(store, credentials=key_file) as server:
        root, writer, guest = (
            remote(server.url, aws_access_key_id=key, aws_secret_access_key=SECRET)
            for key in ("root", "writer", "guest")
        )
        arns = {}
        for name in ("clicks", "orders"):
            root.create_stream(StreamName=name, ShardCount=1)
            stream = root.describe_stream(StreamName=name)["StreamDescription"]["StreamARN"]
            made = root.create_queue(QueueName=name, StreamConfigurationList=[{"StreamARN": stream}])
            arns[name] = made["QueueDescription"]["QueueARN"]

        def asked(call, name, **options):
            """The error's type, or nothing."""
            try:
                call(QueueARN=arns.get(name, name), **options)
            except ClientError as error:
                return error.response["Error"]["Code"]
            return ""

        refused, entries = "AccessDeniedException", {"Entries": [{"ReceiptHandle": "x"}]}
        assert asked(writer.acknowledge_queue_records, "clicks", **entries) == ""
        assert asked(writer.acknowledge_queue_records, "orders", **entries) == refused
        assert asked(writer.describe_queue, "clicks") == refused
        unknown = arns["clicks"][:-1] + ("0" if arns["clicks"][-1] != "0" else "1")
        assert asked(writer.acknowledge_queue_records, unknown, **entries) == refused
        assert asked(root.acknowledge_queue_records, unknown, **entries) == "ResourceNotFoundException"
        with pytest.raises(ClientError, match=refused):
            writer.create_queue(QueueName="mine", StreamConfigurationList=[{"StreamARN": stream}])
        with pytest.raises(ClientError, match=refused):
            writer.list_tags_for_resource(ResourceARN=arns["orders"])
        who = {"AWS": "arn:aws:iam::1:user/g"}
        statement = {"Effect": "Allow", "Principal": who, "Action": "kinesis:DescribeQueue", "Resource": arns["orders"]}
        root.put_resource_policy(ResourceARN=arns["orders"], Policy=json.dumps({"Statement": [statement]}))
        assert asked(guest.describe_queue, "orders") == ""
        assert asked(guest.describe_queue, "clicks") == refused
        assert asked(guest.acknowledge_queue_records, "orders", **entries) == refused
        denial = {**statement, "Effect": "Deny", "Principal": "*"}
        root.put_resource_policy(ResourceARN=arns["orders"], Policy=json.dumps({"Statement": [denial]}))
        assert asked(root.describe_queue, "orders") == refused


def test_a_credentials_file_is_ours_alone_and_has_a_form(tmp_path):
    """Modes, JSON, rights; the error never quotes the file."""
    path = tmp_path / "keys.json"
    for text, mode in (
        (json.dumps(KEYS), 0o640),
        ("{" + SECRET, 0o600),
        ('{"keys": []}', 0o600),
        ('{"keys": [{"access_key_id": "a"}]}', 0o600),
        (json.dumps({"keys": [{**KEYS["keys"][0], "rights": ["everything"]}]}), 0o600),
    ):
        path.write_text(text)
        os.chmod(path, mode)
        with pytest.raises(errors.InvalidArgumentError) as caught:
            credentials.load(str(path))
        assert SECRET not in str(caught.value)
    with pytest.raises(errors.InvalidArgumentError):
        credentials.load(str(tmp_path / "nowhere"))
    os.chmod(path, 0o600)
    path.write_text(json.dumps(KEYS))
    assert SECRET not in repr(credentials.load(str(path)))


def test_without_credentials_any_wellformed_signature_passes(service):
    """As the emulators do; none, or half of one, does not."""
    gate = Gate(service, None)
    assert ask(service, gate, signed("anybody", "anything")) == ""
    request = signed()
    del request.headers["authorization"]
    assert ask(service, gate, request) == "MissingAuthenticationTokenException"
    isolated = Gate(Service(service.store, isolate=True), None)
    assert isolated.who(signed("1" * 12, region="eu-west-1"), None)[:2] == ("1" * 12, "eu-west-1")
