"""Requests that are nearly right: from the shapes of every operation, with odd values and bytes turned over."""

from __future__ import annotations

import base64
import json
import random
from typing import Any

import cbor2

from streamstore.kinesis import scalars
from streamstore.kinesis.operations import OPERATIONS
from streamstore.kinesis.scalars import SHAPES
from streamstore.kinesis.structures import STRUCTURES
from streamstore.kinesis.wire import HttpRequest

JSON, CBOR = "application/x-amz-json-1.1", "application/x-amz-cbor-1.1"
NAMES = ["s", "clicks", "other", ".", "..", "-rf", "CON", "x" * 128, "S"]
ODD = [
    None, True, False, 0, -1, 2**31, 2**63, 2**64, 10**40, 1.5, -0.0, 1e308, float("nan"), float("inf"), "", "x", "\0",
    "é", "𝄞", "\ud800", [], {}, [[]], [None], {"a": 1}, {"": None}, "A" * 5000, "null", b"", b"\xff" * 9,
]  # fmt: skip
ODD_TEXTS = [
    "", " ", "\0", "a/b", "../../etc/passwd", "%2e%2e", "ß" * 300, "x" * 129, "0", "-1", "1" * 129, "1" * 130, "NaN",
    str(1 << 128), str((1 << 128) - 1), "shardId-", "shardId-999999999999", "shardId-000000000001", "5", "\ud800",
    "arn:aws:kinesis:us-east-1:000000000000:stream/../s", "arn:aws:kinesis:::stream/", "arn:aws:s3:::bucket", "A" * 600,
    "AAAA====", "=", "é", "\u202e",
]  # fmt: skip
COUNTS = [0, 1, 2, 3, -1, 65_537, 2**31, 2**63, 1.9]
POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::1:user/nobody"}, "Action": "kinesis:*", "Resource": "*"}
    ],
}


