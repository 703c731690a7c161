"""The tailing process of the demo: follows the stream from its beginning and times how long records take to reach it.

Run as a module with DIRECTORY STREAM BULK TOTAL. Says `ready` on stdout once it follows, `bulk` when BULK records came
(those after that come one by one, slowly), and at the end one line of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from array import array
from collections.abc import Sequence

import streamstore
from streamstore.generate.clickstream import event_number

TIMEOUT_SECONDS = 20.0


def main(arguments: Sequence[str]) -> int:
    """Follow until TOTAL records came, or none for TIMEOUT_SECONDS."""
    directory, stream_name = arguments[:2]
    bulk, total = int(arguments[2]), int(arguments[3])
    seen: set[int] = set()
    newest: dict[str, int] = {}
    latencies = array("q")
    count = out_of_order = 0
    with (
        streamstore.open(directory, create=False) as store,
        store.stream(stream_name).read("TRIM_HORIZON", follow=True, timeout=TIMEOUT_SECONDS) as reader,
    ):
        print("ready", flush=True)
        for record in reader:
            latencies.append(time.time_ns() // 1000 - record.arrival_us)
            count += 1
            number = int(record.sequence_number)
            out_of_order += number <= newest.get(record.shard_id, -1)
            newest[record.shard_id] = number
            seen.add(event_number(record.data))
            if count == bulk:
                print("bulk", flush=True)
            if count == total:
                break
    print(
        json.dumps(
            {"count": count, "distinct": len(seen), "out_of_order": out_of_order, "latencies_us": latencies.tolist()}
        ),
        flush=True,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
