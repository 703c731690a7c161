"""The partition key and the event time of a line. Pure functions of the line's bytes: the same line always gives the
same key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple

from streamstore.errors import InvalidArgumentError

KEY_LENGTH_MAX = 256
_UNITS_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MISSING = object()

TimeParser = Callable[[Any], "datetime | None"]


class Fields(NamedTuple):
    """What was found in a line; None where there is none, or none that can be used."""

    key: str | None
    event_time: datetime | None


class FieldTaker:
    """Takes key and time from lines, by a dotted path into JSON or by the first group of a regular expression."""

    def __init__(
        self,
        *,
        key_field: str | None = None,
        key_regex: str | None = None,
        time_field: str | None = None,
        time_regex: str | None = None,
        time_parser: TimeParser | None = None,
    ) -> None:
        self._key_path = None if key_field is None else key_field.split(".")
        self._time_path = None if time_field is None else time_field.split(".")
        self._key_pattern = None if key_regex is None else re.compile(key_regex)
        self._time_pattern = None if time_regex is None else re.compile(time_regex)
        self._parse_time = time_parser or time_parser_for(None)
        self.wants_key = key_field is not None or key_regex is not None
        self.wants_time = time_field is not None or time_regex is not None
        self._wants_json = key_field is not None or time_field is not None

    def take(self, data: bytes) -> Fields:
        """The key and the time of one line."""
        document = _document(data) if self._wants_json else _MISSING
        key = time = None
        if self._key_path is not None:
            key = _key_text(_at(document, self._key_path))
        elif self._key_pattern is not None:
            key = _key_text(_group(self._key_pattern, data))
        if self._time_path is not None:
            time = self._parse_time(_at(document, self._time_path))
        elif self._time_pattern is not None:
            time = self._parse_time(_group(self._time_pattern, data))
        return Fields(key, time)


def _document(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return _MISSING


def _at(document: Any, path: list[str]) -> Any:
    for name in path:
        if isinstance(document, dict):
            document = document.get(name, _MISSING)
        elif isinstance(document, list) and name.isdigit() and int(name) < len(document):
            document = document[int(name)]
        else:
            return _MISSING
    return document


def _group(pattern: re.Pattern[str], data: bytes) -> Any:
    match = pattern.search(data.decode(errors="backslashreplace"))
    if match is None:
        return _MISSING
    found = match.group(1 if pattern.groups else 0)
    return _MISSING if found is None else found


def _key_text(value: Any) -> str | None:
    if isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, (int, float)):
        text = json.dumps(value)
    elif isinstance(value, str):
        text = value.encode(errors="backslashreplace").decode()  # JSON can carry half a surrogate pair, UTF-8 cannot
    else:
        return None
    return text if 0 < len(text) <= KEY_LENGTH_MAX else None


def time_parser_for(time_format: str | None, *, now: datetime | None = None) -> TimeParser:
    """The parser for `--time-format`: s, ms, us or ns since 1970, iso, or a strptime pattern.

    None guesses between numbers and ISO 8601. What lies before 1970 cannot be stored, and gives None. Raises
    InvalidArgumentError for what is no format.
    """
    parse = _parser(time_format, now or datetime.now(timezone.utc))

    def storable(value: Any) -> datetime | None:
        moment = parse(value)
        return moment if moment is not None and moment >= _EPOCH else None

    return storable


def _parser(time_format: str | None, now: datetime) -> TimeParser:
    if time_format is None:
        return _from_anything
    if time_format == "iso":
        return _from_iso
    if time_format in _UNITS_PER_SECOND:
        # 0 stands for nanoseconds, of which a microsecond has many.
        scale = 0 if time_format == "ns" else 1_000_000 // _UNITS_PER_SECOND[time_format]
        return lambda value: _from_number(value, scale)
    return _StrptimeParser(time_format, now)


def _from_number(value: Any, microseconds_each: int) -> datetime | None:
    """A count of units of so many microseconds; 0 stands for nanoseconds."""
    try:
        number = (
            int(value)
            if isinstance(value, int) or (isinstance(value, str) and value.lstrip("-").isdigit())
            else float(value)
        )
        us = int(number * microseconds_each) if microseconds_each else int(number // 1000)
        return _EPOCH + timedelta(microseconds=us)
    except (TypeError, ValueError, OverflowError):
        return None


def _from_iso(value: Any) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", value))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def _from_anything(value: Any) -> datetime | None:
    """A number by its size (seconds reach 1e11 in the year 5138, where milliseconds still stand in 1973), else ISO
    8601.
    """
    try:
        number = abs(float(value))
    except (TypeError, ValueError):
        return _from_iso(value)
    microseconds_each = 1_000_000 if number < 1e11 else 1_000 if number < 1e14 else 1 if number < 1e17 else 0
    return _from_number(value, microseconds_each)


class _StrptimeParser:
    """strptime, remembering the last text: lines of one second come together. No zone means UTC.

    A format without a year takes this year, or the last one where that would lie more than a day ahead.
    """

    def __init__(self, time_format: str, now: datetime) -> None:
        self._has_year = bool(re.search(r"(?<!%)(?:%%)*%[YyGcxD]", time_format))
        self._format = time_format if self._has_year else f"%Y {time_format}"
        self._now = now
        self._last_text: Any = _MISSING
        self._last: datetime | None = None
        try:
            datetime.strptime("", self._format)  # noqa: DTZ007 - it is about the format
        except (ValueError, re.error) as error:
            if "does not match" not in str(error):  # as nothing does not match any good format
                raise InvalidArgumentError(f"time format {time_format!r}: {error}") from None

    def __call__(self, value: Any) -> datetime | None:
        if value != self._last_text:
            self._last_text, self._last = value, self._parse(value)
        return self._last

    def _parse(self, value: Any) -> datetime | None:
        if not isinstance(value, (str, int, float)):
            return None
        if self._has_year:
            return self._strptime(str(value))
        moment = self._strptime(f"{self._now.year} {value}")
        if moment is None or moment > self._now + timedelta(days=1):
            moment = self._strptime(f"{self._now.year - 1} {value}")
        return moment

    def _strptime(self, text: str) -> datetime | None:
        try:
            moment = datetime.strptime(text, self._format)  # noqa: DTZ007 - a zone is added below where there is none
        except ValueError:
            return None
        return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
