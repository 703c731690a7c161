"""`python tests/fuzz/parsers.py [target ...] --seconds N`: the parsers in Python under Atheris, libFuzzer for Python.

It is guided by what the interpreter runs. Every input ends in a value or in an error that is declared; checks are fixed
up, so that what they guard is reached. Without Atheris it says so and does nothing: then tests/test_hostile_parsers.py
is what there is.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(ROOT), str(HERE.parent)]

from figures import Figures  # noqa: E402

INPUT_MAX = 512
SEEDS: dict[str, list[bytes]] = {
    "archive": [b"\x00\x82\xa4from\xa3a/1\xa6stream\xa1s", b"\x01\x97\xa1a\xa11\x02\xa1k\xc0\xc4\x00\xc4\x01d"],
    "lines": [b'{"shard_id": "shardId-000000000000", "sequence_number": "1", "arrival_us": 1, "data": "x"}'],
    "events": [b"\x00\x82\xa2id\x01\xa4name\xa1s", b"\x05\x81\xa2id\x01"],
    "deliveries": [b"\x01" + bytes(40), b"\x02" + bytes(15), b"\x92\xa6attach\x01"],
    "positions": [b'{"v": 1, "stream": "t", "shards": {"shardId-000000000000": [64, 1]}}', b'"LATEST"', b"12.5"],
    "numbers": [b"4" * 56, b"49590338271490256608559692538361571095921575989136588898"],
    "aggregates": [b"\x0a\x01k\x1a\x05\x08\x00\x1a\x01x", b"\x0a\x01k\x12\x011\x1a\x07\x08\x00\x10\x00\x1a\x01x"],
    "json": [b'{"StreamName": "s", "Data": "eA==", "PartitionKey": "k"}'],
    "cbor": [b"\xa1\x6aStreamName\x61s", b"\xa1\x64Data\x41x"],
}


def archive(data: bytes) -> object:
    """An archive of one block whose checks hold: of any header, any rows, or bytes that are no LZ4."""
    import lz4.block
    import msgpack
    import xxhash

    from streamstore.archive import blocks

    said = data[1:] if data[:1] == b"\x00" else msgpack.packb({"from": "a/1", "stream": "s", "salt": 5})
    rows = data[2:] if data[:1] != b"\x00" else b""
    head = blocks._HEAD.pack(blocks.MAGIC, 1, len(said))
    stored = rows if data[:1] == b"\x02" else lz4.block.compress(rows, store_size=False)
    facts = blocks._BLOCK.pack(data[1] if len(data) > 1 else 0, len(rows), len(stored), 0, 0)[:16]
    check = xxhash.xxh3_64_intdigest(facts + stored, 5).to_bytes(8, "little")
    end = xxhash.xxh3_64_intdigest(head + said).to_bytes(8, "little")
    return list(blocks.BlockSource(io.BytesIO(head + said + end + facts + check + stored)).batches())


def event(data: bytes) -> object:
    """Events of known kinds with anything in them; several in a row meet what the others left."""
    import msgpack

    from streamstore import events

    kinds, state = sorted(events._HANDLERS), events.State()
    for part in data.split(b"\xff\xff"):
        try:
            said = msgpack.unpackb(part[1:], strict_map_key=False)
        except Exception:
            return None  # no msgpack: what tests/test_hostile_parsers.py looks at
        if isinstance(said, dict):
            said.update(v=events.VERSION, e=kinds[part[0] % len(kinds)] if part else "create")
            events.fold(state, msgpack.packb(said))
    return events.snapshot(state)


def deliveries(data: bytes) -> object:
    """Events of a queue's delivery log."""
    from streamstore.queue.events import FoldedDeliveries

    state = FoldedDeliveries()
    for part in data.split(b"\xff\xff"):
        if part:
            state.fold(part)
    return state


def aggregate(data: bytes) -> object:
    """With the magic and the digest that make an aggregate of it, and without."""
    from streamstore import native

    return native.deaggregate(b"\xf3\x89\x9a\xc2" + data + hashlib.md5(data).digest()), native.deaggregate(data)


Parser = Callable[[bytes], object]
Errors = tuple[type[BaseException], ...]


