"""Times as text by the format tokens of moment.js, English names; the language that templates say dates in."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta

_MONTHS = "January February March April May June July August September October November December".split()
_DAYS = "Sunday Monday Tuesday Wednesday Thursday Friday Saturday".split()

# Long forms that stand for other tokens.
_LONG = {
    "LTS": "h:mm:ss A",
    "LT": "h:mm A",
    "LLLL": "dddd, MMMM D, YYYY h:mm A",
    "LLL": "MMMM D, YYYY h:mm A",
    "LL": "MMMM D, YYYY",
    "L": "MM/DD/YYYY",
    "llll": "ddd, MMM D, YYYY h:mm A",
    "lll": "MMM D, YYYY h:mm A",
    "ll": "MMM D, YYYY",
    "l": "M/D/YYYY",
}
_TOKEN = re.compile(
    r"\[([^\]]*)\]|\\(.)|(LTS|LT|LL?L?L?|l{1,4}|Mo|MM?M?M?|Qo|Q|Do|DDDo|DD?D?D?|do|dd?d?d?|wo|ww?|Wo|WW?|e|E"
    r"|YYYYYY|YYYYY|YYYY|YY|Y|gggg|gg|GGGG|GG|A|a|HH?|hh?|kk?|mm?|ss?|S{1,9}|ZZ?|zz?|X|x)"
)


def _ordinal(number: int) -> str:
    if number % 100 in (11, 12, 13):
        return f"{number}th"
    return f"{number}" + {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")


def _sunday_based(at: datetime) -> int:
    return (at.weekday() + 1) % 7


def _week(at: datetime) -> tuple[int, int]:
    """Year and week as the United States count them: from Sunday, the week of 1 January is the first."""
    saturday = at + timedelta(days=6 - _sunday_based(at))
    return saturday.year, (saturday.timetuple().tm_yday - 1) // 7 + 1


def _offset(at: datetime, colon: str) -> str:
    minutes = int((at.utcoffset() or timedelta()).total_seconds()) // 60
    sign = "-" if minutes < 0 else "+"
    hours, rest = divmod(abs(minutes), 60)
    return f"{sign}{hours:02d}{colon}{rest:02d}"


def _hour(at: datetime) -> int:
    return at.hour % 12 or 12


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp()) * 1000 + at.microsecond // 1000


_NUMBERS: dict[str, Callable[[datetime], int]] = {
    "M": lambda at: at.month,
    "Q": lambda at: (at.month + 2) // 3,
    "D": lambda at: at.day,
    "DDD": lambda at: at.timetuple().tm_yday,
    "d": _sunday_based,
    "e": _sunday_based,
    "E": lambda at: at.isoweekday(),
    "w": lambda at: _week(at)[1],
    "W": lambda at: at.isocalendar()[1],
    "Y": lambda at: at.year,
    "H": lambda at: at.hour,
    "h": _hour,
    "k": lambda at: at.hour or 24,
    "m": lambda at: at.minute,
    "s": lambda at: at.second,
    "X": lambda at: int(at.timestamp()),
    "x": _milliseconds,
}
_TEXTS: dict[str, Callable[[datetime], str]] = {
    "MMM": lambda at: _MONTHS[at.month - 1][:3],
    "MMMM": lambda at: _MONTHS[at.month - 1],
    "DDDD": lambda at: f"{at.timetuple().tm_yday:03d}",
    "dd": lambda at: _DAYS[_sunday_based(at)][:2],
    "ddd": lambda at: _DAYS[_sunday_based(at)][:3],
    "dddd": lambda at: _DAYS[_sunday_based(at)],
    "YY": lambda at: f"{at.year % 100:02d}",
    "YYYY": lambda at: f"{at.year:04d}",
    "YYYYY": lambda at: f"{at.year:05d}",
    "YYYYYY": lambda at: f"+{at.year:06d}",
    "gggg": lambda at: f"{_week(at)[0]:04d}",
    "gg": lambda at: f"{_week(at)[0] % 100:02d}",
    "GGGG": lambda at: f"{at.isocalendar()[0]:04d}",
    "GG": lambda at: f"{at.isocalendar()[0] % 100:02d}",
    "A": lambda at: "AM" if at.hour < 12 else "PM",
    "a": lambda at: "am" if at.hour < 12 else "pm",
    "Z": lambda at: _offset(at, ":"),
    "ZZ": lambda at: _offset(at, ""),
    "z": lambda at: at.tzname() or "",
    "zz": lambda at: at.tzname() or "",
}


def _part(token: str) -> Callable[[datetime], str]:
    if token in _LONG:
        return compile_format(_LONG[token])
    if token in _TEXTS:
        return _TEXTS[token]
    if token in _NUMBERS:
        number = _NUMBERS[token]
        return lambda at: str(number(at))
    if token[0] == "S":
        return lambda at: f"{at.microsecond:06d}000"[: len(token)]
    if token.endswith("o"):
        counted = _NUMBERS[token[:-1]]
        return lambda at: _ordinal(counted(at))
    padded = _NUMBERS[token[0]]  # two of one letter: with a leading zero
    return lambda at: f"{padded(at):02d}"


def compile_format(pattern: str) -> Callable[[datetime], str]:
    """A function that writes an aware datetime as moment.js would by `pattern`; "" is ISO 8601 to the second."""
    if not pattern:
        return _iso
    parts: list[str | Callable[[datetime], str]] = []
    at = 0
    for found in _TOKEN.finditer(pattern):
        parts.append(pattern[at : found.start()])
        quoted, escaped, token = found.groups()
        parts.append(_part(token) if token else escaped or quoted or "")
        at = found.end()
    parts.append(pattern[at:])
    return lambda when: "".join([part if isinstance(part, str) else part(when) for part in parts])


def _iso(at: datetime) -> str:
    zone = "Z" if not at.utcoffset() and at.tzname() == "UTC" else _offset(at, ":")
    return f"{at:%Y-%m-%dT%H:%M:%S}{zone}"
