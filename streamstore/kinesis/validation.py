"""From what a client sent to what a handler takes: types first (SerializationException), then constraints, all at once
(ValidationException). Knows the shapes, and no operation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

from streamstore.kinesis import errors, scalars
from streamstore.kinesis.scalars import SHAPES
from streamstore.kinesis.structures import STRUCTURES

PROBLEMS_MAX = 10
SHOWN_MAX = 1024
_WHOLE_END = 1 << 63
_NUMBER = "class com.amazon.coral.value.json.numbers.TruncatingBigNumber"


class Wire(Protocol):
    """How one encoding shows what JSON has no type for."""

    def blob(self, value: Any) -> bytes:
        """The bytes of a blob, or a SerializationException."""

    def moment(self, value: Any) -> int:
        """The milliseconds since 1970 of a time, or a SerializationException."""


def check(structure: str, value: Any, wire: Wire) -> dict[str, Any]:
    """The request as a handler takes it: known members alone, blobs as bytes, times as milliseconds.

    Raises a ServiceError: SerializationException for a wrong type, ValidationException for constraints.
    """
    decoded = _structure(structure, value, wire)
    problems: list[str] = []
    _constrain_structure(structure, decoded, "", problems)
    if problems:
        raise errors.validation(problems[:PROBLEMS_MAX])
    return decoded


# --- types --------------------------------------------------------------------------------------------------------


def _structure(structure: str, value: Any, wire: Wire) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise errors.serialization(
            "Start of list found where not expected" if isinstance(value, list) else "Expected null"
        )
    decoded: dict[str, Any] = {}
    for member in STRUCTURES[structure]:
        item = value.get(member.name)
        if item is not None:
            decoded[member.name] = _value(member.shape, item, wire)
    return decoded


def _value(name: str, value: Any, wire: Wire) -> Any:
    if name in STRUCTURES:
        return _structure(name, value, wire)
    shape = SHAPES[name]
    if isinstance(shape, scalars.Listing):
        if not isinstance(value, list):
            raise errors.serialization(_unexpected(value, "Expected list or null"))
        return [None if item is None else _value(shape.member, item, wire) for item in value]
    if isinstance(shape, scalars.Mapping):
        if not isinstance(value, dict):
            raise errors.serialization(_unexpected(value, "Expected map or null"))
        return {_text(key): None if item is None else _text(item) for key, item in value.items()}
    return _DECODERS[type(shape)](value, wire)


def _unexpected(value: Any, otherwise: str) -> str:
    if isinstance(value, list):
        return "Start of list found where not expected"
    if isinstance(value, dict):
        return "Start of structure or map found where not expected."
    return otherwise


def wrong_type(value: Any, wanted: str) -> errors.ServiceError:
    """The SerializationException for a value of another type than `wanted` ("an String", "a Blob")."""
    if isinstance(value, bool):
        return errors.serialization(f"class java.lang.Boolean can not be converted to {wanted}")
    if isinstance(value, (int, float)):
        return errors.serialization(f"{_NUMBER} can not be converted to {wanted}")
    return errors.serialization(_unexpected(value, f"class java.lang.String can not be converted to {wanted}"))


def _text(value: Any, wire: Wire | None = None) -> str:
    if not isinstance(value, str):
        raise wrong_type(value, "an String")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:  # half of a surrogate pair has no UTF-8
            raise errors.serialization("a string holds half of a surrogate pair") from None
    return value


def _whole(value: Any, wire: Wire) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise wrong_type(value, "an Integer")
    if not -_WHOLE_END < value < _WHOLE_END:  # nor is what is no number
        raise errors.serialization("a number can not be converted to an Integer")
    return math.floor(value)


def _flag(value: Any, wire: Wire) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        raise errors.serialization(f"'{value[:SHOWN_MAX].upper()}' can not be converted to an Boolean")
    raise wrong_type(value, "an Boolean")


def _blob(value: Any, wire: Wire) -> bytes:
    return wire.blob(value)


def _moment(value: Any, wire: Wire) -> int:
    return wire.moment(value)


_DECODERS: dict[type, Callable[[Any, Wire], Any]] = {
    scalars.Text: _text,
    scalars.Choice: _text,
    scalars.Whole: _whole,
    scalars.Flag: _flag,
    scalars.Blob: _blob,
    scalars.Moment: _moment,
}


# --- constraints --------------------------------------------------------------------------------------------------


def _constrain_structure(structure: str, value: dict[str, Any], path: str, problems: list[str]) -> None:
    for name, shape, required in STRUCTURES[structure]:
        item = value.get(name)
        if item is None and not required:
            continue
        if len(problems) >= PROBLEMS_MAX:
            return
        where = path + name[0].lower() + name[1:]
        if item is None:
            problems.append(errors.constraint("null", where, "Member must not be null"))
        else:
            _constrain(shape, item, where, problems)


def _constrain(name: str, value: Any, path: str, problems: list[str]) -> None:
    if name in STRUCTURES:
        _constrain_structure(name, value, f"{path}.", problems)
        return
    shape = SHAPES[name]
    for rule in _broken(shape, value):
        problems.append(errors.constraint(_shown(shape, value), path, rule))
    if isinstance(shape, scalars.Listing):
        for number, item in enumerate(value, 1):
            if len(problems) >= PROBLEMS_MAX:
                return
            if item is None:
                problems.append(errors.constraint("null", f"{path}.{number}.member", "Member must not be null"))
            else:
                _constrain(shape.member, item, f"{path}.{number}.member", problems)


def _broken(shape: scalars.Shape, value: Any) -> list[str]:
    """What of the shape's own constraints the value does not satisfy."""
    if isinstance(shape, scalars.Text):
        found = _length(len(value), shape.low, shape.high)
        if not found and shape.pattern is not None and not shape.pattern.fullmatch(value):
            found.append(f"Member must satisfy regular expression pattern: {shape.source}")
        return found
    if isinstance(shape, scalars.Choice):
        return [] if value in shape.names else [f"Member must satisfy enum value set: [{', '.join(shape.names)}]"]
    if isinstance(shape, scalars.Whole):
        found = []
        if shape.high is not None and value > shape.high:
            found.append(f"Member must have value less than or equal to {shape.high}")
        if shape.low is not None and value < shape.low:
            found.append(f"Member must have value greater than or equal to {shape.low}")
        return found
    if isinstance(shape, (scalars.Blob, scalars.Listing)):
        return _length(len(value), shape.low, shape.high)
    if isinstance(shape, scalars.Mapping):
        return _length(len(value), shape.low, shape.high) + _broken_map(shape, value)
    return []


