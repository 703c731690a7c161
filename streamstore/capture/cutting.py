"""Bytes of a growing file cut into records: lines, or lines that belong together. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from streamstore.errors import InvalidArgumentError


class Piece(NamedTuple):
    """One record: from `begin` to before `end` of the bytes that were cut, its last newline included; `data` is without
    that. `lines` is how many lines end in it; `whole` is False where it does not end with a line.
    """

    begin: int
    end: int
    data: bytes
    lines: int
    whole: bool


def start_pattern(multi_line: str | None) -> re.Pattern[bytes] | None:
    """What is found in the first line of a record of several, None for one a line. Raises InvalidArgumentError."""
    try:
        return None if multi_line is None else re.compile(multi_line.encode())
    except re.error as error:
        raise InvalidArgumentError(f"multi_line is no regular expression: {error}") from None


def cut(
    data: bytes, size_max: int, *, start: re.Pattern[bytes] | None = None, finished: bool = False, quiet: bool = False
) -> list[Piece]:
    """The records that are complete; what is behind the last one is looked at again once there is more of it.

    A line is complete with its newline. With `start` a record begins with each line in which that is found, and is
    complete when the next one begins, or when nothing came for a while (`quiet`) and its last line is. With `finished`
    nothing comes any more, and what is left is a record too. What is over `size_max` bytes is cut there.
    """
    pieces: list[Piece] = []
    end = 0
    for begin, end, lines in _records(data, start, finished=finished, quiet=quiet):
        whole = data[end - 1 : end] == b"\n"
        content_end = end - whole
        while content_end - begin > size_max:
            pieces.append(Piece(begin, begin + size_max, data[begin : begin + size_max], 0, False))
            begin += size_max
        pieces.append(Piece(begin, end, data[begin:content_end], lines, whole))
    while len(data) - end > size_max + 1:  # a newline may be the next byte
        pieces.append(Piece(end, end + size_max, data[end : end + size_max], 0, False))
        end += size_max
    return pieces


def _records(
    data: bytes, start: re.Pattern[bytes] | None, *, finished: bool, quiet: bool
) -> Iterator[tuple[int, int, int]]:
    """(begin, end, lines) of what is complete."""
    begun = lines = 0
    for begin, end in _lines(data, finished=finished):
        if start is None:
            yield begin, end, 1
            continue
        if lines and start.search(data[begin:end]):
            yield begun, begin, lines
            begun, lines = begin, 0
        lines += 1
    if start is not None and lines and (finished or (quiet and data.endswith(b"\n"))):
        yield begun, len(data), lines


def _lines(data: bytes, *, finished: bool) -> Iterator[tuple[int, int]]:
    """Where each line begins and ends, with its newline; one without a newline only where nothing comes any more."""
    begin = 0
    while (newline := data.find(b"\n", begin)) >= 0:
        yield begin, newline + 1
        begin = newline + 1
    if finished and begin < len(data):
        yield begin, len(data)
