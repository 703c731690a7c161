"""The one schema of every benchmark result: dataclasses, their JSON, and the JSON Schema made from them.

What lives here: what a result is and when it passes. It must not know how anything is measured or printed.

    Run -> machine facts, calibration (name -> Figure), results
    Result -> ours, rival (Side), value against bar, durability of both sides
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SCHEMA_VERSION = 1
SCHEMA_ID = "streamstore-benchmark-result-1"
AT_LEAST, AT_MOST = ">=", "<="
VERDICTS = ("pass", "miss", "info", "failed")
# What an acknowledgement survives. "none" is for floors that promise nothing, "reads" for rows that acknowledge none,
# "unknown" for endpoints, which say nothing about it.
DURABILITIES = ("sync", "interval", "process", "reads", "unknown", "none")


class SchemaError(ValueError):
    """A file or value that is not a benchmark result of this schema; the message names the place."""


@dataclass(frozen=True)
class Figure:
    """One measured number of the machine, with its unit and how it was taken."""

    value: float
    unit: str
    note: str = ""


@dataclass(frozen=True)
class Bar:
    """The promise a row is held to: `comparison` is ">=" or "<="."""

    comparison: str
    value: float

    def holds(self, measured: float) -> bool:
        """Return whether a measured value is on the right side of the bar (on it counts)."""
        return measured >= self.value if self.comparison == AT_LEAST else measured <= self.value


@dataclass(frozen=True)
class Side:
    """One contender of a row: the median of its rounds, its unit, and the durability mode it ran in."""

    name: str
    durability: str
    unit: str
    median: float
    rounds: tuple[float, ...] = ()
    version: str = ""
    setup: str = ""
    extra: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """One row. `value` (in `unit`) is what stands against `bar`; a row without a bar is information."""

    id: str
    group: str
    title: str
    unit: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    bar: Bar | None = None
    ours: Side | None = None
    rival: Side | None = None
    record_bytes: int = 0
    note: str = ""
    error: str = ""
    verdict: str = ""

    def judged(self) -> Result:
        """Return this row with the verdict that its numbers give."""
        return dataclasses.replace(self, verdict=_verdict(self))


@dataclass(frozen=True)
class Run:
    """All results of one run on one machine, with the calibration taken in the same run."""

    suite: str
    mode: str
    started: str
    commit: str
    machine: Mapping[str, str] = field(default_factory=dict)
    calibration: Mapping[str, Figure] = field(default_factory=dict)
    results: tuple[Result, ...] = ()
    schema: str = SCHEMA_ID
    schema_version: int = SCHEMA_VERSION


def _verdict(result: Result) -> str:
    if result.error or (result.bar is not None and result.value is None):
        return "failed"
    if result.bar is None or result.value is None:
        return "info"
    return "pass" if result.bar.holds(result.value) else "miss"


def check(run: Run) -> None:
    """Raise SchemaError where a run contradicts itself: version, an id twice, unknown words, wrong verdicts."""
    if run.schema != SCHEMA_ID or run.schema_version != SCHEMA_VERSION:
        raise SchemaError(f"schema {run.schema!r} {run.schema_version} is not {SCHEMA_ID!r} {SCHEMA_VERSION}")
    seen: set[str] = set()
    for result in run.results:
        where = f"results[{result.id!r}]"
        if result.id in seen:
            raise SchemaError(f"{where}: the id stands twice")
        seen.add(result.id)
        if result.bar is not None and result.bar.comparison not in (AT_LEAST, AT_MOST):
            raise SchemaError(f"{where}.bar.comparison: {result.bar.comparison!r} is not {AT_LEAST!r} or {AT_MOST!r}")
        if result.verdict != _verdict(result):
            raise SchemaError(f"{where}.verdict: {result.verdict!r}, but its numbers give {_verdict(result)!r}")
        for side in (result.ours, result.rival):
            if side is not None and side.durability not in DURABILITIES:
                raise SchemaError(f"{where}: durability {side.durability!r} is none of {', '.join(DURABILITIES)}")


def dump(run: Run, path: Path) -> None:
    """Check a run and write it as JSON; the file is replaced whole. SchemaError where it contradicts itself."""
    check(run)
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(json.dumps(dataclasses.asdict(run), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    temporary.replace(path)


def load(path: Path) -> Run:
    """Read and check one result file. SchemaError names the first place that does not fit."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SchemaError(f"{path}: not JSON: {error}") from error
    return parse(document)


def parse(document: object) -> Run:
    """Return the run that a decoded JSON document holds. SchemaError names the first place that does not fit."""
    run = _build(Run, document, "run")
    assert isinstance(run, Run)
    check(run)
    return run


def _build(kind: Any, value: object, where: str) -> Any:
    """Return `value` as `kind` (one of the types the dataclasses above use), or raise SchemaError."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        inner = next(argument for argument in arguments if argument is not type(None))
        return None if value is None else _build(inner, value, where)
    if origin is tuple:
        _require(isinstance(value, (list, tuple)), where, "a list")
        items = typing.cast("list[Any]", value)
        return tuple(_build(arguments[0], item, f"{where}[{index}]") for index, item in enumerate(items))
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(kind, value, where)
    if origin is not None:
        _require(isinstance(value, dict), where, "an object")
        entries = typing.cast("dict[str, Any]", value)
        return {key: _build(arguments[1], item, f"{where}.{key}") for key, item in entries.items()}
    if kind is float:
        number = value if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
        _require(math.isfinite(number), where, "a finite number")
        return float(number)
    _require(isinstance(value, kind) and not isinstance(value, bool), where, kind.__name__)
    return value


def _build_dataclass(kind: Any, value: object, where: str) -> Any:
    _require(isinstance(value, dict), where, "an object")
    assert isinstance(value, dict)
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(value) - set(hints))
    _require(not unknown, where, f"without the unknown {', '.join(unknown)}")
    for name in _required(kind):
        _require(name in value, f"{where}.{name}", "present")
    return kind(**{name: _build(hints[name], item, f"{where}.{name}") for name, item in value.items()})


def _required(kind: Any) -> list[str]:
    fields, missing = dataclasses.fields(kind), dataclasses.MISSING
    return [item.name for item in fields if item.default is missing and item.default_factory is missing]


def _require(holds: bool, where: str, what: str) -> None:
    if not holds:
        raise SchemaError(f"{where}: must be {what}")


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a result file, made from the dataclasses so that it cannot drift."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA_ID, **_schema_of(Run)}


def _schema_of(kind: Any) -> dict[str, Any]:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        inner = next(argument for argument in arguments if argument is not type(None))
        return {"anyOf": [_schema_of(inner), {"type": "null"}]}
    if origin is tuple:
        return {"type": "array", "items": _schema_of(arguments[0])}
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        properties = {name: _schema_of(hint) for name, hint in hints.items()}
        shape = {"type": "object", "properties": properties, "additionalProperties": False}
        return {**shape, "required": _required(kind)}
    if origin is not None:
        return {"type": "object", "additionalProperties": _schema_of(arguments[1])}
    return {"type": {float: "number", int: "integer", str: "string"}[kind]}
