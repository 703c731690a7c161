"""What tests of the producer have in common, whatever it puts to: numbered user records, and a stream that is resharded
all the time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import Any

Places = dict[tuple[str, str, int], bytes]


def places_of(records: Iterable[Any]) -> Places:
    """The data of user records by where they stand."""
    return {(each.shard_id, each.sequence_number, each.sub_sequence_number): each.data for each in records}


def check_places(futures: list[Any], places: Places) -> None:
    """Each future says where its number stands."""
    assert [places[future.result()[:3]] for future in futures] == [b"%d" % number for number in range(len(futures))]


class Resharder:
    """While it is entered, a stream goes from its two shards to `most` and back, again and again."""

    def __init__(self, stream: Any, most: int) -> None:
        self._stream, self._most = stream, most
        self._stop = threading.Event()
        self._rounds = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._reshard)

    def _reshard(self) -> None:
        while not self._stop.is_set():
            self._stream.update_shard_count(self._most)
            self._stream.update_shard_count(2)
            self._rounds.release()

    def __enter__(self) -> Resharder:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def wait_for_a_round(self) -> None:
        """However slow the machine is, something is put between any two of these."""
        assert self._rounds.acquire(timeout=100)


def put_under_resharding(producer: Any, resharder: Resharder, count: int, keys: int) -> list[Any]:
    """Put that many numbers under so many keys in turn; their futures. At least three reshards come in between."""
    futures = []
    for number in range(count):
        futures.append(producer.put_record(b"%d" % number, f"key-{number % keys}"))
        if number % 50 == 0:
            time.sleep(0.002)
        if number % (count // 3) == count // 6:
            resharder.wait_for_a_round()
    return futures


def check_order(records: list[Any], keys: int) -> None:
    """The numbers of each key stand in their order, each once."""
    for key in range(keys):
        own = [int(each.data) for each in records if each.partition_key == f"key-{key}"]
        assert own == list(range(key, len(records), keys))
