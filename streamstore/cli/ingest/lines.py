"""Lines of a source with their places: byte for byte, without the newline. Knows nothing of keys or streams."""

from __future__ import annotations

import io
import select
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

from streamstore.cli.exits import VerbError

CHUNK_SIZE = 256 * 1024
# How long a pipe may stay silent before the lines read so far are put without waiting for a full batch, in seconds.
LINGER = 0.05


class Line(NamedTuple):
    """A line: the byte offset of its beginning, its number from 1, its bytes without the newline, and whether it had
    one.
    """

    position: int
    number: int
    data: bytes
    terminated: bool


def read_lines(
    source: BinaryIO, position: int, number: int, size_max: int, is_silent: Callable[[], bool] = lambda: False
) -> Iterator[Line | None]:
    """Every line of `source`, which stands at `position`, where line `number` begins; None whenever the source is
    silent.

    Only `\\n` ends a line; a `\\r` before it belongs to the line, an empty line is a line, and so is a last one without
    a newline.
    A line over `size_max` bytes ends it with an error before much more than that is held in memory.
    """
    assert isinstance(source, (io.BufferedReader, io.BytesIO))
    begun: list[bytes] = []  # the line that no chunk has ended yet
    begun_size = 0
    while True:
        if is_silent():
            yield None
        chunk = source.read1(CHUNK_SIZE)
        if not chunk:
            break
        if b"\n" in chunk:
            lines = chunk.split(b"\n")
            lines[0] = b"".join([*begun, lines[0]])
            begun, begun_size = [], 0
            chunk = lines.pop()
            for data in lines:
                if len(data) > size_max:
                    raise _too_long(position, number, size_max)
                yield Line(position, number, data, True)
                position += len(data) + 1
                number += 1
        begun.append(chunk)
        begun_size += len(chunk)
        if begun_size > size_max:
            raise _too_long(position, number, size_max)
    if begun_size:
        yield Line(position, number, b"".join(begun), False)


def silence_of(source: BinaryIO) -> Callable[[], bool]:
    """A test for a pipe that has had nothing to read for LINGER; what is no pipe is never silent."""
    try:
        fd = source.fileno()
    except (OSError, io.UnsupportedOperation):
        return lambda: False
    return lambda: not select.select([fd], [], [], LINGER)[0]


def _too_long(position: int, number: int, size_max: int) -> VerbError:
    return VerbError(
        f"line {number} (at byte {position}) is longer than a record of this stream may be ({size_max} bytes); "
        "create the stream with a larger --max-record-size"
    )
