"""Templates in the language of the Kinesis Data Generator: text with {{name}} and {{name(JSON)}} in it.

{"sensor": {{random.number(50)}}, "at": "{{date.now("YYYY-MM-DD")}}", "who": "{{name.firstName}}"}
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from difflib import get_close_matches
from functools import partial
from typing import Any, NamedTuple

from streamstore import clock
from streamstore.errors import InvalidArgumentError
from streamstore.generate.functions import Context, make_function, names
from streamstore.values import PutEntry

_NAME = re.compile(r"\s*([A-Za-z_][\w.]*)\s*")
_END = re.compile(r"\s*\}\}")
_SPACE = re.compile(r"\s*")
_DECODER = json.JSONDecoder()
NOTHING = object()


class TemplateError(InvalidArgumentError):
    """A template that cannot be read; the message says where and why."""


class _Call(NamedTuple):
    name: str
    argument: Any
    at: int


class Template:
    """Makes records by a template for the data and, where it is given, one for the partition key.

    Functions are those of the Kinesis Data Generator and faker.js; most names of the latter need the extra `generate`.
    The same seed gives the same records, dates of the clock aside. Without `key`, keys are 16 random hex digits. Raises
    TemplateError.
    """

    def __init__(self, text: str, *, key: str | None = None, seed: int | None = None, locale: str = "en_US") -> None:
        self._context = Context(random.Random(seed), locale)
        self._data = _compile(text, self._context)
        self._key = None if key is None else _compile(key, self._context)

    def make(self, moment_us: int) -> PutEntry:
        """One record of that moment: `date.now` is it in local time, `date.utc` in UTC."""
        self._context.moment = clock.to_datetime(moment_us)
        data = "".join([part() for part in self._data]).encode()
        self._context.number += 1
        if self._key is None:
            return PutEntry(data, f"{self._context.chance.getrandbits(64):016x}")
        key = "".join([part() for part in self._key])
        if not 1 <= len(key) <= 256:
            raise InvalidArgumentError(f"the template of the key made {key[:60]!r}: a key has 1 to 256 characters")
        return PutEntry(data, key)


def _compile(text: str, context: Context) -> list[Callable[[], str]]:
    parts: list[Callable[[], str]] = []
    for piece in _pieces(text):
        if isinstance(piece, str):
            parts.append(partial(str, piece))
            continue
        try:
            parts.append(make_function(piece.name, None if piece.argument is NOTHING else piece.argument, context))
        except LookupError:
            raise _error(text, piece.at, f"there is no {piece.name!r}{_near(piece.name)}") from None
        except InvalidArgumentError as error:
            raise _error(text, piece.at, f"{piece.name}: {error}") from None
    return parts


def _pieces(text: str) -> list[str | _Call]:
    found: list[str | _Call] = []
    at = 0
    while (begin := text.find("{{", at)) >= 0:
        # "{{{random.number(5)}}}": braces of a JSON object stand around those of the template
        while text.startswith("{", begin + 2):
            begin += 1
        found.append(text[at:begin])
        call, at = _call(text, begin)
        found.append(call)
    return [*found, text[at:]]


def _call(text: str, begin: int) -> tuple[_Call, int]:
    name = _NAME.match(text, begin + 2)
    if name is None:
        raise _error(text, begin, "a name is wanted behind {{")
    at, argument = name.end(), NOTHING
    if text.startswith("(", at):
        argument, at = _argument(text, at + 1)
    end = _END.match(text, at)
    if end is None:
        raise _error(text, begin, f"{{{{{name[1]} is not closed by }}}}")
    return _Call(name[1], argument, begin), end.end()


def _argument(text: str, at: int) -> tuple[Any, int]:
    """What stands in brackets, as JSON, or as plain text where it is none; and the place behind them."""
    start = at
    at = _space(text, at)
    if text.startswith(")", at):
        return NOTHING, at + 1
    try:
        value, end = _DECODER.raw_decode(text, at)
        end = _space(text, end)
        if text.startswith(")", end):
            return value, end + 1
    except ValueError:
        pass
    close = re.compile(r"\)\s*\}\}").search(text, start)
    if close is None:
        raise _error(text, start, "( is not closed by )")
    plain = text[start : close.start()].strip()
    if plain[:1] in '{["':
        raise _error(text, start, f"{plain[:60]} is no JSON")
    return plain, close.start() + 1


def _space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    assert found is not None  # it matches nothing as well
    return found.end()


def _near(name: str) -> str:
    close = get_close_matches(name, names(), 1, 0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def _error(text: str, at: int, what: str) -> TemplateError:
    line = text.count("\n", 0, at) + 1
    column = at - text.rfind("\n", 0, at)
    return TemplateError(f"line {line}, column {column}: {what}")
