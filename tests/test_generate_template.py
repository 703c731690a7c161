"""streamstore.generate.template: the language of templates, the examples of the Kinesis Data Generator first."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections import Counter
from datetime import datetime, timedelta, timezone

import pytest

from streamstore.errors import InvalidArgumentError
from streamstore.generate import Template, TemplateError
from streamstore.generate.functions import names
from streamstore.generate.moment import compile_format

NOW = datetime(2010, 2, 14, 15, 25, 50, 123456, tzinfo=timezone(timedelta(hours=-7)))
NOW_US = int(NOW.timestamp() * 1_000_000)


def made(text: str, count: int = 1, **options: object) -> list[str]:
    """What a template makes, as text."""
    template = Template(text, **{"seed": 7, **options})  # type: ignore[arg-type]
    return [template.make(NOW_US).data.decode() for _ in range(count)]


def test_sensor_example() -> None:
    """The JSON template of the generator's help page, line breaks in its brackets included."""
    text = """{
    "sensorId": {{random.number(50)}},
    "currentTemperature": {{random.number(
        {
            "min":10,
            "max":150
        }
    )}},
    "status": "{{random.arrayElement(
        ["OK","FAIL","WARN"]
    )}}"
}"""
    documents = [json.loads(line) for line in made(text, 2000)]
    assert {document["sensorId"] for document in documents} == set(range(51))
    assert {document["currentTemperature"] for document in documents} == set(range(10, 151))
    assert {document["status"] for document in documents} == {"OK", "FAIL", "WARN"}


def test_csv_example() -> None:
    """Names come from faker, addresses from ourselves."""
    pytest.importorskip("faker")
    (line,) = made("{{name.firstName}},{{name.lastName}},{{random.number(70)}},{{internet.ip}}")
    assert re.fullmatch(r"\w[\w' -]*,\w[\w' -]*,\d{1,2},\d+\.\d+\.\d+\.\d+", line)


def test_weighted_choice() -> None:
    """Each element comes as often as its weight says; a weight of 0 never."""
    text = '{{random.weightedArrayElement({"weights": [0.3,0.2,0.5,0], "data": ["cat","fish","dog","cow"]})}}'
    found = Counter(made(text, 10_000))
    assert {name: round(count / 10_000, 1) for name, count in found.items()} == {"cat": 0.3, "fish": 0.2, "dog": 0.5}


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("dddd, MMMM Do YYYY, h:mm:ss a", "Sunday, February 14th 2010, 3:25:50 pm"),
        ("ddd, hA", "Sun, 3PM"),
        ("DD/MMM/YYYY:HH:mm:ss ZZ", "14/Feb/2010:15:25:50 -0700"),
        ("", "2010-02-14T15:25:50-07:00"),
        ("[Today is] dddd \\at HH", "Today is Sunday at 15"),
        ("L LT LTS", "02/14/2010 3:25 PM 3:25:50 PM"),
        ("LLLL", "Sunday, February 14, 2010 3:25 PM"),
        ("YYYY-MM-DDTHH:mm:ss.SSSZ", "2010-02-14T15:25:50.123-07:00"),
        ("GGGG-[W]WW-E, w, Q, DDDD, DDDo", "2010-W06-7, 8, 1, 045, 45th"),
        ("X x SSSSSSSSS", "1266186350 1266186350123 123456000"),
        ("YY M D H k d dd", "10 2 14 15 15 0 Su"),
    ],
)
def test_moment_formats(pattern: str, text: str) -> None:
    """The tokens of moment.js, as its documents show them."""
    assert compile_format(pattern)(NOW) == text


@pytest.mark.parametrize(
    ("moment", "pattern", "text"),
    [
        ("2010-01-01T00:05:00+00:00", "h hh H k kk A a LT", "12 12 0 24 24 AM am 12:05 AM"),
        ("2010-01-01T12:00:00+00:00", "h hh H k kk A a LT", "12 12 12 12 12 PM pm 12:00 PM"),
        ("2010-01-01T23:59:00-03:30", "h Z ZZ", "11 -03:30 -0330"),
        ("2010-01-01T23:59:00+05:45", "k Z ZZ", "23 +05:45 +0545"),
        ("2010-01-01T00:00:00+00:00", "gggg gg w ww, GGGG GG W WW", "2010 10 1 01, 2009 09 53 53"),
        ("2010-12-25T00:00:00+00:00", "gggg gg w wo, d e E", "2010 10 52 52nd, 6 6 6"),
        ("2010-12-26T00:00:00+00:00", "gggg gg w wo, d e E", "2011 11 1 1st, 0 0 7"),
        ("2010-04-12T00:00:00+00:00", "YYYYY YYYYYY DDD DDDo", "02010 +002010 102 102nd"),
        ("2010-04-22T00:00:00+00:00", "DDD DDDo do", "112 112th 4th"),
    ],
)
def test_moments_that_are_special(moment: str, pattern: str, text: str) -> None:
    """Midnight and noon, odd zones, the turn of a year, ordinals of hundreds."""
    assert compile_format(pattern)(datetime.fromisoformat(moment)) == text


