"""The functions of templates that need no names of people and places: numbers, choices, dates, counters, keys."""

from __future__ import annotations

import json
import random
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from itertools import accumulate
from typing import Any

from streamstore import clock
from streamstore.errors import InvalidArgumentError
from streamstore.generate import faker_names
from streamstore.generate.moment import compile_format
from streamstore.generate.skew import Keys


class Context:
    """What functions share: the source of chance, the moment and the number of the record that is being made."""

    def __init__(self, chance: random.Random, locale: str) -> None:
        self.chance = chance
        self.locale = locale
        self.moment = clock.to_datetime(0)
        self.number = 0
        self._faker: Any = None

    @property
    def faker(self) -> Any:
        """One Faker, under the same seed as all else."""
        if self._faker is None:
            self._faker = faker_names.make_faker(self.locale, self.chance.getrandbits(64))
        return self._faker


Function = Callable[[], str]
_Maker = Callable[[Any, Context], Function]
_HEX = "0123456789abcdef"
_ALPHANUMERIC = "abcdefghijklmnopqrstuvwxyz0123456789"


def make_function(name: str, argument: Any, context: Context) -> Function:
    """The function of a template that `name` and its argument stand for (None: no argument).

    Raises LookupError for a name there is not, InvalidArgumentError for an argument that does not fit.
    """
    if name in _MAKERS:
        return _MAKERS[name](argument, context)
    call = faker_names.make_call(name, argument, context.faker) if name in faker_names.NAMES else None
    if call is None:
        raise LookupError(name)
    return lambda: text_of(call())


def names() -> list[str]:
    """All names there are."""
    return sorted([*_MAKERS, *faker_names.NAMES])


