"""What must be true of the store at the end of the demo: compares it record by record with the events and the
acknowledgements.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import streamstore
from streamstore.cli.demo.child import Ack
from streamstore.generate.clickstream import event_number


def check_store(
    stream: streamstore.Stream,
    parts: Sequence[Path],
    acks: Sequence[Ack],
    figures: dict[str, Any],
    checks: dict[str, bool],
) -> None:
    """Read everything; fill `figures` with counts and speed, `checks` with sentences and whether they hold."""
    began = time.perf_counter_ns()
    with stream.read("TRIM_HORIZON") as reader:
        records = list(reader)
    elapsed = time.perf_counter_ns() - began
    numbers: dict[int, str] = {}
    payloads: dict[int, bytes] = {}
    last_of_user: dict[str | None, int] = {}
    ordered = True
    for record in records:
        event = event_number(record.data)
        numbers[event], payloads[event] = record.sequence_number, record.data
        ordered &= event > last_of_user.get(record.partition_key, -1)
        last_of_user[record.partition_key] = event
    acknowledged = [pair for ack in acks for pair in zip(ack.events, ack.sequence_numbers, strict=True)]
    lost = sum(numbers.get(event) != number for event, number in acknowledged)
    figures |= {
        "records": len(records),
        "acknowledged": len(acknowledged),
        "lost": lost,
        "twice": len(records) - len(numbers),
        "read_records_per_s": len(records) / (elapsed / 1e9),
    }
    written = {event_number(data): data for part in parts for data in part.read_bytes().splitlines()}
    checks["every acknowledged record is there, under its sequence number"] = lost == 0 and bool(acknowledged)
    checks["no record is there twice"] = len(numbers) == len(records)
    checks["every event is there, byte for byte"] = payloads == written
    checks["each user's events are in order"] = ordered
