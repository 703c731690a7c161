"""The table of operations and the shapes are those of the API, as the installed botocore describes it."""

from __future__ import annotations

import importlib

import pytest

from streamstore.kinesis import scalars
from streamstore.kinesis.operations import OPERATIONS
from streamstore.kinesis.scalars import SHAPES
from streamstore.kinesis.structures import STRUCTURES

loaders = pytest.importorskip("botocore.loaders")
MODEL = loaders.Loader().load_service_model("kinesis", "service-2")

if len(MODEL["operations"]) != len(OPERATIONS):
    pytest.skip("the installed botocore describes another version of the API", allow_module_level=True)


def test_every_operation_has_a_row():
    """57 operations, each with the input and the errors of the model."""
    assert set(OPERATIONS) == set(MODEL["operations"])
    for name, operation in OPERATIONS.items():
        model = MODEL["operations"][name]
        assert model["input"]["shape"] == operation.shape
        assert {error["shape"] for error in model["errors"]} == operation.errors, name


def test_every_row_has_a_handler():
    """What a row names is a function of this package."""
    for operation in OPERATIONS.values():
        module, name = operation.handler.split(":")
        assert callable(getattr(importlib.import_module(f"streamstore.kinesis.{module}"), name))


def test_every_structure_has_the_members_of_the_model():
    """Names, shapes and what is required, in the model's order."""
    for name, members in STRUCTURES.items():
        model = MODEL["shapes"][name]
        assert [(member.name, member.shape) for member in members] == [
            (key, value["shape"]) for key, value in model["members"].items()
        ], name
        assert {member.name for member in members if member.required} == set(model.get("required", []))


def described(model):
    kind = model["type"]
    if kind == "list":
        return scalars.Listing(model["member"]["shape"], model.get("min", 0), model.get("max"))
    if kind == "map":
        return scalars.Mapping(model["key"]["shape"], model["value"]["shape"], model.get("min", 0), model.get("max"))
    if kind == "string" and "enum" in model:
        return set(model["enum"])
    if kind == "string":
        return (model.get("min", 0), model.get("max"), model.get("pattern", ""))
    if kind in ("integer", "long"):
        return scalars.Whole(model.get("min"), model.get("max"))
    if kind == "blob":
        return scalars.Blob(model.get("min", 0), model.get("max"))
    return {"boolean": scalars.Flag(), "timestamp": scalars.Moment()}[kind]


def test_every_shape_has_the_constraints_of_the_model():
    """Lengths, values, patterns and enumerations."""
    for name, shape in SHAPES.items():
        if isinstance(shape, scalars.Text):
            mine = (shape.low, shape.high, shape.source)
        elif isinstance(shape, scalars.Choice):
            mine = set(shape.names)
        else:
            mine = shape
        assert mine == described(MODEL["shapes"][name]), name


def test_every_shape_of_a_request_is_known():
    """Whatever a structure or list refers to is in one of the two tables."""
    named = {member.shape for members in STRUCTURES.values() for member in members}
    named |= {shape.member for shape in SHAPES.values() if isinstance(shape, scalars.Listing)}
    assert named <= set(SHAPES) | set(STRUCTURES)
