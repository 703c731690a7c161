"""A writer process of the demo: puts its part of the events, and says on stdout what was acknowledged, after it was.

Run as a module with DIRECTORY STREAM PART_FILE PART. It goes on after what the stream holds of its part already, so a
fresh process takes over from a killed one. On stdout, a line each: `ready`, `begin CLOCK_NS EVENTS_LEFT`, then for
every acknowledged put `ack KIND CLOCK_NS ELAPSED_NS COUNT EVENT,... SEQUENCE_NUMBER,...`; `bulk CLOCK_NS` before the
paced end, and `done`.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import streamstore
from streamstore.cli.ingest.resume import Place, Taken, find_taken
from streamstore.generate.clickstream import event_number, part_of, user_of
from streamstore.routing import hash_key

Entry = tuple[bytes, str]  # data, partition key

BATCH_RECORDS = 500
# After so many batches come so many single puts, which time what one acknowledgement takes.
BATCHES_BETWEEN = 20
SINGLES = 50
# The last lines of a part are put one by one with a pause between, so that the tailing process is timed without a
# queue before it.
PACED = 250
PACE_SECONDS = 0.002


def main(arguments: Sequence[str]) -> int:
    """Write one part; wait for a line on stdin before the first put, before the paced end, and before going."""
    directory, stream_name, part_file, part_text = arguments
    entries = [(data, user_of(data)) for data in Path(part_file).read_bytes().splitlines()]
    with streamstore.open(directory, create=False) as store:
        stream = store.stream(stream_name)
        store.flush()
        say("ready")
        sys.stdin.readline()
        begin = time.monotonic_ns()
        pending = _pending(entries, find_taken(stream, lambda record: _place(record, int(part_text))))
        say(f"begin {begin} {len(pending)}")
        paced_from = max(len(pending) - PACED, 0)
        _write_bulk(stream, pending[:paced_from])
        say(f"bulk {time.monotonic_ns()}")
        sys.stdin.readline()
        for entry in pending[paced_from:]:
            _put_one(stream, entry)
            time.sleep(PACE_SECONDS)
        say("done")
        sys.stdin.readline()
    return 0


def _place(record: streamstore.Record, part: int) -> Place | None:
    """An event's number is its place in what its part writes."""
    if part_of(record.partition_key) != part:
        return None
    number = event_number(record.data)
    return Place(number, number, str(part))


def _pending(entries: list[Entry], taken: Taken) -> list[Entry]:
    if not taken.lasts:
        return entries
    return [(data, user) for data, user in entries if not taken.holds(hash_key(user), event_number(data))]


def say(line: str) -> None:
    """One whole line to the parent, at once: what is said was true before it was said."""
    os.write(sys.stdout.fileno(), line.encode() + b"\n")


def _write_bulk(stream: streamstore.Stream, entries: Sequence[Entry]) -> None:
    place = batches = 0
    while place < len(entries):
        if batches == BATCHES_BETWEEN:
            end, batches = place + SINGLES, 0
            for entry in entries[place:end]:
                _put_one(stream, entry)
        else:
            end, batches = place + BATCH_RECORDS, batches + 1
            _put_batch(stream, entries[place:end])
        place = end


def _put_one(stream: streamstore.Stream, entry: Entry) -> None:
    began = time.perf_counter_ns()
    result = stream.put_record(*entry)
    _say_ack("one", time.perf_counter_ns() - began, [entry], [result])


def _put_batch(stream: streamstore.Stream, batch: Sequence[Entry]) -> None:
    began = time.perf_counter_ns()
    results = stream.put_records(batch)
    _say_ack("batch", time.perf_counter_ns() - began, batch, results)


def _say_ack(kind: str, elapsed: int, batch: Sequence[Entry], results: Sequence[streamstore.PutResult]) -> None:
    events = ",".join([str(event_number(data)) for data, _ in batch])
    numbers = ",".join([result.sequence_number for result in results])
    _say_all(f"ack {kind} {time.monotonic_ns()} {elapsed} {len(batch)} {events} {numbers}\n".encode())


def _say_all(line: bytes) -> None:
    # A batch's line is longer than a pipe takes at once; a line cut by the kill is no acknowledgement.
    view = memoryview(line)
    while view:
        view = view[os.write(sys.stdout.fileno(), view) :]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