def text_of(value: Any) -> str:
    """A value as a template shows it: text as it is, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _options(argument: Any, *known: str) -> Mapping[str, Any]:
    if not isinstance(argument, dict):
        raise InvalidArgumentError(f"wants an object with {', '.join(known)}, not {argument!r}")
    if unknown := sorted(set(argument) - set(known)):
        raise InvalidArgumentError(f"has no {', '.join(unknown)}; it takes {', '.join(known)}")
    return argument


def _range(argument: Any, precision: float) -> tuple[float, float, float]:
    """min, max and precision; a number alone is the max."""
    if argument is None:
        argument = {}
    elif not isinstance(argument, dict):
        argument = {"max": argument}
    given = _options(argument, "min", "max", "precision")
    found = (given.get("min", 0), given.get("max", 99999), given.get("precision", precision))
    for name, number in zip(("min", "max", "precision"), found, strict=True):
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            raise InvalidArgumentError(f"{name} is a number, not {number!r}")
    low, high, step = found
    if low > high:
        raise InvalidArgumentError(f"min {low} is above max {high}")
    if step <= 0:
        raise InvalidArgumentError(f"precision is above 0, not {step}")
    return low, high, step


def _number(argument: Any, context: Context) -> Function:
    low, high, step = _range(argument, 1)
    if step == 1 and isinstance(low, int) and isinstance(high, int):
        return lambda: str(context.chance.randint(low, high))
    return _stepped(low, high, step, context)


def _float(argument: Any, context: Context) -> Function:
    return _stepped(*_range(argument, 0.01), context)


def _stepped(low: float, high: float, step: float, context: Context) -> Function:
    count = int((high - low) / step + 1e-9)
    digits = max(0, len(f"{step:.12f}".rstrip("0").split(".")[1]))
    return lambda: f"{low + step * context.chance.randint(0, count):.{digits}f}"


def _element(argument: Any, context: Context) -> Function:
    if not isinstance(argument, list) or not argument:
        raise InvalidArgumentError(f"wants a list with something in it, not {argument!r}")
    texts = [text_of(value) for value in argument]
    return lambda: context.chance.choice(texts)


def _weighted(argument: Any, context: Context) -> Function:
    given = _options(argument, "weights", "data")
    weights, data = given.get("weights"), given.get("data")
    if not isinstance(weights, list) or not isinstance(data, list) or len(weights) != len(data) or not data:
        raise InvalidArgumentError("wants lists `weights` and `data` of one length")
    if not all(isinstance(weight, (int, float)) and weight >= 0 for weight in weights) or not any(weights):
        raise InvalidArgumentError("weights are numbers from 0 up, not all of them 0")
    texts = [text_of(value) for value in data]
    bounds = list(accumulate(weights))
    return lambda: texts[min(bisect_right(bounds, context.chance.random() * bounds[-1]), len(texts) - 1)]


def _date(argument: Any, local: bool, context: Context) -> Function:
    if argument is not None and not isinstance(argument, str):
        raise InvalidArgumentError(f'wants a format such as "YYYY-MM-DD", not {argument!r}')
    write = compile_format(argument or "")
    zone = None if local else timezone.utc
    return lambda: write(context.moment.astimezone(zone))


def _clock(argument: Any, local: bool, context: Context) -> Function:
    """The wall clock's time, which differs from the record's where time is simulated."""
    if argument is not None and not isinstance(argument, str):
        raise InvalidArgumentError(f'wants a format such as "YYYY-MM-DD", not {argument!r}')
    write = compile_format(argument or "")
    return lambda: write(datetime.now(timezone.utc).astimezone(None if local else timezone.utc))


def _shift(argument: Any, context: Context, sign: int, default_days: float) -> Function:
    """A moment up to `argument` years (or days) away, in ISO 8601."""
    days = default_days if argument is None else argument
    if isinstance(days, bool) or not isinstance(days, (int, float)) or days < 0:
        raise InvalidArgumentError(f"wants a number from 0 up, not {argument!r}")
    span_us = int(days * 86_400_000_000)

    def shifted() -> str:
        away = context.chance.randint(0, span_us)
        at = clock.to_datetime(clock.to_us(context.moment) + sign * away)
        return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    return shifted


def _years(argument: Any) -> Any:
    return 365 if argument is None else argument * 365 if isinstance(argument, (int, float)) else argument


def _letters(alphabet: str, prefix: str) -> _Maker:
    def make(argument: Any, context: Context) -> Function:
        count = 1 if argument is None else argument
        if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= 1 << 20:
            raise InvalidArgumentError(f"wants a count from 0 to {1 << 20:,}, not {argument!r}")
        return lambda: prefix + "".join(context.chance.choices(alphabet, k=count))

    return make


def _uuid(argument: Any, context: Context) -> Function:
    def made() -> str:
        bits = context.chance.getrandbits(128) & ~(0xF << 76) & ~(0x3 << 62) | 0x4 << 76 | 0x2 << 62
        text = f"{bits:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    return made


def _zipf(argument: Any, context: Context) -> Function:
    given = _options(argument if argument is not None else {}, "keys", "exponent", "prefix")
    prefix = given.get("prefix", "key-")
    if not isinstance(prefix, str):
        raise InvalidArgumentError(f"prefix is text, not {prefix!r}")
    keys = Keys(_whole(given, "keys", 1000), _real(given, "exponent", 1.0), prefix)
    return lambda: keys.draw(context.chance)


def _padding(argument: Any, context: Context) -> Function:
    low, high, _ = _range({"max": argument} if isinstance(argument, int) else argument, 1)
    if not 0 <= low <= high <= 10 << 20:
        raise InvalidArgumentError(f"from 0 to {10 << 20:,} letters")
    return lambda: "".join(context.chance.choices(_ALPHANUMERIC, k=context.chance.randint(int(low), int(high))))


def _whole(given: Mapping[str, Any], name: str, default: int) -> int:
    number = given.get(name, default)
    if isinstance(number, bool) or not isinstance(number, int):
        raise InvalidArgumentError(f"{name} is a whole number, not {number!r}")
    return number


def _real(given: Mapping[str, Any], name: str, default: float) -> float:
    number = given.get(name, default)
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        raise InvalidArgumentError(f"{name} is a number, not {number!r}")
    return number


def _octets(context: Context, count: int) -> Sequence[int]:
    return context.chance.randbytes(count)


_MAKERS: dict[str, _Maker] = {
    "random.number": _number,
    "random.float": _float,
    "random.arrayElement": _element,
    "random.weightedArrayElement": _weighted,
    "random.boolean": lambda _, context: lambda: "true" if context.chance.random() < 0.5 else "false",
    "random.uuid": _uuid,
    "random.alphaNumeric": _letters(_ALPHANUMERIC, ""),
    "random.hexaDecimal": _letters(_HEX, "0x"),
    "random.padding": _padding,
    "date.now": lambda argument, context: _clock(argument, True, context),
    "date.utc": lambda argument, context: _clock(argument, False, context),
    "date.simTime": lambda argument, context: _date(argument, True, context),
    "date.simUtc": lambda argument, context: _date(argument, False, context),
    "date.past": lambda argument, context: _shift(_years(argument), context, -1, 365),
    "date.future": lambda argument, context: _shift(_years(argument), context, 1, 365),
    "date.recent": lambda argument, context: _shift(argument, context, -1, 1),
    "sequence.number": lambda _, context: lambda: str(context.number),
    "key.zipf": _zipf,
    "internet.ip": lambda _, context: lambda: "%d.%d.%d.%d" % tuple(_octets(context, 4)),
    "internet.ipv6": lambda _, context: lambda: ":".join(f"{context.chance.getrandbits(16):x}" for _ in range(8)),
    "internet.mac": lambda _, context: lambda: ":".join(f"{octet:02x}" for octet in _octets(context, 6)),
    "internet.port": lambda _, context: lambda: str(context.chance.randint(0, 65535)),
}
