"""streamstore.generate.template: the language of templates, the examples of the Kinesis Data Generator first."""

from __future__ import annotations

import json
import re
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


def test_iso_of_utc() -> None:
    """The default format of UTC ends in Z, as moment's does."""
    assert compile_format("")(NOW.astimezone(timezone.utc)) == "2010-02-14T22:25:50Z"


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
