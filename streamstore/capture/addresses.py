"""Sources by a text, as a command line names them."""

from __future__ import annotations

import sys
from typing import Any

import streamstore
from streamstore.capture.fanout import FanOut
from streamstore.capture.files import FileSource
from streamstore.capture.kinesis import KinesisSource
from streamstore.capture.pipe import PipeSource
from streamstore.capture.polling import Polling
from streamstore.capture.source import Source
from streamstore.capture.streams import StreamSource
from streamstore.errors import InvalidArgumentError, InvalidTypeError
from streamstore.stream import Stream
from streamstore.targets.addresses import split_endpoint, split_store
from streamstore.targets.endpoint import reach

FORMS = """\
http://HOST:PORT/NAME  a stream behind a Kinesis endpoint, https:// too (extra `boto3`)
kinesis:NAME           a stream of AWS, by boto3's own settings (extra `boto3`)
store:DIR#STREAM       a stream of another store
PATH or PATTERN        files that grow: file:PATH, or a text with a slash, a dot or an asterisk
-                      stdin"""

_OF_KINESIS = ("start", "region", "source_id", "interval", "consumer", "client")
OPTIONS = {
    "endpoint": _OF_KINESIS,
    "aws": _OF_KINESIS,
    "store": ("start",),
    "stdin": ("start", "source_id", "taker", "multi_line"),
    "files": ("start", "source_id", "interval", "taker", "multi_line"),
}


def as_source(source: Any, **options: Any) -> Source:
    """A source as it is, or the one for an address or a Stream. Raises InvalidArgumentError, InvalidTypeError."""
    if isinstance(source, str):
        return open_source(source, **options)
    if isinstance(source, Stream):
        return StreamSource(source, **options)
    if options:
        raise InvalidArgumentError(f"{', '.join(options)}: these are for sources that are named by an address")
    if not hasattr(source, "batches"):
        raise InvalidTypeError(f"a source is an address, a Stream or a source, not {type(source).__name__}")
    found: Source = source
    return found


def open_source(address: str, **options: Any) -> Source:
    """The source that a text names (see FORMS). Raises InvalidArgumentError, and what opening it raises.

    Options: `start` for all; of a Kinesis endpoint `region`, `source_id`, `interval` (seconds between two reads of a
    shard that has nothing more), `consumer` (enhanced fan-out under that name); of files `taker`, `multi_line`,
    `source_id`, `interval`.
    """
    kind, rest = kind_of(address)
    if unknown := sorted(set(options) - set(OPTIONS[kind])):
        raise InvalidArgumentError(f"{', '.join(unknown)}: no options of {address}")
    if kind == "endpoint":
        url, stream = split_endpoint(rest)
        return kinesis_source(url, stream, **options)
    if kind == "aws":
        return kinesis_source(None, rest, **options)
    if kind == "store":
        return _store(rest, **options)
    if kind == "stdin":
        options.pop("start", None)
        return PipeSource(sys.stdin.buffer, **options)
    return FileSource([rest], **_for_files(options))


def options_of(address: str) -> tuple[str, ...]:
    """Which options `open_source` takes for an address."""
    return OPTIONS[kind_of(address)[0]]


def kind_of(address: str) -> tuple[str, str]:
    """What an address names, and the rest of it. Raises InvalidArgumentError."""
    kind, colon, rest = address.partition(":")
    if address == "-":
        return "stdin", address
    if kind in ("http", "https"):
        return "endpoint", address
    if colon and rest and kind in ("kinesis", "store", "file"):
        return {"kinesis": "aws", "store": "store", "file": "files"}[kind], rest
    if not colon and any(each in address for each in "/.*"):
        return "files", address
    raise InvalidArgumentError(f"{address!r} names no source; these do:\n{FORMS}")


def kinesis_source(
    url: str | None,
    stream: str,
    *,
    region: str | None = None,
    client: Any = None,
    start: Any = "TRIM_HORIZON",
    source_id: str | None = None,
    interval: float = 1.0,
    consumer: str | None = None,
) -> Source:
    """A stream of a Kinesis endpoint, read by polling, or by enhanced fan-out under the name of a consumer."""
    source = KinesisSource(client or reach(url, region, stream), stream, start=start, source_id=source_id)
    if consumer is not None:
        return source.read_by(FanOut(source, consumer))
    return source.read_by(Polling(source, interval=interval, behind=min(interval, 0.2)))


def _for_files(options: dict[str, Any]) -> dict[str, Any]:
    start = options.pop("start", "TRIM_HORIZON")
    if start not in ("TRIM_HORIZON", "LATEST"):
        raise InvalidArgumentError("files are captured from their beginning (TRIM_HORIZON) or their end (LATEST)")
    return {**options, "from_end": start == "LATEST"}


def _store(rest: str, **options: Any) -> Source:
    directory, name = split_store(rest, "STREAM")
    store = streamstore.open(directory, create=False)
    try:
        return StreamSource(store.stream(name), owned=store, **options)
    except BaseException:
        store.close()
        raise
