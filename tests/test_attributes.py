"""The attribute block, and the forms an entry of put_records may have."""

from __future__ import annotations

from datetime import datetime, timezone

import msgpack
import pytest

from streamstore import attributes, errors
from streamstore.values import PutEntry

NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001 - the point


def test_nothing_to_say_is_no_block():
    """A record without attributes carries none."""
    assert attributes.encode() is None


def test_a_block_holds_what_was_said():
    """User attributes, event time in microseconds and source are under their letters."""
    when = datetime(2026, 1, 2, tzinfo=timezone.utc)
    block = msgpack.unpackb(attributes.encode({"a": [1, b"x"]}, when, {"id": "f"}))
    assert block == {"u": {"a": [1, b"x"]}, "t": round(when.timestamp() * 1e6), "s": {"id": "f"}}


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (({"a": "x" * 5000},), errors.RecordTooLargeError),
        (({1: "x"},), errors.InvalidTypeError),
        (([("a", 1)],), errors.InvalidTypeError),
        (({"a": object()},), errors.InvalidTypeError),
        (({"a": 1 << 70},), errors.InvalidTypeError),
        ((None, NAIVE), errors.InvalidArgumentError),
        ((None, "now"), errors.InvalidTypeError),
        ((None, -5), errors.InvalidArgumentError),
    ],
)
def test_what_cannot_be_an_attribute_is_refused(arguments, kind):
    """Each kind of mistake has its own error."""
    with pytest.raises(kind):
        attributes.encode(*arguments)


def test_the_limit_is_exact():
    """4,096 encoded bytes pass, one more does not."""
    room = 4096 - len(attributes.encode({"a": "x" * 1000})) + 1000
    assert len(attributes.encode({"a": "x" * room})) == 4096
    with pytest.raises(errors.RecordTooLargeError):
        attributes.encode({"a": "x" * (room + 1)})


def test_an_entry_may_be_a_tuple_a_dict_or_a_put_entry():
    """All say the same."""
    assert attributes.normalize((b"d",), 0) == ((b"d", None, None), None)
    assert attributes.normalize([b"d", "k", 5], 0) == ((b"d", "k", 5), None)
    as_dict = attributes.normalize({"data": b"d", "partition_key": "k", "attributes": {"a": 1}}, 0)
    assert as_dict == attributes.normalize(PutEntry(b"d", "k", attributes={"a": 1}), 0)
    assert msgpack.unpackb(as_dict[1]) == {"u": {"a": 1}}


@pytest.mark.parametrize("entry", [(), (1, 2, 3, 4), {"partition_key": "k"}, {"data": b"", "colour": 1}])
def test_a_malformed_entry_names_its_place(entry):
    """The error says which entry it was."""
    with pytest.raises(errors.InvalidArgumentError, match="entry 7"):
        attributes.normalize(entry, 7)


@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        (("str", "k", None), errors.InvalidTypeError),
        ((b"", b"k", None), errors.InvalidTypeError),
        ((b"", "", None), errors.InvalidArgumentError),
        ((b"", "k" * 257, None), errors.InvalidArgumentError),
        ((b"", "\udc80", None), errors.InvalidArgumentError),
        ((b"x" * 100, "k", None), errors.RecordTooLargeError),
        ((b"", "k", 1 << 128), errors.InvalidArgumentError),
        ((b"", "k", -1), errors.InvalidArgumentError),
        ((b"", "k", "0"), errors.InvalidTypeError),
    ],
)
def test_the_slow_check_refuses_what_the_fast_one_does(entry, kind):
    """Entries that do not go through the fast door meet the same rules."""
    with pytest.raises(kind, match="entry 2"):
        attributes.check(entry, 2, 100)


def test_the_slow_check_lets_good_entries_pass():
    """Limits are inclusive."""
    attributes.check((b"x" * 99, "k", 0), 0, 100)
    attributes.check((bytearray(100), None, (1 << 128) - 1), 0, 100)
