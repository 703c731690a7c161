"""One opening of a store whose queue is worked on over the Kinesis API, as far as that has a call for it.

What it has none for (giving back with a delay, killing, what is said of the whole queue) is done in Python. Deliveries
are named by their receipts, as in Python, whoever received them: a receipt says as much as a handle does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack
from boto_clients import no_retries
from queue_actor import Actor, Options

from streamstore.errors import StaleReceiptError
from streamstore.kinesis import handles
from streamstore.kinesis.door import client
from streamstore.kinesis.service import Service
from streamstore.queue.attach import parse_receipt, receipt_text
from streamstore.queue.state import name_of, position_of, shard_of


class WireMessage:
    """One delivery that came over the API, and what only Python can do to it."""

    def __init__(self, queue: Any, receipt: str, receive_count: int) -> None:
        self._queue = queue
        self._receipt = parse_receipt(receipt)
        self._receive_count = receive_count
        self.settled = False

    def nack(self, delay: float = 0) -> None:
        if self._receive_count >= self._queue.settings.max_receive_count:
            self.dead()
        else:
            self._queue.engine.nack((self._receipt,), round(delay * 1_000_000))
            self.settled = True

    def dead(self) -> None:
        self._queue.engine.kill((self._receipt,), "")
        self.settled = True


class WireActor(Actor):
    """The calls of an Actor, over a boto3 client in process."""

    def __init__(self, path: str, over: bool, options: Options) -> None:
        super().__init__(path, over, options)
        service = Service(self.store)
        self.kinesis = client(self.store, service=service, config=no_retries())
        summaries = self.kinesis.list_queues()["QueueSummaries"]
        self.arn = next(item["QueueARN"] for item in summaries if item["QueueName"] == self.queue.name)
        self._key = service.key
        number = handles.queue_number(self._key, self.arn.rpartition("/")[2])
        assert number is not None
        self._number = number

    def _handle(self, receipt: str) -> dict[str, Any]:
        name, number = parse_receipt(receipt)
        engine = self.queue.engine
        with engine.journal.lock:
            boot = handles.boot_tag(engine.state().boot)
        handle = handles.Handle(handles.LIVE, self._number, shard_of(name), position_of(name), number, boot)
        return {"ReceiptHandle": handles.encode(self._key, handle)}

    def put(self, bodies: list[int], key: str | None, delay: float, ids: list[str] | None) -> list[tuple[str, str]]:
        if key is None or delay or ids:
            return super().put(bodies, key, delay, ids)
        records = [{"Data": msgpack.packb(body), "PartitionKey": key} for body in bodies]
        done = self.kinesis.put_records(StreamName=self.queue.stream.name, Records=records)["Records"]
        return [(result["ShardId"], result["SequenceNumber"]) for result in done]

    def get(self, count: int, visibility: float | None) -> list[tuple[int, str, str, int, str | None]]:
        given = {} if visibility is None else {"VisibilityTimeoutSeconds": visibility}
        answer = self.kinesis.receive_queue_records(QueueARN=self.arn, Limit=count, WaitTimeSeconds=1, **given)
        found = []
        for record in answer["QueueRecords"]:
            handle = handles.decode(self._key, record["ReceiptHandle"])
            assert handle is not None
            receipt = receipt_text((name_of(handle.shard, handle.position), handle.number))
            assert self._handle(receipt)["ReceiptHandle"] == record["ReceiptHandle"]
            self.messages[receipt] = WireMessage(self.queue, receipt, record["ReceiveCount"])
            body = msgpack.unpackb(record["Data"])
            found.append((body, receipt, record["RecordId"], record["ReceiveCount"], record.get("PartitionKey")))
        return found

    def settle(self, receipt: str, act: str) -> None:
        message = self.messages.get(receipt)
        if act in ("extend", "give up"):
            entry = {**self._handle(receipt), "VisibilityTimeoutSeconds": 200 if act == "extend" else 0}
            self._done(self.kinesis.update_queue_records_visibility, [entry])
        elif act == "ack" or message is None or message.settled:
            self._done(self.kinesis.acknowledge_queue_records, [self._handle(receipt)])
            if message is not None:
                message.settled = True
        elif act == "slow nack":
            message.nack(50)
        else:
            getattr(message, act)()

    def _done(self, call: Callable[..., Any], entries: list[dict[str, Any]]) -> int:
        """How many entries were done. Raises StaleReceiptError for the first that was not."""
        answer = call(QueueARN=self.arn, Entries=entries)
        for item in answer["Failed"]:
            raise StaleReceiptError(item["ErrorMessage"])
        return len(answer["Successful"])

    # --- dead letters -----------------------------------------------------------------------------------------------

    def _each_letter(self, call: Callable[..., Any], **more: Any) -> list[dict[str, Any]]:
        """Receive all of them, and do that to each."""
        found = []
        options = {"QueueARN": self.arn, "WaitTimeSeconds": 1, "VisibilityTimeoutSeconds": 1000}
        while records := self.kinesis.receive_dead_letter_queue_records(**options)["QueueRecords"]:
            found += records
        for begin in range(0, len(found), 10):
            entries = [{"ReceiptHandle": record["ReceiptHandle"], **more} for record in found[begin : begin + 10]]
            assert self._done(call, entries) == len(entries)
        return found

    def restore(self) -> int:
        return len(self._each_letter(self.kinesis.restore_dead_letter_queue_records))

    def bury(self) -> int:
        return len(self._each_letter(self.kinesis.acknowledge_dead_letter_queue_records))

    def dead(self) -> list[int]:
        call = self.kinesis.update_dead_letter_queue_records_visibility
        return [msgpack.unpackb(record["Data"]) for record in self._each_letter(call, VisibilityTimeoutSeconds=0)]
