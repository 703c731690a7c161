"""Whatever stands in an archive, a catalog event, a saved position or a number: the declared errors and no others."""

from __future__ import annotations

import io
import json

import lz4.block
import msgpack
import pytest
import xxhash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from streamstore import events, iterators, native
from streamstore.archive import blocks, jsonlines
from streamstore.errors import FormatVersionError, InvalidArgumentError, StorageError, StreamStoreError

EXAMPLES = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
SALT = 5

leaves = some.one_of(
    some.none(),
    some.booleans(),
    some.integers(-(1 << 63), (1 << 64) - 1),
    some.floats(),
    some.text(max_size=8),
    some.binary(max_size=8),
)
values = some.recursive(
    leaves,
    lambda inner: some.lists(inner, max_size=7) | some.dictionaries(some.text(max_size=6), inner, max_size=5),
    max_leaves=12,
)


def archive(header: object, count: int, raw: bytes, stored: bytes | None = None) -> bytes:
    """An archive of one block, all of whose checks hold."""
    said = msgpack.packb(header)
    head = blocks._HEAD.pack(blocks.MAGIC, 1, len(said))
    salt = header.get("salt", 0) if isinstance(header, dict) else 0
    salt = salt if isinstance(salt, int) and 0 <= salt < 1 << 63 else 0
    stored = lz4.block.compress(raw, store_size=False) if stored is None else stored
    facts = blocks._BLOCK.pack(count, len(raw), len(stored), 0, 0)[:16]
    check = xxhash.xxh3_64_intdigest(facts + stored, salt).to_bytes(8, "little")
    end = xxhash.xxh3_64_intdigest(head + said).to_bytes(8, "little")
    return head + said + end + facts + check + stored


def read(data: bytes) -> None:
    """All of an archive; what it may raise is swallowed."""
    try:
        list(blocks.BlockSource(io.BytesIO(data)).batches())
    except (InvalidArgumentError, StorageError, FormatVersionError):
        pass


HEADER = {"from": "a/1", "stream": "s", "salt": SALT}


@EXAMPLES
@given(values)
def test_a_hostile_header_of_an_archive(header):
    """Its check holds, and what it says is anything."""
    read(archive(header, 0, msgpack.packb({"records": 0})))
    read(archive({**HEADER, "salt": header}, 0, msgpack.packb({"records": 0})))


@EXAMPLES
@given(some.lists(values, max_size=3), some.integers(0, 3))
def test_hostile_rows_of_an_archive(rows, count):
    """The block's check holds, and its rows are anything."""
    read(archive(HEADER, count, b"".join(map(msgpack.packb, rows))))


@EXAMPLES
@given(some.binary(max_size=40), some.integers(0, 3), some.binary(max_size=40))
def test_hostile_bytes_in_an_archive(raw, count, stored):
    """The block's check holds over what is no msgpack, or no LZ4."""
    read(archive(HEADER, count, raw))
    read(archive(HEADER, count, raw, stored))


@EXAMPLES
@given(some.dictionaries(some.sampled_from([
    "from", "stream", "shard_id", "sequence_number", "arrival_us", "partition_key", "explicit_hash_key", "attributes",
    "data", "data_base64", "$base64"]), values, max_size=10), some.booleans())  # fmt: skip
def test_hostile_lines(document, ours):
    """A line is JSON, and anything else."""
    if ours:
        document["from"] = "a/1"
    line = json.dumps(document, default=lambda value: {"$base64": value.hex()}).encode()
    for text in (line, line.replace(b"NaN", b"1e999"), line[:-1], b"[" * 3000):
        try:
            list(jsonlines.LineSource(io.BytesIO(b'{"from": "a/1", "stream": "s"}\n' + text)).batches())
        except (InvalidArgumentError, StorageError):
            pass


@EXAMPLES
@given(some.sampled_from(sorted(events._HANDLERS)), some.dictionaries(some.sampled_from([
    "id", "name", "shards", "set", "starts", "ends", "step", "created", "key", "streams", "next_id", "of", "parents",
    "children", "lineage", "unset", "deleted"]), values, max_size=8))  # fmt: skip
def test_hostile_events_of_the_catalog(kind, said):
    """An event of a known kind with anything in it."""
    try:
        events.fold(events.State(), events.encode(kind, **said))
    except FormatVersionError:
        pass


@EXAMPLES
@given(values, some.dictionaries(some.text(max_size=4), values, max_size=3))
def test_hostile_positions(value, shards):
    """A saved position comes from outside: a file, a database, a request."""
    for each in (
        value,
        {"v": 1, "stream": "t", "shards": shards},
        {"v": iterators.VERSION, "stream": "t", "shards": shards},
    ):
        try:
            iterators.parse(each, "t")
        except StreamStoreError:
            pass


@EXAMPLES
@given(some.text(max_size=140) | some.from_regex(r"[0-9]{1,140}", fullmatch=True))
def test_hostile_numbers(text):
    """A sequence number is parsed, or refused."""
    try:
        parsed = native.parse_sequence_number(text)
    except InvalidArgumentError:
        return
    assert len(parsed) == 3


def test_the_swallowed_errors_are_not_all_there_is():
    """An archive whose rows are rows is read: the tests above look at more than refusals."""
    row = msgpack.packb(["shardId-000000000000", "1", 2, "key", None, b"", b"data"])
    source = blocks.BlockSource(io.BytesIO(archive(HEADER, 1, row)))
    assert next(source.batches())[0].data == b"data"
    with pytest.raises(StorageError, match="ends early"):
        list(source.batches())
