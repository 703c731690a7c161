"""Records as output: raw bytes, JSON lines, or aligned columns. Takes records, writes bytes; opens nothing."""

from __future__ import annotations

import base64
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import BinaryIO, Protocol

import click

from streamstore.aggregation import RULES
from streamstore.cli.output import iso, iso_us, json_value, printable
from streamstore.native import Record

# json.dumps would make an encoder for every record.
_encode = json.JSONEncoder(ensure_ascii=False, default=json_value).encode


class Writer(Protocol):
    """One form of output. `records` come in order; `end` is called once after the last."""

    def records(self, records: Sequence[Record]) -> None: ...

    def end(self) -> None: ...


class RawWriter:
    """Data, each followed by a newline; the last one without, where its source line had none, so that a file comes
    back byte for byte.
    """

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._last: Record | None = None

    def records(self, records: Sequence[Record]) -> None:
        if not records:
            return
        before = b"" if self._last is None else b"\n"
        self._out.write(before + b"\n".join([record.data for record in records]))
        self._last = records[-1]

    def end(self) -> None:
        if self._last is not None and not is_unterminated(self._last):
            self._out.write(b"\n")
        self._out.flush()


class FollowingRawWriter:
    """Data, each followed by its newline at once: whoever follows wants the whole line now."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out

    def records(self, records: Sequence[Record]) -> None:
        self._out.write(b"".join([record.data + b"\n" for record in records]))
        self._out.flush()

    def end(self) -> None:
        self._out.flush()


class JsonWriter:
    """A JSON object a line."""

    def __init__(self, out: BinaryIO, attributes: bool) -> None:
        self._out = out
        self._attributes = attributes

    def records(self, records: Sequence[Record]) -> None:
        lines = [_encode(record_document(record, self._attributes)) for record in records]
        self._out.write(("\n".join(lines) + "\n").encode() if lines else b"")
        self._out.flush()

    def end(self) -> None:
        self._out.flush()


class TableWriter:
    """Columns for people; the data is cut to the terminal's width, and whole where the output is no terminal."""

    HEADER = f"{'ARRIVAL (UTC)':<27}  {'SHARD':>5}  {'SEQUENCE NUMBER':<56}  {'KEY':<20}  DATA"

    def __init__(self, out: BinaryIO, attributes: bool, width: int | None) -> None:
        self._out = out
        self._attributes = attributes
        self._width = width
        self._narrow = width is not None and width < 170
        self._started = False

    def records(self, records: Sequence[Record]) -> None:
        lines = [] if self._started else [self._header()]
        self._started = True
        lines += [self._line(record) for record in records]
        self._out.write(("\n".join(lines) + "\n").encode(errors="backslashreplace"))
        self._out.flush()

    def end(self) -> None:
        self._out.flush()

    def _header(self) -> str:
        return self._cut(self.HEADER.replace(f"{'SEQUENCE NUMBER':<56}  ", "") if self._narrow else self.HEADER)

    def _line(self, record: Record) -> str:
        key = "-" if record.partition_key is None else printable(record.partition_key)
        number = "" if self._narrow else f"{record.sequence_number:<56}  "
        text = printable(record.data.decode(errors="backslashreplace"))
        if self._attributes and record.attributes:
            text += "  " + printable(json.dumps(record.attributes, ensure_ascii=False, default=json_value))
        return self._cut(
            f"{iso_us(record.arrival_us):<27}  {shard_number(record.shard_id):>5}  {number}{key:<20}  {text}"
        )

    def _cut(self, line: str) -> str:
        return line if self._width is None or len(line) <= self._width else line[: self._width - 1] + "…"


def writer_for(form: str | None, *, attributes: bool, follow: bool) -> Writer:
    """The writer for `raw`, `json` or (where None too) `table` on stdout."""
    out = sys.stdout.buffer
    if form == "raw":
        return FollowingRawWriter(out) if follow else RawWriter(out)
    if form == "json":
        return JsonWriter(out, attributes)
    return TableWriter(out, attributes, shutil.get_terminal_size().columns if sys.stdout.isatty() else None)


def is_unterminated(record: Record) -> bool:
    """Whether the record came from the last line of a source, and that line had no newline."""
    source = record.source
    return bool(source) and isinstance(source, dict) and source.get("newline") is False


def record_document(record: Record, attributes: bool) -> dict[str, object]:
    """The record as a JSON object; data that is not UTF-8 stands in `data_base64` in place of `data`."""
    document: dict[str, object] = {
        "shard_id": record.shard_id,
        "sequence_number": record.sequence_number,
        "partition_key": record.partition_key,
        "arrival_time": iso_us(record.arrival_us),
    }
    if record.event_time is not None:
        document["event_time"] = iso(record.event_time)
    try:
        document["data"] = record.data.decode()
    except UnicodeDecodeError:
        document["data_base64"] = base64.b64encode(record.data).decode()
    if record.user_record_count:
        document["sub_sequence_number"] = record.sub_sequence_number
    if attributes:
        document["attributes"] = record.attributes
        document["source"] = record.source
    return document


def shard_number(shard_id: str) -> str:
    """The number in a shard's id without its zeros."""
    return shard_id.rpartition("-")[2].lstrip("0") or "0"


def deaggregate_options(command: Callable[..., object]) -> Callable[..., object]:
    """--deaggregate and --range-rule, the second of which implies the first."""
    command = click.option(
        "--range-rule",
        type=click.Choice(RULES),
        help="Of an aggregate with user records of other shards: all, none (strict, as the KCL) or the shard's own.",
    )(command)
    return click.option("--deaggregate", is_flag=True, help="The user records in KPL aggregates, each by itself.")(
        command
    )


def form_options(command: Callable[..., object]) -> Callable[..., object]:
    """--raw, --json and --table, of which the last one given counts."""
    for flag, text in (
        ("table", "Aligned columns for people (this is the default)."),
        ("json", "A JSON object a line; data that is not UTF-8 as base64."),
        ("raw", "The data of each record and a newline, nothing else."),
    ):
        command = click.option(f"--{flag}", "form", flag_value=flag, help=text)(command)
    return command
