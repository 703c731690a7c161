"""The exception tree: what is drawn is what is there, and all of it travels between processes."""

from __future__ import annotations

import inspect
import pickle
import re

import pytest

from streamstore import errors

ALL = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and issubclass(value, errors.StreamStoreError) and value is not errors.StreamStoreError
]


def drawn():
    """Name -> parent, as the docstring of the root draws the tree."""
    parents, stack = {}, []
    for line in errors.StreamStoreError.__doc__.splitlines():
        if match := re.match(r"\s*([│├└─ ]*)(\w+Error)", line):
            depth = len(match[1]) // 4
            stack[depth:] = [match[2]]
            parents[match[2]] = stack[depth - 1] if depth else None
    return parents


def test_the_drawing_shows_every_class_under_its_parent():
    """The tree in the docstring is the tree in the code."""
    parents = drawn()
    assert parents.pop("StreamStoreError") is None
    assert parents == {kind.__name__: kind.__bases__[0].__name__ for kind in ALL}


@pytest.mark.parametrize("kind", ALL)
def test_every_error_pickles_with_its_facts(kind):
    """Class, text and attributes survive the way to another process."""
    error = kind("what happened")
    error.extra = {"shard": 3}
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert str(copy) == "what happened"
    assert copy.extra == {"shard": 3}


def test_wrong_arguments_are_what_python_expects():
    """Only InvalidArgumentError is a ValueError, only InvalidTypeError a TypeError."""
    assert [kind for kind in ALL if issubclass(kind, ValueError)] == [errors.InvalidArgumentError]
    assert [kind for kind in ALL if issubclass(kind, TypeError)] == [errors.InvalidTypeError]
