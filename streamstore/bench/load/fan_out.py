"""Enhanced fan-out under load: a consumer with a subscription to each shard, and the events that come."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from http.client import HTTPException, HTTPResponse

from streamstore.bench.load.kinesis_client import CallError, KinesisClient
from streamstore.bench.load.subject import Read
from streamstore.errors import StorageError
from streamstore.kinesis.eventstream import read_message

_WAIT_S = 0.2
_ACTIVE_WITHIN_S = 60.0
_numbers = itertools.count()


class Subscriptions:
    """A consumer of its own, made for this and removed at the end; a thread for each shard's subscription."""

    def __init__(
        self, connect: Callable[[], KinesisClient], client: KinesisClient, stream: str, shard_ids: Sequence[str]
    ) -> None:
        self._client = client
        self._found: queue.Queue[Read | Exception] = queue.Queue()
        self._closed = False
        answer = client.call("DescribeStreamSummary", {"StreamName": stream})
        self._stream_arn = answer["StreamDescriptionSummary"]["StreamARN"]
        name = f"load-{os.getpid()}-{next(_numbers)}"
        answer = client.call("RegisterStreamConsumer", {"StreamARN": self._stream_arn, "ConsumerName": name})
        self._consumer_arn = answer["Consumer"]["ConsumerARN"]
        self._wait_until_active()
        self._connections = [connect() for _ in shard_ids]
        self._threads = [
            threading.Thread(target=self._listen, args=(connection, shard_id), daemon=True)
            for connection, shard_id in zip(self._connections, shard_ids, strict=True)
        ]
        self._begun = threading.Barrier(len(self._threads) + 1)
        for thread in self._threads:
            thread.start()
        with contextlib.suppress(threading.BrokenBarrierError):  # then what went wrong is in the queue
            self._begun.wait(_ACTIVE_WITHIN_S)

    def _wait_until_active(self) -> None:
        deadline = time.monotonic() + _ACTIVE_WITHIN_S
        while True:
            answer = self._client.call("DescribeStreamConsumer", {"ConsumerARN": self._consumer_arn})
            if answer["ConsumerDescription"]["ConsumerStatus"] == "ACTIVE":
                return
            if time.monotonic() > deadline:
                raise StorageError(f"the consumer was not active within {_ACTIVE_WITHIN_S:g} s")
            time.sleep(0.1)

    def _listen(self, connection: KinesisClient, shard_id: str) -> None:
        position: dict[str, str] = {"Type": "LATEST"}
        try:
            while not self._closed:
                document = {"ConsumerARN": self._consumer_arn, "ShardId": shard_id, "StartingPosition": position}
                answer = connection.send("SubscribeToShard", document)
                if position["Type"] == "LATEST":
                    self._begun.wait(_ACTIVE_WITHIN_S)
                position = self._events(answer) or position
        except (OSError, HTTPException, StorageError, threading.BrokenBarrierError, ValueError) as error:
            self._begun.abort()
            if not self._closed:
                self._found.put(error)

    def _events(self, answer: HTTPResponse) -> dict[str, str] | None:
        """Hand on all events of a subscription; where the next one goes on."""
        position = None
        while (message := read_message(answer.read)) is not None:
            kind, payload = message
            if kind == "SubscribeToShardEvent":
                found = json.loads(payload)
                data = [base64.b64decode(record["Data"]) for record in found.get("Records", ())]
                self._found.put(Read(data, int(found.get("MillisBehindLatest") or 0)))
                number = found.get("ContinuationSequenceNumber")
                position = {"Type": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": number} if number else position
            elif kind != "initial-response":
                raise CallError(200, kind, payload.decode(errors="replace"))
        return position

    def read(self, limit: int) -> Read:
        """Subscriptions have no beginning to go back to."""
        return self.follow(limit)

    def follow(self, limit: int) -> Read:
        """The next event of any shard."""
        try:
            found = self._found.get(timeout=_WAIT_S)
        except queue.Empty:
            return Read((), 0)
        if isinstance(found, Exception):
            raise found
        return found

    def close(self) -> None:
        """End the subscriptions and remove the consumer."""
        self._closed = True
        for connection in self._connections:
            connection.interrupt()
        for thread, connection in zip(self._threads, self._connections, strict=True):
            thread.join()
            connection.close()
        with contextlib.suppress(CallError, OSError, HTTPException):
            self._client.call("DeregisterStreamConsumer", {"ConsumerARN": self._consumer_arn})