def test_ordinals_and_quarters() -> None:
    """Every day of a month, every month of a year."""
    days = [compile_format("Do")(datetime(2010, 1, day, tzinfo=timezone.utc)) for day in range(1, 32)]
    assert days == [
        *("1st 2nd 3rd 4th 5th 6th 7th 8th 9th 10th 11th 12th 13th 14th 15th 16th 17th 18th 19th 20th".split()),
        *("21st 22nd 23rd 24th 25th 26th 27th 28th 29th 30th 31st".split()),
    ]
    months = [compile_format("Q")(datetime(2010, month, 1, tzinfo=timezone.utc)) for month in range(1, 13)]
    assert months == ["1"] * 3 + ["2"] * 3 + ["3"] * 3 + ["4"] * 3


def test_iso_of_utc() -> None:
    """The default format of UTC ends in Z, as moment's does; another zone that has no offset today says that."""
    assert compile_format("")(NOW.astimezone(timezone.utc)) == "2010-02-14T22:25:50Z"
    assert compile_format("")(NOW.astimezone(timezone(timedelta(0), "GMT"))) == "2010-02-14T22:25:50+00:00"


def test_dates() -> None:
    """simTime is the record's own moment, now the wall clock's; formats may stand without quotes."""
    assert made('{{date.simUtc("YYYY-MM-DD HH:mm")}}') == ["2010-02-14 22:25"]
    assert made("{{date.simUtc(YYYY/MM/DD)}}") == ["2010/02/14"]
    now = datetime.now(timezone.utc)
    assert abs(datetime.strptime(made("{{date.utc}}")[0], "%Y-%m-%dT%H:%M:%S%z") - now) < timedelta(minutes=1)
    past, future = made("{{date.past}}")[0], made("{{date.future(2)}}")[0]
    assert "2009-02-14" <= past <= "2010-02-15" <= future <= "2012-02-15"


def test_numbers() -> None:
    """Both ends are in, precision gives the steps, and the digits that go with them."""
    assert set(made('{{random.number({"min": -1, "max": 1})}}', 100)) == {"-1", "0", "1"}
    assert set(made('{{random.float({"max": 1, "precision": 0.25})}}', 200)) == {"0.00", "0.25", "0.50", "0.75", "1.00"}
    assert all(len(number.split(".")[1]) == 2 for number in made("{{random.float}}", 20))


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ('{{random.float({"min": 0.1, "max": 0.3, "precision": 0.1})}}', ["0.1", "0.2", "0.3"]),
        ('{{random.float({"min": -1, "max": 1, "precision": 0.5})}}', ["-1.0", "-0.5", "0.0", "0.5", "1.0"]),
        ('{{random.number({"min": 10, "max": 20, "precision": 5})}}', ["10", "15", "20"]),
        ("{{random.boolean}}", ["false", "true"]),
        ('{{key.zipf({"keys": 3, "exponent": 0})}}', ["key-0", "key-1", "key-2"]),
    ],
)
def test_each_of_some_values_comes_as_often(text: str, values: list[str]) -> None:
    """All that a step, a coin or an even choice can give, and nothing else."""
    found = Counter(made(text, 2000))
    assert sorted(found) == sorted(values)
    assert min(found.values()) > 0.8 * 2000 / len(values)


def test_lengths_and_forms() -> None:
    """Letters and digits by their count; UUIDs are random ones by their own word; ports use all of their range."""
    assert {len(text) for text in made('{{random.padding({"min": 2, "max": 5})}}', 200)} == {2, 3, 4, 5}
    assert {len(text) for text in made("{{random.padding(3)}}", 200)} == {0, 1, 2, 3}
    assert all(re.fullmatch("0x[0-9a-f]{8}", text) for text in made("{{random.hexaDecimal(8)}}", 20))
    assert all(re.fullmatch("[0-9a-z]{6}", text) for text in made("{{random.alphaNumeric(6)}}", 20))
    ids = [uuid.UUID(text) for text in made("{{random.uuid}}", 50)]
    assert {(each.version, each.variant) for each in ids} == {(4, uuid.RFC_4122)}
    assert len(set(ids)) == 50
    assert 60_000 < max(map(int, made("{{internet.port}}", 200))) <= 65_535
    skewed = Counter(made('{{key.zipf({"keys": 10, "exponent": 3})}}', 500))
    assert skewed["key-0"] > 350


