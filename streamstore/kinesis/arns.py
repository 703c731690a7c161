"""ARNs of streams, their consumers and queues: made, and taken apart. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

_STREAM = re.compile(r"arn:aws[^:]*:kinesis:([^:]*):(\d{12}):stream/([a-zA-Z0-9_.-]{1,128})", re.ASCII)
_CONSUMER = re.compile(
    r"(arn:aws[^:]*:kinesis:[^:]*:\d{12}:stream/[a-zA-Z0-9_.-]{1,128})/consumer/([a-zA-Z0-9_.-]{1,128}):([0-9]{1,12})",
    re.ASCII,
)
_QUEUE = re.compile(r"arn:aws[^:]*:kinesis:([^:]*):(\d{12}):queue/(\S{1,256})", re.ASCII)


class StreamArn(NamedTuple):
    region: str
    account: str
    name: str


class ConsumerArn(NamedTuple):
    stream: str
    name: str
    created_s: int


class QueueArn(NamedTuple):
    region: str
    account: str
    id: str


def stream_arn(region: str, account: str, name: str) -> str:
    """The ARN of a stream, in the partition that a region of that name is in."""
    return f"{_prefix(region, account)}:stream/{name}"


def queue_arn(region: str, account: str, id: str) -> str:
    """The ARN of the queue of that identifier."""
    return f"{_prefix(region, account)}:queue/{id}"


def _prefix(region: str, account: str) -> str:
    partition = "aws-cn" if region.startswith("cn-") else "aws-us-gov" if region.startswith("us-gov-") else "aws"
    return f"arn:{partition}:kinesis:{region}:{account}"


def consumer_arn(stream: str, name: str, created_s: int) -> str:
    return f"{stream}/consumer/{name}:{created_s}"


def parse_stream(arn: str) -> StreamArn | None:
    """The parts of a stream's ARN; None for any other text."""
    match = _STREAM.fullmatch(arn)
    return None if match is None else StreamArn(*match.groups())


def parse_consumer(arn: str) -> ConsumerArn | None:
    """The parts of a consumer's ARN; None for any other text."""
    match = _CONSUMER.fullmatch(arn)
    return None if match is None else ConsumerArn(match[1], match[2], int(match[3]))


def parse_queue(arn: str) -> QueueArn | None:
    """The parts of a queue's ARN; None for any other text."""
    match = _QUEUE.fullmatch(arn)
    return None if match is None else QueueArn(*match.groups())