def declared() -> dict[str, tuple[Parser, Errors]]:
    """Each parser, and the errors that it may raise."""
    from streamstore import errors, iterators, native
    from streamstore.archive import jsonlines
    from streamstore.kinesis.cbor_codec import CborCodec
    from streamstore.kinesis.errors import ServiceError
    from streamstore.kinesis.json_codec import JsonCodec

    first = b'{"from": "a/1", "stream": "s"}\n'
    no_json = (ValueError, RecursionError, OverflowError)  # of what takes the input apart here
    return {
        "archive": (archive, (errors.StreamStoreError,)),
        "lines": (
            lambda data: list(jsonlines.LineSource(io.BytesIO(first + data)).batches()),
            (errors.StreamStoreError,),
        ),
        "events": (event, (errors.FormatVersionError,)),
        "deliveries": (deliveries, (errors.FormatVersionError,)),
        "positions": (lambda data: iterators.parse(json.loads(data), "t"), (errors.StreamStoreError, *no_json)),
        "numbers": (lambda data: native.parse_sequence_number(data.decode("latin-1")), (errors.InvalidArgumentError,)),
        "aggregates": (aggregate, ()),
        "json": (JsonCodec().decode, (ServiceError,)),
        "cbor": (CborCodec().decode, (ServiceError,)),
    }


def guarded(parse: Parser, allowed: Errors) -> Callable[[bytes], None]:
    """The parser without the errors that are declared."""

    def run(data: bytes) -> None:
        try:
            parse(data)
        except allowed:
            pass

    return run


def targets() -> dict[str, Callable[[bytes], None]]:
    """Each parser as a function of bytes that may raise nothing."""
    return {name: guarded(*each) for name, each in declared().items()}


def one(name: str, arguments: list[str]) -> None:
    """In a process of its own, because libFuzzer ends the one that it runs in."""
    import atheris

    with atheris.instrument_imports(include=["streamstore"]):
        parse = targets()[name]
    atheris.Setup([sys.argv[0], *arguments], parse)
    atheris.Fuzz()


def run(name: str, seconds: int, seed: int) -> tuple[int, bool, str]:
    """(inputs tried, whether all went well, what was said at the end)."""
    with tempfile.TemporaryDirectory() as corpus:
        for number, data in enumerate(SEEDS[name]):
            (Path(corpus) / f"seed-{number}").write_bytes(data)
        options = [f"-max_total_time={seconds}", f"-max_len={INPUT_MAX}", f"-seed={seed}", "-timeout=30", corpus]
        command = [sys.executable, str(Path(__file__)), "--one", name, *options]
        done = subprocess.run(command, cwd=corpus, capture_output=True, text=True, errors="replace")
    said = done.stdout + done.stderr
    runs = re.findall(r"^(?:Done |#)(\d+)", said, re.MULTILINE)
    return int(runs[-1]) if runs else 0, done.returncode == 0 and bool(runs), said[-3000:]


def main() -> int:
    """Exit status 0 if no target found anything, or there is nothing to look with."""
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2], sys.argv[3:])
    parser = argparse.ArgumentParser(description=__doc__, prog="python tests/fuzz/parsers.py")
    parser.add_argument("targets", nargs="*", help="only these, such as events")
    parser.add_argument("--seconds", type=int, default=15, help="for each target")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    try:
        import atheris  # noqa: F401
    except ImportError:
        print("atheris is not here (pip install atheris, where there is one for this Python)")
        return 0
    begun, total, failed = time.monotonic(), 0, 0
    names: list[Any] = options.targets or list(SEEDS)
    for name in names:
        runs, well, said = run(name, options.seconds, options.seed)
        total, failed = total + runs, failed + (not well)
        print(f"{'well  ' if well else 'FAILED'}  {name:12}{runs:>12,} inputs", flush=True)
        if not well:
            print(said)
    if not options.targets:
        note = f"{len(names)} parsers in Python by Atheris, {failed} with findings"
        seconds = time.monotonic() - begun
        Figures("fuzz-parsers", str(options.seed), total, 0, 0, 0, 0, 0, seconds, note).write("/dev/shm")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
