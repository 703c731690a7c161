"""The arguments that verbs share: directory, stream, start and end, sizes, and how names complete. Opens nothing but
for completion.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

import streamstore
from streamstore.cli.exits import NOT_FOUND, VerbError
from streamstore.store import Store
from streamstore.stream import Stream

Command = TypeVar("Command", bound=Callable[..., Any])
DURABILITIES = click.Choice(["sync", "interval", "process"])
_RELATIVE = re.compile(r"^-?(\d+(?:\.\d+)?)\s*(s|m|h|d)(?:\s+ago)?$")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SEQUENCE_NUMBER = re.compile(r"^\d{50,60}$")
_SIZE = re.compile(r"^(\d+(?:\.\d+)?)\s*(?:([kmgt])i?)?b?$", re.IGNORECASE)


def open_to_read(directory: Path) -> Store:
    """Open a store that must be there, without changing a byte of its data."""
    must_exist(directory)
    return streamstore.open(directory, create=False, read_only=True, key_ring=key_ring())


def open_to_write(directory: Path, *, create: bool = False, durability: str | None = None) -> Store:
    """Open a store to write to, or to follow what others write; it must be there unless `create`."""
    if not create:
        must_exist(directory)
    if durability is None:
        return streamstore.open(directory, create=create, key_ring=key_ring())
    return streamstore.open(directory, create=create, durability=durability, key_ring=key_ring())


def key_ring() -> str | None:
    """The key ring that was named before the verb, or in STREAMSTORE_KEY_RING."""
    context = click.get_current_context(silent=True)
    found = context.find_root().obj if context else None
    return found["key_ring"] if found else None


def must_exist(directory: Path) -> None:
    """Exit where there is no directory that could hold a store."""
    if not directory.exists():
        raise VerbError(
            f"{directory}: there is no such directory; `streamstore create {directory} STREAM` makes a store", NOT_FOUND
        )
    if not directory.is_dir():
        raise VerbError(f"{directory}: not a directory; a store is one", NOT_FOUND)


def streams_of(store: Store, name: str | None) -> list[Stream]:
    """The stream called `name`, or all of them."""
    return [store.stream(name)] if name else [store.stream(each) for each in stream_names(store)]


def stream_names(store: Store) -> list[str]:
    return sorted(store.list_streams())


def _complete_stream(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    try:
        with open_to_read(Path(ctx.params["directory"])) as store:
            return [CompletionItem(name) for name in stream_names(store) if name.startswith(incomplete)]
    except Exception:  # completion must never print or fail
        return []


def directory_argument(command: Command) -> Command:
    return click.argument("directory", type=click.Path(path_type=Path, file_okay=False))(command)


def stream_argument(command: Command) -> Command:
    return click.argument("stream", shell_complete=_complete_stream)(command)


def optional_stream_argument(command: Command) -> Command:
    return click.argument("stream", required=False, shell_complete=_complete_stream)(command)


def json_option(command: Command) -> Command:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(command)


class PositionType(click.ParamType):  # type: ignore[type-arg]
    """A place to read from or to: TRIM_HORIZON, LATEST, a time, `15m ago`, a sequence number, or a reader's position
    as JSON or @file.
    """

    name = "position"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        if value.upper() in ("TRIM_HORIZON", "LATEST"):
            return value.upper()
        if value.startswith(("{", "@")):
            return self._position(value, param, ctx)
        if _SEQUENCE_NUMBER.match(value):
            return SequenceNumber(value)
        moment = parse_time(value)
        if moment is None:
            self.fail(
                f"{value!r} is not TRIM_HORIZON, LATEST, a time (2026-05-17T10:05:03Z, 1715940303, 15m), "
                "a sequence number or a position",
                param,
                ctx,
            )
        return moment

    def _position(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return json.loads(Path(value[1:]).read_text() if value.startswith("@") else value)
        except (OSError, ValueError) as error:
            self.fail(f"not a saved position: {error}", param, ctx)


class SequenceNumber(str):
    """A start or end given as a record's sequence number; it names a place in one shard only."""


class SizeType(click.ParamType):  # type: ignore[type-arg]
    """A number of bytes: 1048576, 64k, 1MiB (always in powers of 1024)."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        match = _SIZE.match(str(value).strip())
        if match is None:
            self.fail(f"{value!r} is not a size such as 65536, 64k or 1MiB", param, ctx)
        power = "kmgt".find((match[2] or "").lower()) + 1 if match[2] else 0
        return int(float(match[1]) * 1024**power)


POSITION = PositionType()
SIZE = SizeType()


def parse_time(text: str) -> datetime | None:
    """An aware datetime from ISO 8601 (UTC where no zone is given), epoch seconds, or an age such as `15m`; None if
    it is none of these.
    """
    age = _RELATIVE.match(text)
    if age:
        return datetime.now(timezone.utc) - timedelta(seconds=float(age[1]) * _SECONDS[age[2]])
    try:
        return datetime.fromtimestamp(float(text), timezone.utc)
    except (ValueError, OverflowError, OSError):
        pass
    try:
        moment = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
