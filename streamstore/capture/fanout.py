"""Shards read by SubscribeToShard: a registered consumer of its own, to which the service pushes; a thread a shard."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from streamstore.capture.kinesis import KinesisSource
from streamstore.capture.polling import CLOCKS_APART_MAX, LASTING, PAUSE_FIRST, PAUSE_MAX, error_code
from streamstore.capture.shards import Shard
from streamstore.errors import StorageError

ACTIVE_WITHIN = 60.0


class FanOut:
    """Subscribes to shards under the name of a consumer, which is registered where it is not, and stays registered."""

    def __init__(self, source: KinesisSource, consumer: str) -> None:
        self._source = source
        self._consumer_arn = _registered(source, consumer)
        self._threads: dict[str, threading.Thread] = {}
        self._streams: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._follow = True

    def start(self, shards: Sequence[Shard], *, follow: bool) -> None:
        self._follow = follow
        for shard in shards:
            thread = threading.Thread(target=self._work, args=(shard,), name="streamstore-capture", daemon=True)
            self._threads[shard.id] = thread
            thread.start()

    def _work(self, shard: Shard) -> None:
        pause = PAUSE_FIRST
        while not (self._source.stopped.is_set() or shard.read_to_end or shard.is_at_tip):
            try:
                self._subscribe(shard)
                pause = PAUSE_FIRST
            except Exception as failure:
                if self._source.stopped.is_set():
                    return
                code = error_code(failure)
                if code is None or (code in LASTING and not _is_early(code, shard)):
                    self._source.fail(shard, failure)
                    return
                self._source.retries += 1
                self._source.stopped.wait(pause)
                pause = min(pause * 2, PAUSE_MAX)

    def _subscribe(self, shard: Shard) -> None:
        """One subscription, which the service ends after five minutes."""
        request = {"ConsumerARN": self._consumer_arn, "ShardId": shard.id, "StartingPosition": _position(shard)}
        stream = self._source.client.subscribe_to_shard(**request)["EventStream"]
        with self._lock:
            self._streams[shard.id] = stream
        try:
            for event in stream:
                if self._source.stopped.is_set() or self._took(shard, event["SubscribeToShardEvent"]):
                    return
        finally:
            stream.close()

    def _took(self, shard: Shard, event: Mapping[str, Any]) -> bool:
        """Pass an event on; True where nothing more is wanted of this shard."""
        records = event["Records"]
        shard.behind_ms = behind = event.get("MillisBehindLatest") or 0
        # The children are told with the last event of a shard, and nowhere else.
        ended = bool(event.get("ChildShards"))
        self._source.give(shard, records, ended=ended)
        if not ended and not self._follow and not behind:
            shard.is_at_tip = True
        return ended or shard.is_at_tip

    def close(self) -> None:
        with self._lock:
            for stream in self._streams.values():
                stream.close()  # ends the wait of its thread
        for thread in self._threads.values():
            if thread is not threading.current_thread():
                thread.join(timeout=1.0)


def _position(shard: Shard) -> dict[str, Any]:
    """Where a subscription begins, as an iterator would."""
    asked = shard.iterator()
    found = {"Type": asked["ShardIteratorType"]}
    if "StartingSequenceNumber" in asked:
        found["SequenceNumber"] = asked["StartingSequenceNumber"]
    if "Timestamp" in asked:
        found["Timestamp"] = asked["Timestamp"]
    return found


def _is_early(code: str, shard: Shard) -> bool:
    asked = float(shard.iterator().get("Timestamp", 0))
    return code == "InvalidArgumentException" and abs(asked - time.time()) < CLOCKS_APART_MAX


def _registered(source: KinesisSource, name: str) -> str:
    """The ARN of a consumer that is ready."""
    client = source.client
    asked = {"StreamARN": source.arn, "ConsumerName": name}
    try:
        client.register_stream_consumer(**asked)
    except client.exceptions.ResourceInUseException:
        pass  # it is there already
    limit = time.monotonic() + ACTIVE_WITHIN
    while True:
        said = client.describe_stream_consumer(**asked)["ConsumerDescription"]
        if said["ConsumerStatus"] == "ACTIVE":
            return str(said["ConsumerARN"])
        if time.monotonic() > limit:
            raise StorageError(f"the consumer {name!r} of {source.name} is {said['ConsumerStatus']}")
        time.sleep(0.2)
