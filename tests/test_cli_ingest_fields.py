"""streamstore.fields: keys and event times out of lines."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from streamstore.fields import FieldTaker, time_parser_for

UTC = timezone.utc
NOON = datetime(2015, 5, 17, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("path", "line", "key"),
    [
        ("user", b'{"user": "u1"}', "u1"),
        ("user.id", b'{"user": {"id": 42}}', "42"),
        ("user.id", b'{"user": {"id": 1.5}}', "1.5"),
        ("ok", b'{"ok": true}', "true"),
        ("items.1.name", b'{"items": [{"name": "a"}, {"name": "b"}]}', "b"),
        ("user", '{"user": "Zoë"}'.encode(), "Zoë"),
        ("user", b'{"user": null}', None),
        ("user", b'{"user": {"id": 1}}', None),
        ("user", b'{"user": ""}', None),
        ("user", b'{"other": 1}', None),
        ("user.id", b'{"user": 3}', None),
        ("items.9", b'{"items": []}', None),
        ("user", b"not json", None),
        ("user", b"\xff\xfe", None),
        ("user", b"", None),
        ("user", b'{"user": "' + b"x" * 256 + b'"}', "x" * 256),
        ("user", b'{"user": "' + b"x" * 257 + b'"}', None),
    ],
)
def test_a_key_comes_from_a_path_into_json(path: str, line: bytes, key: str | None) -> None:
    """A dotted path gives text and numbers as the key; anything else, or nothing there, gives none."""
    assert FieldTaker(key_field=path).take(line).key == key


def test_half_a_surrogate_pair_makes_a_key_that_can_be_stored() -> None:
    """JSON can carry what UTF-8 cannot: such a key is escaped, always in the same way."""
    key = FieldTaker(key_field="user").take(b'{"user": "\\ud800x"}').key
    assert key == "\\ud800x"


@pytest.mark.parametrize(
    ("regex", "line", "key"),
    [
        (r"^(\S+)", b"10.0.0.1 - - GET", "10.0.0.1"),
        (r"\d+", b"pid 123 said", "123"),
        (r"(a)|(b)", b"b", None),
        (r"^(\S*)", b" x", None),
        (r"^(.*)$", b"\xff", "\\xff"),
        ("(ö+)", "xöö".encode(), "öö"),
        (r"nothing", b"x", None),
    ],
)
def test_a_key_comes_from_a_regular_expression(regex: str, line: bytes, key: str | None) -> None:
    """The first group is the key, or the whole match where there is no group; an empty match is no key."""
    assert FieldTaker(key_regex=regex).take(line).key == key


@pytest.mark.parametrize(
    ("time_format", "value", "moment"),
    [
        ("s", 1431864000, NOON),
        ("s", "1431864000.5", NOON + timedelta(seconds=0.5)),
        ("ms", 1431864000123, NOON + timedelta(milliseconds=123)),
        ("us", "1431864000000001", NOON + timedelta(microseconds=1)),
        ("ns", 1431864000000001999, NOON + timedelta(microseconds=1)),
        ("iso", "2015-05-17T12:00:00Z", NOON),
        ("iso", "2015-05-17T14:00:00+02:00", NOON),
        ("iso", "2015-05-17 12:00:00", NOON),
        ("iso", "yesterday", None),
        (None, 1431864000, NOON),
        (None, 1431864000000, NOON),
        (None, "1431864000000000", NOON),
        (None, 1431864000000000000, NOON),
        (None, "2015-05-17T12:00:00Z", NOON),
        (None, None, None),
        (None, [], None),
        ("s", "x", None),
        ("s", 1e300, None),
        ("s", -5, None),
        ("%d/%b/%Y:%H:%M:%S %z", "17/May/2015:14:00:00 +0200", NOON),
        ("%Y-%m-%d %H:%M", "2015-05-17 12:00", NOON),
        ("%Y", "x", None),
    ],
)
def test_times_are_understood(time_format: str | None, value: object, moment: datetime | None) -> None:
    """Epochs in four units, ISO 8601 and strptime patterns give an aware time; what is no time gives none."""
    assert time_parser_for(time_format)(value) == moment


def test_a_format_without_a_year_takes_the_latest_one_that_is_past() -> None:
    """Syslog says no year: it is this one, or the last where the day would lie ahead."""
    parse = time_parser_for("%b %d %H:%M:%S", now=datetime(2016, 1, 2, tzinfo=UTC))
    assert parse("Dec 10 06:55:46") == datetime(2015, 12, 10, 6, 55, 46, tzinfo=UTC)
    assert parse("Jan  1 00:00:01") == datetime(2016, 1, 1, 0, 0, 1, tzinfo=UTC)


def test_the_29th_of_february_needs_a_leap_year() -> None:
    """A day that this year does not have is looked for in the last one."""
    parse = time_parser_for("%b %d", now=datetime(2017, 3, 1, tzinfo=UTC))
    assert parse("Feb 29") == datetime(2016, 2, 29, tzinfo=UTC)


def test_key_and_time_come_from_one_line() -> None:
    """Both are taken at once, from JSON and by regular expression in any mix."""
    taker = FieldTaker(key_field="user", time_regex=r'"ts":(\d+)', time_parser=time_parser_for("s"))
    assert taker.take(b'{"user":"a","ts":1431864000}') == ("a", NOON)