def _length(length: int, low: int, high: int | None) -> list[str]:
    found = []
    if high is not None and length > high:
        found.append(f"Member must have length less than or equal to {high}")
    if length < low:
        found.append(f"Member must have length greater than or equal to {low}")
    return found


def _broken_map(shape: scalars.Mapping, value: dict[str, str | None]) -> list[str]:
    found = []
    for what, part, items in (("keys", shape.key, value.keys()), ("values", shape.value, value.values())):
        inner = SHAPES[part]
        assert isinstance(inner, scalars.Text)
        if any(item is not None and _broken(inner, item) for item in items):
            rules = [f"Member must have length less than or equal to {inner.high}"]
            rules.append(f"Member must have length greater than or equal to {inner.low}")
            found.append(f"Map {what} must satisfy constraint: [{', '.join(rules)}]")
    return found


def _shown(shape: scalars.Shape, value: Any) -> str:
    if isinstance(value, bytes):
        return f"'java.nio.HeapByteBuffer[pos=0 lim={len(value)} cap={len(value)}]'"
    if isinstance(shape, scalars.Listing) and shape.member in STRUCTURES:
        return f"'[{len(value)} of {shape.member}]'"
    if isinstance(shape, scalars.Listing):
        text = f"[{', '.join(map(str, value))}]"
    elif isinstance(shape, scalars.Mapping):
        text = "{" + ", ".join(f"{key}={item}" for key, item in value.items()) + "}"
    else:
        text = str(value)
    return f"'{text if len(text) <= SHOWN_MAX else text[:SHOWN_MAX] + '...'}'"
