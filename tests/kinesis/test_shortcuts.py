"""The short way for common puts takes nothing that the long way refuses, and both come to the same."""

from __future__ import annotations

import base64
import itertools
import json
import random

from streamstore.kinesis import shortcuts, validation, wire
from streamstore.kinesis.errors import ServiceError
from streamstore.kinesis.json_codec import JsonCodec
from streamstore.kinesis.wire import HttpRequest

TEXTS = [
    "aGVsbG8=",
    "",
    "AA==",
    "A",
    "AAA",
    "AA=A",
    "A===",
    "====",
    "AAAA====",
    "aGVs bG8",
    "aGVs\nbG8=",
    "é===",
    "AA-_",
    5,
    None,
]
KEYS = ["k", "", "k" * 256, "k" * 257, "é", "\ud800", "k\0", 5, None, []]
COUNTS = [1, 2] * 20 + [0, 500, 501]
NAMES = ["s", "", "a/b", "x" * 128, "x" * 129, "s\n", None, 5]


def long_way(operation, value):
    try:
        return validation.check(f"{operation}Input", value, JsonCodec())
    except ServiceError:
        return None


def test_what_the_short_way_takes_the_long_way_takes_alike():
    """Over many forms of names, data and keys; and the plain form does go the short way."""
    dice = random.Random(7)
    taken = singles = 0
    for _ in range(20_000):
        entry = {"Data": dice.choice(TEXTS), "PartitionKey": dice.choice(KEYS)}
        if dice.random() < 0.1:
            entry["ExplicitHashKey"] = "0"
        if dice.random() < 0.5:
            entry = {"Data": base64.b64encode(dice.randbytes(dice.randrange(9))).decode(), "PartitionKey": "k"}
        name = dice.choice(NAMES) if dice.random() < 0.3 else "s"
        single = {"StreamName": name, **entry}
        short = shortcuts.put_record(single)
        if short is not None:
            singles += 1
            assert short == long_way("PutRecord", single), single
        many = {"StreamName": name, "Records": [entry] * dice.choice(COUNTS)}
        batch = shortcuts.put_records(many)
        if batch is not None:
            taken += 1
            whole = long_way("PutRecords", many)
            assert whole is not None, many
            pairs = [(item["Data"], item["PartitionKey"], None) for item in whole["Records"]]
            assert batch["Records"] == pairs
            assert batch["Records"].total == sum(len(data) + len(key) for data, key, _ in pairs)
    assert min(taken, singles) > 1000
    for odd in (
        None,
        [],
        {},
        {"StreamName": "s"},
        {"StreamName": "s", "Records": {}},
        {"StreamName": "s", "Records": [5]},
    ):
        assert shortcuts.put_records(odd) is None
        assert shortcuts.put_record(odd) is None


def test_limits_hold_on_the_short_way(service):
    """A record over the stream's limit is refused with its place; 10 MiB in all is too much."""
    service.store.create_stream("small", max_record_size=100)
    service.store.create_stream("s")

    def ask(name, sizes):
        records = [{"Data": base64.b64encode(b"x" * size).decode(), "PartitionKey": "k"} for size in sizes]
        headers = {"content-type": "application/x-amz-json-1.1", "x-amz-target": "Kinesis_20131202.PutRecords"}
        body = json.dumps({"StreamName": name, "Records": records}).encode()
        answer = wire.answer(service, HttpRequest("POST", "/", "", headers, body), lambda *_: service.caller)
        return answer.status, json.loads(answer.body)

    status, body = ask("small", [1, 2, 100])
    assert (status, body["__type"], "'records.3.member.data'" in body["message"]) == (400, "ValidationException", True)
    assert ask("small", [1, 2, 99])[0] == 200
    status, body = ask("s", [(1 << 20) - 1] * 10 + [0])
    assert (status, body["__type"]) == (400, "InvalidArgumentException")


def test_just_what_is_base64_is_read_as_base64():
    """Every text of up to six of these characters: the quick check by length says what the long way says."""
    for size in range(7):
        for letters in itertools.product("AB=!\n", repeat=size):
            text = "".join(letters)
            try:
                data = JsonCodec().blob(text)
            except ServiceError:
                data = None
            entry = {"Data": text, "PartitionKey": "k"}
            one = shortcuts.put_record({"StreamName": "s", **entry})
            assert (None if one is None else one["Data"]) == data, text
            two = shortcuts.put_records({"StreamName": "s", "Records": [{"Data": "AAA=", "PartitionKey": "k"}, entry]})
            assert (None if two is None else two["Records"][1][0]) == data, text
