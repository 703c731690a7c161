"""A message: one delivery of one record, and what its receiver can say about it."""

from __future__ import annotations

from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any

from streamstore import clock
from streamstore.errors import ForkedError, StaleReceiptError
from streamstore.native import Record, sequence_number
from streamstore.queue.receiver import Taken
from streamstore.user_records import taking_apart

if TYPE_CHECKING:
    from streamstore.queue.queue import Queue

OPEN, ACKED, GIVEN_BACK = 0, 1, 2
_UNSEEN = object()


class Message:
    """One delivery. As a context manager it is acknowledged on success and given back on an exception, and extended
    while the block runs.

    Made by `queue.get`. Any thread; belongs to the process that received it.
    """

    __slots__ = ("_body", "_forks", "delivery", "queue", "settled_as")

    def __init__(self, queue: Queue, delivery: Taken) -> None:
        self.queue = queue
        self.delivery = delivery
        self.settled_as = OPEN
        self._body: Any = _UNSEEN
        self._forks = queue.engine.forks

    def __repr__(self) -> str:
        times = f"{self.receive_count} time{'s' * (self.receive_count != 1)}"
        return f"<Message {self.id} of {self.queue.name!r}, received {times}>"

    @property
    def record(self) -> Record:
        """The record that was put."""
        return self.delivery[0]

    @property
    def name(self) -> int:
        """Shard index << 64 | position of the record."""
        return self.delivery[1]

    @property
    def number(self) -> int:
        """The number of this delivery in the queue."""
        return self.delivery[2]

    @property
    def body(self) -> Any:
        """What was put, decoded at the first look. Raises what the codec raises; the message can still be settled."""
        if self._body is _UNSEEN:
            self._body = self.queue.codec.decode(self.delivery[0].data)
        return self._body

    @property
    def data(self) -> bytes:
        """The body as it is stored."""
        return self.record.data

    def user_records(self, deaggregate: bool | str = True) -> list[Record]:
        """The user records of a message that is a KPL aggregate, by the rules of `stream.read`; else its one record.

        They were delivered as one message, and are acknowledged as one.
        """
        apart = taking_apart(deaggregate, self.queue.stream.hash_range)
        return [self.record] if apart is None else apart.apply(self.name >> 64, [self.record])[0]

    @property
    def id(self) -> str:
        """The message's own number, the same in every delivery: its record's sequence number."""
        return sequence_number(self.record.epoch, self.name & 0xFFFF_FFFF_FFFF_FFFF, self.name >> 64)

    @property
    def receipt(self) -> str:
        """What names this delivery, in text, for `queue.ack(receipt)` in any process."""
        return f"{self.name >> 64}-{self.name & 0xFFFF_FFFF_FFFF_FFFF}-{self.number}"

    @property
    def key(self) -> str | None:
        return self.record.partition_key

    @property
    def receive_count(self) -> int:
        """How often it was received, this time included (since it was restored, if it was)."""
        return self.delivery[3]

    @property
    def first_received(self) -> datetime:
        """When it was received first."""
        return clock.to_datetime(self.delivery[4])

    @property
    def put_time(self) -> datetime:
        """When it was put."""
        return self.record.arrival_time

    def ack(self) -> None:
        """It is done and never comes again; as durable at return as the stream. Again is no error.

        Raises StaleReceiptError where it was delivered again since, or became a dead letter.
        """
        if self.settled_as != ACKED:
            if self.settled_as or self._forks != self.queue.engine.forks:
                self._check()
            _, name, number, _, _ = self.delivery
            self.queue.engine.acknowledge_one(name, number)
            self.settled_as = ACKED

    def nack(self, delay: float = 0) -> None:
        """Give it back: it comes again, after `delay` seconds (0 to 43,200), or becomes a dead letter where it was
        received `max_receive_count` times. Raises StaleReceiptError.
        """
        self._check()
        self.queue.give_back(self, delay)
        self.settled_as = GIVEN_BACK

    def dead(self, reason: str = "") -> None:
        """Make a dead letter of it at once: no receive will help. Durable as an ack. Raises StaleReceiptError."""
        self._check()
        self.queue.engine.kill(((self.name, self.number),), reason)
        self.settled_as = GIVEN_BACK

    def extend(self, seconds: float) -> None:
        """Keep it for `seconds` from now (0 to 43,200). Never synced. Raises StaleReceiptError."""
        self._check()
        self.queue.extend(self, seconds)

    @property
    def settled(self) -> bool:
        """Was it acknowledged, given back or killed, by this object?"""
        return self.settled_as != OPEN

    def _check(self) -> None:
        if self._forks != self.queue.engine.forks:
            raise ForkedError(f"{self!r} belongs to the parent process: its receipt is good here")
        if self.settled_as:
            raise StaleReceiptError(
                f"{self!r} was {'acknowledged' if self.settled_as == ACKED else 'given back'} already"
            )

    def __enter__(self) -> Message:
        self.queue.heart.watch(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.queue.heart.forget(self)
        if self.settled_as:
            return
        if error is None:
            self.ack()
            return
        try:
            self.nack()
        except StaleReceiptError:
            return  # somebody else has it: what went wrong in the block matters more
