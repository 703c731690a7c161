"""How verbs print: JSON documents, tables, numbers a person can read. Knows nothing of streams."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from functools import lru_cache
from typing import Any

from rich.console import Console
from rich.table import Table

WIDTH_WITHOUT_TERMINAL = 160


def console(*, stderr: bool = False) -> Console:
    """A console that never folds names where nobody sets a width, and never colours where nobody looks."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else WIDTH_WITHOUT_TERMINAL
    return Console(file=stream, width=width, highlight=False, soft_wrap=False, emoji=False, markup=False)


def print_json(value: Any) -> None:
    """One JSON document, for programs."""
    sys.stdout.write(writable(json.dumps(value, indent=2, ensure_ascii=False, default=json_value)) + "\n")


def writable(text: str) -> str:
    """A text with what UTF-8 has no bytes for (half of a surrogate pair, which JSON can escape) escaped as in JSON."""
    return text.encode(errors="backslashreplace").decode()


def json_value(value: Any) -> Any:
    """What JSON has no word for: times as ISO 8601 in UTC, bytes as text or as base64 in an object."""
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, (bytes, memoryview)):
        raw = bytes(value)
        try:
            return raw.decode()
        except UnicodeDecodeError:
            import base64

            return {"base64": base64.b64encode(raw).decode()}
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None, right: Iterable[str] = ()
) -> None:
    """A plain aligned table; the columns named in `right` are numbers."""
    table = Table(title=title, box=None, title_justify="left", pad_edge=False, padding=(0, 2, 0, 0))
    numbers = set(right)
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold", header_style="bold")
    for row in rows:
        table.add_row(*("-" if cell is None else printable(str(cell)) for cell in row))
    console().print(table)


def print_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Name and value, a line each."""
    rows = [(name, "-" if value is None else printable(str(value))) for name, value in facts]
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        sys.stdout.write(f"{name:<{width}}  {value}\n")


def printable(text: str) -> str:
    """The text with control characters escaped: what is in a record must not drive the terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def iso(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")


def iso_us(us: int) -> str:
    """Microseconds since 1970 as ISO 8601; the bare number where it is outside of the calendar."""
    second = _iso_second(us // 1_000_000)
    return f"{us} us" if second is None else f"{second}.{us % 1_000_000:06d}Z"


@lru_cache(maxsize=64)
def _iso_second(second: int) -> str | None:
    # Most records of a listing share their second with the one before.
    try:
        return datetime.fromtimestamp(second, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return None


def size_text(size: float) -> str:
    """Bytes in powers of 1024."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def duration_text(seconds: float) -> str:
    """A duration with three digits that matter, or two units."""
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} us"
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 120:
        return f"{seconds:.3g} s"
    minutes, hours = int(seconds // 60), int(seconds // 3600)
    if hours < 2:
        return f"{minutes} min {int(seconds % 60)} s"
    return f"{hours} h {minutes % 60} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def note(line: str) -> None:
    """A remark on stderr, where it never mixes with the output."""
    sys.stderr.write(f"streamstore: {line}\n")
    sys.stderr.flush()
