"""User records instead of the aggregates they came in: by which rule a read takes those apart, and doing it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from streamstore import native
from streamstore.aggregation import RULES
from streamstore.errors import InvalidArgumentError, InvalidTypeError
from streamstore.native import Record
from streamstore.values import HashRange

_NOWHERE = HashRange(0, 0)


class TakingApart(NamedTuple):
    """How a read takes aggregates apart: by which rule, and what each shard owns."""

    rule: str
    owned: Callable[[int], HashRange]

    def apply(self, index: int, records: list[Record]) -> tuple[list[Record], int]:
        """The records of a shard with every aggregate taken apart, and how many user records the rule left out."""
        owned = _NOWHERE if self.rule == "all" else self.owned(index)
        return native.user_records(records, self.rule, owned)


def taking_apart(deaggregate: Any, owned: Callable[[int], HashRange]) -> TakingApart | None:
    """What a caller said by `deaggregate`: False, True (the rule "all") or a rule.

    Raises InvalidArgumentError or InvalidTypeError for anything else.
    """
    if deaggregate is False:
        return None
    if deaggregate is True:
        return TakingApart("all", owned)
    if not isinstance(deaggregate, str):
        raise InvalidTypeError(f"deaggregate is a bool or one of {', '.join(RULES)}, not {type(deaggregate).__name__}")
    if deaggregate not in RULES:
        raise InvalidArgumentError(f"deaggregate is True, False or one of {', '.join(RULES)}, not {deaggregate!r}")
    return TakingApart(deaggregate, owned)


def is_last(record: Record) -> bool:
    """Is nothing of this record's aggregate left behind it?"""
    return record.sub_sequence_number + 1 >= record.user_record_count


def not_before(users: list[Record], position: int, epoch: int, part: int) -> list[Record]:
    """The records without the first `part` of the aggregate at that position and epoch."""
    return [
        user for user in users if user.sub_sequence_number >= part or user.position != position or user.epoch != epoch
    ]
