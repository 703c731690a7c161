"""Which records of a stream are replayed: by key, hash key, content, or a function."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from streamstore import routing
from streamstore.errors import InvalidArgumentError
from streamstore.limits import HASH_KEY_END
from streamstore.native import Record

Test = Callable[[Record], Any]


def selection(
    *,
    keys: Iterable[str] | None = None,
    hash_keys: tuple[int, int] | None = None,
    match: str | bytes | re.Pattern[bytes] | None = None,
    jq: str | None = None,
    where: Test | None = None,
) -> Callable[[Sequence[Record]], list[Record]] | None:
    """A function from records to those that pass every test given; None where there is none.

    `keys`: the partition key is one of these; `hash_keys`: the hash key lies between these two, both included; `match`:
    a regular expression is found in the data; `jq`: the expression (extra `jq`) gives something that is not false or
    null for the data as JSON; `where`: the function says so. Raises InvalidArgumentError.
    """
    tests: list[Test] = []
    if keys is not None:
        tests.append(_key_test(keys))
    if hash_keys is not None:
        tests.append(_hash_key_test(*hash_keys))
    if match is not None:
        tests.append(_match_test(match))
    if jq is not None:
        tests.append(_jq_test(jq))
    if where is not None:
        if not callable(where):
            raise InvalidArgumentError("where is a function of a record")
        tests.append(where)
    if not tests:
        return None
    if len(tests) == 1:
        only = tests[0]
        return lambda records: [record for record in records if only(record)]
    return lambda records: [record for record in records if all(test(record) for test in tests)]


def _key_test(keys: Iterable[str]) -> Test:
    if isinstance(keys, str):
        raise InvalidArgumentError("keys is a list of partition keys")
    wanted = frozenset(keys)
    return lambda record: record.partition_key in wanted


def _hash_key_test(first: int, last: int) -> Test:
    if not 0 <= first <= last < HASH_KEY_END:
        raise InvalidArgumentError("hash_keys are two numbers from 0 to 2**128 - 1, the lower one first")
    return lambda record: (key := hash_key_of(record)) is not None and first <= key <= last


def hash_key_of(record: Record) -> int | None:
    """The hash key that the record was placed by; None where it has neither that nor a partition key."""
    if record.explicit_hash_key is not None:
        return record.explicit_hash_key
    return None if record.partition_key is None else routing.hash_key(record.partition_key)


def _match_test(match: str | bytes | re.Pattern[bytes]) -> Test:
    try:
        pattern = re.compile(match.encode() if isinstance(match, str) else match)
    except re.error as error:
        raise InvalidArgumentError(f"match is no regular expression: {error}") from None
    return lambda record: pattern.search(record.data)


def _jq_test(expression: str) -> Test:
    try:
        import jq
    except ImportError:
        raise InvalidArgumentError("a jq expression needs jq: pip install 'streamstore-kinesis[jq]'") from None
    try:
        program = jq.compile(expression)
    except ValueError as error:
        raise InvalidArgumentError(f"jq: {error}") from None

    def passes(record: Record) -> bool:
        try:
            return any(value is not None and value is not False for value in program.input_text(record.data.decode()))
        except ValueError:  # no JSON, no UTF-8, or nothing that the expression is about
            return False

    return passes
