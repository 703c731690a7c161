"""What is public is listed, what is listed exists, says what it does, and is in the documents."""

from __future__ import annotations

import inspect
import pickle
import re
from pathlib import Path

import pytest

import streamstore

ROOT = Path(__file__).resolve().parent.parent

ERRORS = """
    StreamStoreError StreamNotFoundError StreamExistsError ShardClosedError RecordTooLargeError TrimmedError
    IteratorExpiredError ClosedError ForkedError StaleReceiptError StoreFullError DurabilityUnknownError
    CorruptRangeError PartialPutError FormatVersionError StaleHandleError TailMismatchError ReadOnlyError
    KeyUnavailableError InvalidArgumentError InvalidTypeError
""".split()

CLASSES = "Store Stream Shard Reader Batch Record PutResult".split()

# The members that other programs rely on: DESIGN, section 3.
MEMBERS = {
    "Store": "create_stream stream list_streams delete_stream flush close __enter__ __exit__",
    "Stream": "put_record put_records read shard shards last clear",
    "Shard": "append read get read_arrow id hash_range parents is_closed sequence_range record_count",
    "Reader": "position close __iter__ __next__ __enter__ __exit__",
    "Batch": "next_position millis_behind_latest end_of_shard child_shards __len__ __getitem__",
    "Record": "data view partition_key sequence_number shard_id arrival_time arrival_us event_time attributes source",
    "PutResult": "shard_id sequence_number",
}

# Options by name, with what they are when left out (for those in ANY_DEFAULT that is open, even whether they may be).
OPTIONS = {
    "open": {"durability": "sync", "create": True, "read_only": False, "account": "0" * 12, "region": "us-east-1"},
    "Store.create_stream": {"shard_count": None, "retention_hours": 24, "durability": None, "exist_ok": False},
    "Stream.put_record": {"partition_key": None, "explicit_hash_key": None, "attributes": None, "event_time": None},
    "Stream.read": {"end": None, "follow": False, "timeout": None, "merge": False, "on_trimmed": "raise"},
    "Shard.append": {"expected_tail": None},
    "Shard.read": {"start": None, "after": None, "at": None, "limit": 10_000},
}
ANY_DEFAULT = {("Store.create_stream", "shard_count"), ("Stream.put_record", "partition_key"), ("Shard.read", "start")}


def public(name: str) -> object:
    found: object = streamstore
    for part in name.split("."):
        found = getattr(found, part)
    return found


@pytest.mark.parametrize("name", sorted(streamstore.__all__))
def test_a_listed_name_exists_and_says_what_it_does(name):
    """Everything in __all__ is there, and has a docstring of its own where it can have one."""
    value = public(name)
    if inspect.isclass(value) or inspect.isroutine(value) or inspect.ismodule(value):
        doc = value.__dict__.get("__doc__") if inspect.isclass(value) else value.__doc__
        assert doc
        assert doc.strip().splitlines()[0]
        assert not doc.startswith(f"{name}("), "a docstring that a dataclass or namedtuple generated"


@pytest.mark.parametrize("name", sorted(streamstore.__all__))
def test_a_listed_name_is_documented(name):
    """Everything in __all__ is mentioned in the README or under docs/."""
    documents = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    text = "\n".join(path.read_text(encoding="utf-8") for path in documents)
    assert re.search(rf"\b{re.escape(name)}\b", text), f"{name} is in no document"


def test_all_is_all():
    """No public class, function or error of ours is left out of __all__, and no name stands there twice."""
    assert len(set(streamstore.__all__)) == len(streamstore.__all__)
    for name, value in vars(streamstore).items():
        ours = getattr(value, "__module__", "").startswith("streamstore")
        if ours and not name.startswith("_") and (inspect.isclass(value) or inspect.isfunction(value)):
            assert name in streamstore.__all__


@pytest.mark.parametrize("name", ["open", "aio", *CLASSES, *ERRORS])
def test_a_promised_name_is_public(name):
    """Names that other programs rely on are there and listed."""
    assert name in streamstore.__all__
    assert public(name) is not None


@pytest.mark.parametrize(("owner", "member"), [(owner, each) for owner in MEMBERS for each in MEMBERS[owner].split()])
def test_a_promised_member_is_there_and_says_what_it_does(owner, member):
    """Members that other programs rely on are there; a public method or property says what it does."""
    holder = public(owner)
    annotated = any(member in vars(base).get("__annotations__", {}) for base in holder.__mro__)
    assert hasattr(holder, member) or annotated
    value = inspect.getattr_static(holder, member, None)
    if not member.startswith("__") and (inspect.isfunction(value) or isinstance(value, property)):
        assert value.__doc__


@pytest.mark.parametrize(("function", "option"), [(name, option) for name in OPTIONS for option in OPTIONS[name]])
def test_an_option_has_its_promised_default(function, option):
    """Options are there under their promised names, with their promised defaults."""
    parameters = inspect.signature(public(function)).parameters
    assert option in parameters
    if (function, option) not in ANY_DEFAULT:
        assert parameters[option].default == OPTIONS[function][option]


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_is_one_of_ours(name):
    """One except clause catches all; wrong arguments are also what Python programs expect them to be."""
    error = public(name)
    assert issubclass(error, streamstore.StreamStoreError)
    assert error.__module__.startswith("streamstore")
    assert issubclass(error, ValueError) == (name == "InvalidArgumentError")
    assert issubclass(error, TypeError) == (name == "InvalidTypeError")


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_pickles(name):
    """An error crosses from one process to another with its class and its text."""
    try:
        error = public(name)("what went wrong")
    except TypeError:
        pytest.skip("needs more than a text; its own tests make one")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)


def test_the_package_is_typed():
    """Type checkers may trust our annotations."""
    assert (Path(streamstore.__file__).parent / "py.typed").exists()


def test_the_version_is_that_of_the_distribution():
    """`streamstore.__version__`, where there is one, is the installed distribution's."""
    from importlib.metadata import version

    assert getattr(streamstore, "__version__", version("streamstore-kinesis")) == version("streamstore-kinesis")
