"""SubscribeToShard: what one subscription sends and when, and who holds which. Knows no socket and no event loop.

A door asks `poll` for the next frame; where there is none it waits for the log, at most `wait_us`, and asks again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from streamstore import Shard, Stream, StreamStoreError, native
from streamstore.kinesis import consumers, errors, eventstream, reads, tokens
from streamstore.kinesis.call import Call, Request
from streamstore.kinesis.errors import ServiceError
from streamstore.kinesis.json_codec import JsonCodec
from streamstore.kinesis.shards import child_shards
from streamstore.kinesis.tokens import Cursor
from streamstore.kinesis.values import RecordList

LIFE_US = 300_000_000
BEAT_US = 5_000_000
TAKE_OVER_US = 5_000_000
RECORDS_MAX = 1000
_SLICE_US = 500_000
_NEVER = 1 << 62  # a position that no log comes to


class Encoder(Protocol):
    """What a subscription's events are written with."""

    content_type: str

    def encode(self, value: Any) -> bytes:
        """The payload of an event."""


class Subscription:
    """One subscription under way: a door drains it, in one thread or task at a time."""

    def __init__(self, call: Call, stream: Stream, shard: Shard, cursor: Cursor, consumer: str) -> None:
        self._call = call
        self._stream = stream
        self._shard = shard
        self._cursor = cursor
        self.consumer = consumer
        self.codec: Encoder = JsonCodec()
        self.began_us = call.now_us
        self._beat_us = 0
        self._greeted = False
        self._failure: ServiceError | None = None
        self.ended = False
        self.notify: Callable[[], None] | None = None
        """What a door that waits in its own way is woken by; called from any thread."""

    @property
    def key(self) -> tuple[int, str, int]:
        """What only one subscription may hold."""
        return (self._stream.info.id, self.consumer, self._shard.index)

    # --- for doors --------------------------------------------------------------------------------------------------

    def poll(self) -> bytes | None:
        """The next frame that is due, or None; `ended` is true once there will be none. May read from disk."""
        if self.ended:
            return None
        if not self._greeted:
            self._greeted = True
            return eventstream.event("initial-response", self.codec.content_type, self.codec.encode({}))
        now_us = self._call.service.now_us()
        try:
            if self._failure is not None:
                raise self._failure
            if now_us - self.began_us >= LIFE_US:
                self.close()
                return None
            return self._event(now_us)
        except ServiceError as error:
            return self._fail(error)
        except StreamStoreError as error:
            return self._fail(errors.from_store(error))

    def wait_us(self) -> int:
        """How long a door may wait for news before it polls again."""
        now_us = self._call.service.now_us()
        until = max(0, min(self._beat_us + BEAT_US, self.began_us + LIFE_US) - now_us)
        return min(until, self._held_up_us(now_us) or until)

    def wanted(self) -> tuple[native.Log, int]:
        """The log, and the position beyond which something would be news: nothing, while the rate is used up."""
        held_up = self._held_up_us(self._call.service.now_us())
        return self._stream.log(self._shard.index), _NEVER if held_up else self._cursor.position

    def _held_up_us(self, now_us: int) -> int:
        throttle = self._call.service.throttle
        return 0 if throttle is None else throttle.fan_out_us(self.key, now_us)

    def frames(self) -> Iterator[bytes]:
        """All frames, waiting in this thread: for the door in process."""
        while not self.ended:
            frame = self.poll()
            if frame is not None:
                yield frame
            elif not self.ended:
                log, position = self.wanted()
                log.wait(position + 1, min(self.wait_us(), _SLICE_US))

    def close(self) -> None:
        """End it, from any thread: nothing more is sent."""
        self.ended = True
        self._call.service.subscriptions.release(self)

    def fail(self, error: ServiceError) -> None:
        """Have it end with this error, from any thread."""
        self._failure = error
        self.wake()

    def wake(self) -> None:
        """Have the door poll again, from any thread."""
        try:
            self._stream.log(self._shard.index).wake()
        except StreamStoreError:
            self.ended = True
        if (notify := self.notify) is not None:
            notify()

    # --- what is sent -----------------------------------------------------------------------------------------------

    def _event(self, now_us: int) -> bytes | None:
        call = self._call
        self._stream.check()
        call.now_us = now_us
        if self._held_up_us(now_us):
            return None if now_us - self._beat_us < BEAT_US else self._beat(now_us)
        batch = reads.read(self._stream, self._shard, self._cursor, RECORDS_MAX)
        if (throttle := call.service.throttle) is not None:
            throttle.was_sent(self.key, sum(record.size for record in batch), now_us)
        place, epoch = batch.next_position["shards"][self._shard.id]
        self._cursor = Cursor(self._cursor.stream_id, self._shard.index, tokens.POSITION, place, epoch, 0)
        if not len(batch) and not batch.end_of_shard and now_us - self._beat_us < BEAT_US:
            return None
        self._beat_us = now_us
        event: dict[str, Any] = {"Records": RecordList(batch, encrypted=bool(call.settings(self._stream).key_id))}
        event["MillisBehindLatest"] = reads.behind_ms(call, self._shard, batch)
        if batch.end_of_shard:
            # As the KCL wants it: children at the end, and then no number to go on from.
            event["ChildShards"] = child_shards(call, self._stream, self._shard.index)
            self.close()
        else:
            event["ContinuationSequenceNumber"] = (
                batch[-1].sequence_number if len(batch) else self._number(place, epoch)
            )
        return eventstream.event("SubscribeToShardEvent", self.codec.content_type, self.codec.encode(event))

    def _beat(self, now_us: int) -> bytes:
        """An event without records, to go on from where the last one ended."""
        self._beat_us = now_us
        unread = reads.read(self._stream, self._shard, self._cursor, 1)
        behind_ms = max(0, (now_us - unread[0].arrival_us) // 1000) if len(unread) else 0
        place = self._cursor.position + (8 if self._cursor.kind == tokens.AFTER else 0)
        number = self._number(place, self._cursor.epoch)
        event = {"Records": RecordList([]), "MillisBehindLatest": behind_ms, "ContinuationSequenceNumber": number}
        return eventstream.event("SubscribeToShardEvent", self.codec.content_type, self.codec.encode(event))

    def _number(self, place: int, epoch: int) -> str:
        """A number before the next record and after all earlier ones: a subscription AT or AFTER it misses nothing."""
        if not epoch:
            epoch = self._stream.log(self._shard.index).state().epoch
        return native.sequence_number(epoch, max(place - 8, 8), self._shard.index)

    def _fail(self, error: ServiceError) -> bytes:
        self.close()
        kind = "InternalFailureException" if error.status == 500 else error.type
        return eventstream.exception(kind, self.codec.content_type, self.codec.encode({"message": error.text}))


class Subscriptions:
    """The subscriptions of one service: one for each consumer and shard. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[tuple[int, str, int], Subscription] = {}
        self._began_us: dict[tuple[int, str, int], int] = {}

    def take(self, subscription: Subscription) -> None:
        """Have the consumer's shard. Within 5 s of the last call ResourceInUseException; later the holder is ended."""
        key, now_us = subscription.key, subscription.began_us
        with self._lock:
            if now_us - self._began_us.get(key, -TAKE_OVER_US) < TAKE_OVER_US:
                raise _taken(subscription)
            self._began_us = {each: us for each, us in self._began_us.items() if now_us - us < TAKE_OVER_US}
            self._began_us[key] = now_us
            former, self._held[key] = self._held.get(key), subscription
        if former is not None:
            former.fail(_taken(former))

    def release(self, subscription: Subscription) -> None:
        """Give the consumer's shard back, where it was not taken over."""
        with self._lock:
            if self._held.get(subscription.key) is subscription:
                del self._held[subscription.key]

    def end_stream(self, stream_id: int) -> None:
        """End all subscriptions to a stream that is being deleted."""
        self._end(lambda key: key[0] == stream_id, "The stream was deleted.")

    def end_consumer(self, stream_id: int, name: str) -> None:
        """End all subscriptions of a consumer that was deregistered."""
        self._end(lambda key: key[:2] == (stream_id, name), f"Consumer {name} was deregistered.")

    def _end(self, which: Callable[[tuple[int, str, int]], bool], text: str) -> None:
        with self._lock:
            found = [held for key, held in self._held.items() if which(key)]
        for held in found:
            held.fail(errors.not_found(text))

    def end_all(self) -> None:
        """End all, without an error: clients subscribe again, elsewhere."""
        with self._lock:
            found = list(self._held.values())
        for held in found:
            held.close()
            held.wake()

    def wake_all(self) -> None:
        """Have every door look at the time again."""
        with self._lock:
            found = list(self._held.values())
        for held in found:
            held.wake()

    def count(self) -> int:
        """How many there are."""
        with self._lock:
            return len(self._held)


def _taken(subscription: Subscription) -> ServiceError:
    return errors.in_use(f"Another active subscription exists for this consumer: {subscription.consumer}")


def subscribe(call: Call, request: Request) -> Subscription:
    stream, name = consumers.find(call, {"ConsumerARN": request["ConsumerARN"]})
    shard = call.shard(stream, request["ShardId"])
    place = request["StartingPosition"]
    cursor = reads.start(
        call, stream, shard, place["Type"], place.get("SequenceNumber"), place.get("Timestamp"), "SequenceNumber"
    )
    if request.get("DryRun"):
        raise errors.dry_run()
    subscription = Subscription(call, stream, shard, cursor, name)
    call.service.subscriptions.take(subscription)
    return subscription
