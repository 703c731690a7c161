"""Faults that a test asks for, by rule and reproducibly: throttle a shard, fail every n-th entry, drop an answer after
the commit.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from streamstore import Stream, routing
from streamstore.kinesis import errors

if TYPE_CHECKING:
    from streamstore.kinesis.call import Call, Request


class Faults:
    """Rules that fail requests of one service. Any thread; the same seed and the same requests give the same faults."""

    def __init__(self, seed: int = 0) -> None:
        self._lock = threading.Lock()
        self._random = random.Random(seed)
        self._throttled: set[tuple[str, str]] = set()
        self._every = 0
        self._count = 0
        self._lost: dict[str, int] = {}
        self._probability: dict[str, tuple[float, str]] = {}

    # --- rules ------------------------------------------------------------------------------------------------------

    def throttle(self, stream: str, shard_id: str = "shardId-000000000000") -> None:
        """Refuse every put to a shard and every read of it with ProvisionedThroughputExceededException."""
        self._throttled.add((stream, shard_id))

    def fail_every(self, n: int) -> None:
        """Fail every n-th entry of PutRecords, counted over all requests; 0 for none."""
        self._every, self._count = n, 0

    def drop_answers(self, operation: str, times: int = 1) -> None:
        """Carry out the next requests of an operation and answer them with an InternalFailure all the same."""
        self._lost[operation] = times

    def fail_some(self, operation: str, probability: float, type: str = "InternalFailure") -> None:
        """Fail requests of an operation before anything is done, by the seeded die."""
        self._probability[operation] = (probability, type)

    def clear(self) -> None:
        """Take all rules back."""
        with self._lock:
            self._throttled.clear()
            self._lost.clear()
            self._probability.clear()
            self._every = self._count = 0

    # --- for the service --------------------------------------------------------------------------------------------

    def before(self, call: Call, request: Request) -> None:
        """Raise the error that a rule asks for before the handler runs."""
        probability, type = self._probability.get(call.operation, (0.0, ""))
        if probability:
            with self._lock:
                struck = self._random.random() < probability
            if struck:
                raise errors.ServiceError(type, "a fault that a test asked for", 500 if "Internal" in type else 400)

    def after(self, call: Call) -> None:
        """Raise an error though the handler has done its work."""
        with self._lock:
            left = self._lost.get(call.operation, 0)
            if not left:
                return
            self._lost[call.operation] = left - 1
        raise errors.internal()

    def check_shard(self, call: Call, stream: Stream, index: int) -> None:
        """Raise the throttle's error for a shard that is throttled."""
        shard_id = routing.shard_id(index)
        if (stream.name, shard_id) in self._throttled:
            raise errors.throttled(shard_id, stream.name, call.account)

    def drop(
        self, call: Call, stream: Stream, entries: Sequence[Any], waiting: list[int], results: list[Any]
    ) -> list[int]:
        """Fail entries of a PutRecords: their results are set, the places of the others returned."""
        passed = []
        for place in waiting:
            _, key, explicit = entries[place]
            index = call.lineage(stream).route(routing.hash_key(key or "") if explicit is None else explicit)
            try:
                self.check_shard(call, stream, index)
                self._check_count()
            except errors.ServiceError as error:
                results[place] = error
            else:
                passed.append(place)
        return passed

    def _check_count(self) -> None:
        if self._every:
            with self._lock:
                self._count += 1
                struck = self._count % self._every == 0
            if struck:
                raise errors.internal("Internal service failure.")
