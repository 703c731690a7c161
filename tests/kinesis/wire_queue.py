"""A queue as `store.queue()` gives it, but over the Kinesis API: what a test does to the one it can do to the other.

What the API does not have (giving back with a delay, killing) is done in Python, to the delivery that a handle names.
"""

from __future__ import annotations

import queue as std

import msgpack
from boto_clients import no_retries
from queue_calls import handles

from streamstore import errors
from streamstore.kinesis import handles as tokens
from streamstore.kinesis.door import client
from streamstore.kinesis.service import Service
from streamstore.queue.state import name_of


def settled(answer):
    """How many entries were done. Raises StaleReceiptError for the first that was not."""
    for item in answer["Failed"]:
        raise errors.StaleReceiptError(item["ErrorMessage"])
    return len(answer["Successful"])


class WireMessage:
    """One delivery, as a QueueRecord says it."""

    def __init__(self, queue, record):
        self.queue = queue
        self.record = record
        self.body = msgpack.unpackb(record["Data"])
        self.receive_count = record["ReceiveCount"]
        self.settled = False

    def ack(self):
        call = self.queue.kinesis.acknowledge_queue_records
        settled(call(QueueARN=self.queue.arn, Entries=handles([self.record])))
        self.settled = True

    def extend(self, seconds):
        call = self.queue.kinesis.update_queue_records_visibility
        settled(call(QueueARN=self.queue.arn, Entries=handles([self.record], VisibilityTimeoutSeconds=seconds)))

    def _receipt(self):
        handle = tokens.decode(self.queue.service.key, self.record["ReceiptHandle"])
        return name_of(handle.shard, handle.position), handle.number

    def nack(self, delay=0):
        embedded = self.queue.embedded
        if self.receive_count >= embedded.settings.max_receive_count:
            self.dead()
        else:
            embedded.engine.nack((self._receipt(),), round(delay * 1_000_000))
        self.settled = True

    def dead(self, reason=""):
        self.queue.embedded.engine.kill((self._receipt(),), reason)
        self.settled = True


class WireLetter:
    """One dead letter, as a QueueRecord says it."""

    def __init__(self, record):
        self.body = msgpack.unpackb(record["Data"])
        self.receive_count = record["ReceiveCount"]


class WireLetters:
    """The dead letters of a queue."""

    def __init__(self, queue):
        self.queue = queue

    def _all(self):
        found = []
        options = {"QueueARN": self.queue.arn, "WaitTimeSeconds": 1, "VisibilityTimeoutSeconds": 1000}
        while records := self.queue.kinesis.receive_dead_letter_queue_records(**options)["QueueRecords"]:
            found += records
        return found

    def _each(self, call, **more):
        found = self._all()
        for begin in range(0, len(found), 10):
            entries = handles(found[begin : begin + 10], **more)
            assert settled(call(QueueARN=self.queue.arn, Entries=entries)) == len(entries)
        return found

    def __iter__(self):
        call = self.queue.kinesis.update_dead_letter_queue_records_visibility
        return map(WireLetter, self._each(call, VisibilityTimeoutSeconds=0))

    def restore(self):
        return len(self._each(self.queue.kinesis.restore_dead_letter_queue_records))

    def purge(self):
        return len(self._each(self.queue.kinesis.acknowledge_dead_letter_queue_records))


class WireQueue:
    """A queue through a boto3 client in process; what is no call of the API goes to the embedded one."""

    def __init__(self, embedded):
        self.embedded = embedded
        self.store = embedded.store
        self.service = Service(embedded.store)
        self.kinesis = client(embedded.store, service=self.service, config=no_retries())
        summaries = self.kinesis.list_queues()["QueueSummaries"]
        self.arn = next(item["QueueARN"] for item in summaries if item["QueueName"] == embedded.name)

    def __getattr__(self, name):
        return getattr(self.embedded, name)

    def put(self, body, key=None, delay=0):
        if delay or key is None:
            return self.embedded.put(body, key=key, delay=delay)
        data = msgpack.packb(body)
        return self.kinesis.put_record(StreamName=self.embedded.stream.name, Data=data, PartitionKey=key)

    def get_many(self, n, block=True, timeout=None, visibility=None):
        given = {} if visibility is None else {"VisibilityTimeoutSeconds": visibility}
        seconds = 20 if block else 1
        answer = self.kinesis.receive_queue_records(QueueARN=self.arn, Limit=n, WaitTimeSeconds=seconds, **given)
        if not answer["QueueRecords"]:
            raise std.Empty
        return [WireMessage(self, record) for record in answer["QueueRecords"]]

    @property
    def dead_letters(self):
        return WireLetters(self)
