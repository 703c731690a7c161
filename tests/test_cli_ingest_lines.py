"""streamstore.cli.ingest.lines: lines with their places, byte for byte."""

from __future__ import annotations

import io
import os

import pytest

from streamstore.cli.exits import VerbError
from streamstore.cli.ingest import lines
from streamstore.cli.ingest.lines import Line, read_lines, silence_of

EDGES = {
    "empty source": b"",
    "one empty line": b"\n",
    "no newline at the end": b"a\nb",
    "carriage returns": b"a\r\nb\r\n",
    "a lone carriage return": b"a\rb\n",
    "zero bytes": b"\0\n\0",
    "not UTF-8": b"\xff\xfe\n",
    "empty lines": b"\n\n\na\n\n",
    "other separators are no newlines": "a\u2028b\x0cc\x85\n".encode(),
}


@pytest.mark.parametrize("data", EDGES.values(), ids=EDGES.keys())
@pytest.mark.parametrize("chunk_size", [1, 3, 1 << 16])
def test_lines_put_together_are_the_source(data: bytes, chunk_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data and newlines of all lines give the source back, each line where it says it stands."""
    monkeypatch.setattr(lines, "CHUNK_SIZE", chunk_size)
    found = [line for line in read_lines(io.BytesIO(data), 0, 1, 100) if line is not None]
    assert b"".join(line.data + b"\n" * line.terminated for line in found) == data
    for number, line in enumerate(found, 1):
        assert line.number == number
        assert data[line.position :].startswith(line.data)
        assert line.position == 0 or data[line.position - 1 : line.position] == b"\n"


def test_only_the_last_line_can_be_without_a_newline() -> None:
    """A last line without a newline says so, and all others say that they had one."""
    found = list(read_lines(io.BytesIO(b"a\n\nb"), 0, 1, 100))
    assert found == [Line(0, 1, b"a", True), Line(2, 2, b"", True), Line(3, 3, b"b", False)]


def test_reading_goes_on_from_a_position() -> None:
    """Position and number count on from where the source stands."""
    source = io.BytesIO(b"first\nsecond\n")
    source.seek(6)
    assert list(read_lines(source, 6, 2, 100)) == [Line(6, 2, b"second", True)]


@pytest.mark.parametrize("data", [b"x" * 11, b"ok\n" + b"x" * 11 + b"\n"], ids=["unterminated", "terminated"])
def test_a_line_over_the_limit_ends_the_reading(data: bytes) -> None:
    """A line over the limit raises with its number; one of just that size passes."""
    assert list(read_lines(io.BytesIO(b"x" * 10 + b"\n"), 0, 1, 10)) == [Line(0, 1, b"x" * 10, True)]
    with pytest.raises(VerbError, match=f"line {data.count(b'ok') + 1} .*longer"):
        list(read_lines(io.BytesIO(data), 0, 1, 10))


def test_an_endless_line_is_not_held_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source without newlines is given up after the limit, not at its end."""
    monkeypatch.setattr(lines, "CHUNK_SIZE", 10)
    source = io.BytesIO(b"x" * 1000)
    with pytest.raises(VerbError):
        list(read_lines(source, 0, 1, 50))
    assert source.tell() <= 70


def test_a_silent_pipe_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a pipe has nothing to read, None comes between the lines."""
    monkeypatch.setattr(lines, "LINGER", 0.001)
    reading, writing = os.pipe()
    with open(reading, "rb") as source, open(writing, "wb", buffering=0) as sink:
        sink.write(b"a\nb")
        found = read_lines(source, 0, 1, 100, silence_of(source))
        assert next(found) == Line(0, 1, b"a", True)
        assert next(found) is None
        sink.write(b"c\n")
        assert next(line for line in found if line is not None) == Line(2, 2, b"bc", True)


def test_what_has_no_descriptor_is_never_silent() -> None:
    """Bytes in memory have no descriptor to wait for."""
    assert not silence_of(io.BytesIO(b""))()