def test_moments_lie_where_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Local times are those of the zone; the past, the future and what is recent reach as far as they were told."""
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        text = "{{date.simTime(HH:mm Z)}} {{date.simUtc(HH:mm Z)}} {{date.now(Z)}} {{date.utc(Z)}}"
        assert made(text) == ["03:55 +05:30 22:25 +00:00 +05:30 +00:00"]
    finally:
        monkeypatch.undo()
        time.tzset()
    now = datetime.fromtimestamp(NOW_US / 1e6, timezone.utc)
    for text, first, last in (
        ("{{date.past}}", -365, 0), ("{{date.past(3)}}", -3 * 365, 0), ("{{date.future(2)}}", 0, 2 * 365),
        ("{{date.recent}}", -1, 0), ("{{date.recent(7)}}", -7, 0),
    ):  # fmt: skip
        away = [datetime.strptime(at, "%Y-%m-%dT%H:%M:%S.%f%z") - now for at in made(text, 300)]
        span = timedelta(days=last - first)
        assert timedelta(days=first) <= min(away) < timedelta(days=first) + 0.02 * span
        assert timedelta(days=last) >= max(away) > timedelta(days=last) - 0.02 * span


def test_braces_around_a_function() -> None:
    """A JSON object may begin and end right at a function."""
    assert made("{{{sequence.number}}}", 2) == ["{0}", "{1}"]
    assert made('{"a":{"b":{{sequence.number}}}}') == ['{"a":{"b":0}}']
    assert made('{{random.arrayElement([{"a":{"b":1}}])}}') == ['{"a": {"b": 1}}']


def test_the_same_seed_gives_the_same_records() -> None:
    """To the byte, keys included; another seed does not."""
    text = "{{random.uuid}} {{random.alphaNumeric(5)}} {{internet.mac}} {{internet.ipv6}} {{random.boolean}}"

    def run(seed: int) -> list[tuple[bytes, str | None]]:
        template = Template(text, seed=seed, key='{{key.zipf({"keys": 20, "prefix": "user-"})}}')
        return [(entry.data, entry.partition_key) for entry in (template.make(0) for _ in range(50))]

    assert run(1) == run(1) != run(2)
    assert all(key and re.fullmatch(r"user-\d\d", key) for _, key in run(1))


def test_every_name_makes_something() -> None:
    """No name in the list is a dead one."""
    pytest.importorskip("faker")
    arguments = {
        "random.arrayElement": "([1])",
        "random.weightedArrayElement": '({"weights": [1], "data": ["x"]})',
        "random.padding": "(5)",
    }
    for name in names():
        texts = made("{{%s%s}}" % (name, arguments.get(name, "")), 20)
        assert any(texts), name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ab\n {{nme.firstName}}", r"line 2, column 2: there is no 'nme.firstName'; did you mean 'name.firstName'\?"),
        ("{{random.number(5)", "is not closed by }}"),
        ("{{random.number(5}}", "is not closed by \\)"),
        ("{{ }}", "a name is wanted"),
        ('{{random.number({"a": 1})}}', "has no a; it takes min, max, precision"),
        ('{{random.number({"min": 5, "max": 1})}}', "min 5 is above max 1"),
        ('{{random.float({"precision": 0})}}', "precision is above 0"),
        ("{{random.arrayElement([])}}", "wants a list"),
        ('{{random.arrayElement(["a",)}}', "is no JSON"),
        ('{{random.weightedArrayElement({"weights": [1], "data": []})}}', "of one length"),
        ('{{random.weightedArrayElement({"weights": [0], "data": [1]})}}', "not all of them 0"),
        ("{{date.now(5)}}", "wants a format"),
        ("{{random.alphaNumeric(-1)}}", "wants a count"),
        ('{{key.zipf({"keys": 0})}}', "there are 1 to"),
    ],
)
def test_errors_say_where_and_why(text: str, message: str) -> None:
    """Before anything is made."""
    with pytest.raises(TemplateError, match=message):
        Template(text)


def test_keys_must_be_keys() -> None:
    """An empty key, or one that is too long, is refused when it is made."""
    for key in ('{{random.arrayElement([""])}}', "{{random.alphaNumeric(257)}}"):
        with pytest.raises(InvalidArgumentError, match="1 to 256 characters"):
            Template("x", key=key).make(0)


def test_without_faker(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the extra; all else works without it."""
    monkeypatch.setitem(__import__("sys").modules, "faker", None)
    assert made("{{random.number(0)}}") == ["0"]
    with pytest.raises(TemplateError, match=r"streamstore-kinesis\[generate\]"):
        Template("{{name.firstName}}")