class Maker:
    """Makes requests. `pool` holds, by shape, texts that mean something to the server; the caller keeps it filled."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.pool: dict[str, list[str]] = {}

    def request(self) -> HttpRequest:
        """A request of any operation, unsigned."""
        dice = self.dice
        name = dice.choice(list(OPERATIONS))
        content_type = JSON if dice.random() < 0.7 else CBOR
        headers = {"host": "localhost", "content-type": content_type, "x-amz-target": f"Kinesis_20131202.{name}"}
        value = self._structure(f"{name}Input")
        if dice.random() < 0.03:
            value = dice.choice(ODD)
        body = self._broken(encode(value, content_type, dice), content_type)
        method, path, query = "POST", "/", ""
        if dice.random() < 0.05:
            method = dice.choice(["GET", "PUT", "OPTIONS", "PRI", "post", ""])
            path = dice.choice(["/", "/x", "//", "/../..", "/%00", "/healthcheck", "*"])
            query = dice.choice(["", "a=b", "X-Amz-Algorithm=", "%", "&&&=&"])
        if dice.random() < 0.05:
            odd = dice.choice(["", "Kinesis_20131202.", "ListStreams", "é", "DynamoDB_20120810.ListTables", "x" * 9000])
            headers[dice.choice(["x-amz-target", "content-type", "host", "content-encoding"])] = odd
        return HttpRequest(method, path, query, headers, body)

    def _structure(self, structure: str) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for member in STRUCTURES[structure]:
            if self.dice.random() < (0.97 if member.required else 0.3):
                made[member.name] = self._value(member.shape, member.name)
        if self.dice.random() < 0.02:
            made[self.dice.choice(["Extra", "", "streamname", "\0"])] = self.dice.choice(ODD)
        return made

    def _value(self, name: str, member: str) -> Any:
        dice = self.dice
        if dice.random() < 0.04:
            return dice.choice(ODD)
        if name in STRUCTURES:
            return self._structure(name)
        shape = SHAPES[name]
        if isinstance(shape, scalars.Listing):
            return [self._value(shape.member, member) for _ in range(dice.choice([0, 1, 1, 2, 3, 11]))]
        if isinstance(shape, scalars.Mapping):
            return {f"k{number}": self._text(shape.value) for number in range(dice.choice([0, 1, 2, 60]))}
        if isinstance(shape, scalars.Whole):
            return self._whole(shape, member)
        if isinstance(shape, scalars.Flag):
            return dice.random() < 0.5
        if isinstance(shape, scalars.Blob):
            return dice.randbytes(dice.choice([0, 1, 2, 3, 100, 2000]))
        if isinstance(shape, scalars.Moment):
            return Time(dice.choice([0, -1, 1_700_000_000, 4_000_000_000, 2**53, -(2**62), 2**62, 1.0005]))
        if isinstance(shape, scalars.Choice):
            return dice.choice(shape.names)
        return self._text(name)

    def _whole(self, shape: scalars.Whole, member: str) -> Any:
        if "ShardCount" in member:
            return self.dice.choice(COUNTS)
        if "WaitTime" in member:
            return self.dice.choice([0, -1, 21, 2**40])  # nothing that has us wait
        low, high = shape.low or 0, shape.high or 1000
        return self.dice.choice([low - 1, low, low + 1, 24, 48, 100, high - 1, high, high + 1, 2**63])

    def _text(self, name: str) -> str:
        if self.dice.random() < 0.08:
            return self.dice.choice(ODD_TEXTS)
        known = self.pool.get(name)
        if known and self.dice.random() < 0.9:
            return self.dice.choice(known)
        if name == "StreamName":
            return self.dice.choice(NAMES)
        if name == "Policy":
            return json.dumps(POLICY) if self.dice.random() < 0.5 else "{"
        return self.dice.choice(["k", "key", "name-1", "12345", "shardId-000000000000"])

    def _broken(self, body: bytes, content_type: str) -> bytes:
        dice = self.dice
        chance = dice.random()
        if chance < 0.003:
            return _deep(dice, content_type)
        if chance < 0.85:
            return body
        data = bytearray(body)
        for _ in range(dice.randrange(1, 4)):
            place = dice.randrange(len(data) + 1)
            kind = dice.randrange(4)
            if kind == 0 and place < len(data):
                data[place] = dice.randrange(256)
            elif kind == 1:
                data[place:place] = dice.randbytes(dice.randrange(1, 5))
            elif kind == 2:
                del data[place : place + dice.randrange(1, 9)]
            else:
                data[place:place] = data[place : place + 20]
        return bytes(data)


class Time:
    """A time, which each encoding writes in its own way."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


def _deep(dice: random.Random, content_type: str) -> bytes:
    depth = dice.choice([63, 64, 65, 1000, 100_000])
    if content_type == CBOR:
        return dice.choice([b"\x81", b"\xa1\x61a", b"\xc1", b"\x9f"]) * depth
    return dice.choice([b"[", b'{"a":', b'{"StreamName":']) * depth


def encode(value: Any, content_type: str, dice: random.Random) -> bytes:
    """The body; now and then blobs are no base64, and times are texts."""
    if content_type == CBOR:
        try:
            return cbor2.dumps(value, default=_cbor)
        except (cbor2.CBOREncodeError, UnicodeEncodeError):  # half of a surrogate pair
            return b"\xa1\x6aStreamName\x63\xed\xa0\x80"

    def plain(item: Any) -> Any:
        if isinstance(item, Time):
            return item.seconds if dice.random() < 0.9 else str(item.seconds)
        text = base64.b64encode(item).decode()
        return text if dice.random() < 0.95 else text[:-1] + dice.choice(["", "!", "=", "\n"])

    return json.dumps(value, default=plain, ensure_ascii=True).encode()


def _cbor(encoder: Any, value: Any) -> None:
    assert isinstance(value, Time)
    encoder.encode(cbor2.CBORTag(1, int(value.seconds * 1000)))
