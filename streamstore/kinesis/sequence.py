"""Sequence numbers as requests give them: which shard they are of, and whether they lie behind its end."""

from __future__ import annotations

from typing import NamedTuple

from streamstore import InvalidArgumentError, Stream, native
from streamstore.kinesis.call import Call
from streamstore.kinesis.tokens import Cursor


class Number(NamedTuple):
    epoch: int
    position: int
    shard_index: int


def parse(text: str) -> Number | None:
    """The parts of a number; None for one of another layout."""
    try:
        return Number(*native.parse_sequence_number(text))
    except InvalidArgumentError:
        return None


def is_past(call: Call, stream: Stream, text: str) -> bool:
    """Was the number given to a record of this stream, or could it have been: it is not beyond its shard's end."""
    number = parse(text)
    if number is None or number.shard_index not in call.lineage(stream).indexes():
        return False
    state = stream.log(number.shard_index).state()
    return number.epoch <= state.epoch and number.position < state.tail


def text(cursor: Cursor) -> str:
    """The number that an AT or AFTER cursor stands at."""
    return native.sequence_number(cursor.epoch, cursor.position, cursor.shard_index)
