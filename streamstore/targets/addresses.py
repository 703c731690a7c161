"""Targets by a text, as a command line names them."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

import streamstore
from streamstore import settings
from streamstore.errors import InvalidArgumentError, InvalidTypeError
from streamstore.queue import Queue
from streamstore.stream import Stream
from streamstore.targets.calls import CallableTarget, NullTarget
from streamstore.targets.endpoint import KinesisTarget, reach
from streamstore.targets.files import JsonLinesTarget, ParquetTarget, RawTarget
from streamstore.targets.streams import QueueTarget, StreamTarget
from streamstore.targets.target import Target

FORMS = """\
-                      stdout: the data, a line each
json:-                 stdout: a JSON object a line
FILE.jsonl             a new file of JSON lines
FILE.parquet           a new Parquet file (extra `arrow`)
store:DIR#STREAM       a stream of a store, made where it is missing
queue:DIR#NAME         a queue of a store, made where it is missing
http://HOST:PORT/NAME  a stream behind a Kinesis endpoint, https:// too (extra `boto3`)
kinesis:NAME           a stream of AWS, by boto3's own settings (extra `boto3`)
python:MODULE:NAME     a Python function, called with each record
null:                  nowhere"""


def open_target(
    address: str, *, region: str | None = None, durability: str | None = None, shards: int = 1, origin: Any = None
) -> Target:
    """The target that a text names (see FORMS); `shards` and `durability` are for a stream that has to be made.

    `origin` is the Stream that records come from, for their `source`. Raises InvalidArgumentError, and what opening it
    raises.
    """
    if address == "-":
        return RawTarget(sys.stdout.buffer)
    kind, _, rest = address.partition(":")
    if kind in ("http", "https"):
        return _endpoint(address, region)
    makers: dict[str, Callable[[], Target]] = {
        "json": lambda: _json_lines(rest),
        "store": lambda: _stream(rest, durability, shards, origin),
        "queue": lambda: _queue(rest, durability),
        "kinesis": lambda: _aws(rest, region),
        "python": lambda: CallableTarget(load_function(rest, "python:")),
        "null": NullTarget,
    }
    if kind in makers:
        return makers[kind]()
    suffix = os.path.splitext(address)[1].lower()
    if suffix == ".parquet":
        return ParquetTarget(address)
    if suffix in (".jsonl", ".ndjson", ".json"):
        return JsonLinesTarget(address)
    raise InvalidArgumentError(f"{address!r} names no target; these do:\n{FORMS}")


def as_target(target: Any, *, origin: Stream | None = None) -> Target:
    """A target as it is, or one for a stream, a queue, or a function of a record. Raises InvalidTypeError."""
    if isinstance(target, Target):
        return target
    if isinstance(target, Stream):
        return StreamTarget(target, origin=origin)
    if isinstance(target, Queue):
        return QueueTarget(target)
    if callable(target):
        return CallableTarget(target)
    raise InvalidTypeError(f"a target is a Target, a Stream, a Queue or a function, not {type(target).__name__}")


def _json_lines(rest: str) -> Target:
    return JsonLinesTarget(sys.stdout.buffer if rest == "-" else rest)


def _endpoint(address: str, region: str | None) -> Target:
    url, stream = split_endpoint(address)
    return KinesisTarget(reach(url, region, stream), stream)


def _aws(name: str, region: str | None) -> Target:
    if not name:
        raise InvalidArgumentError("'kinesis:' names no stream: kinesis:NAME is wanted")
    return KinesisTarget(reach(None, region, name), name)


def split_endpoint(address: str) -> tuple[str, str]:
    """The endpoint's URL and the stream's name of http://HOST:PORT/NAME. Raises InvalidArgumentError."""
    url, _, name = address.rpartition("/")
    if not name or url.endswith((":", "/")):
        raise InvalidArgumentError(f"{address!r} names no stream: http://HOST:PORT/STREAM is wanted")
    return url, name


def split_store(rest: str, what: str) -> tuple[str, str]:
    """The directory and the name of DIR#NAME. Raises InvalidArgumentError."""
    directory, _, name = rest.rpartition("#")
    if not directory or not name:
        raise InvalidArgumentError(f"{rest!r} is not DIRECTORY#{what}")
    return directory, name


def _stream(rest: str, durability: str | None, shards: int, origin: Stream | None) -> Target:
    directory, name = split_store(rest, "STREAM")
    settings.check_stream(name, shard_count=shards, durability=durability)
    store = streamstore.open(directory)
    try:
        stream = store.create_stream(name, shard_count=shards, durability=durability, exist_ok=True)
    except BaseException:
        store.close()
        raise
    return StreamTarget(stream, origin=origin, owned=store)


def _queue(rest: str, durability: str | None) -> Target:
    directory, name = split_store(rest, "NAME")
    queue = streamstore.Queue(directory, name, durability=durability or "sync", codec="bytes")
    return QueueTarget(queue, owned=queue)


def load_function(text: str, asked_by: str) -> Callable[[Any], Any]:
    """The Python function MODULE:NAME, as `asked_by` names it. Raises InvalidArgumentError, also where that raises."""
    module, _, name = text.partition(":")
    if not module or not name:
        raise InvalidArgumentError(f"{asked_by}{text}: MODULE:FUNCTION is wanted")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidArgumentError(f"{asked_by}{text}: {error}") from None
    if not callable(found):
        raise InvalidArgumentError(f"{asked_by}{text} is no function")

    def called(item: Any) -> Any:
        try:
            return found(item)
        except Exception as error:
            raise InvalidArgumentError(f"{asked_by}{text} failed: {type(error).__name__}: {error}") from error

    return called
