"""The queue as people use it: put, get, settle, wait, with the names and exceptions of `queue.Queue`."""

from __future__ import annotations

import os
import queue as std
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from streamstore import attributes as blocks
from streamstore import clock, limits
from streamstore.errors import ClosedError, InvalidArgumentError, InvalidTypeError
from streamstore.native import PutResult
from streamstore.opening import open as open_store
from streamstore.queue import attach
from streamstore.queue.codec import Codec, codec_of, encode, encode_all
from streamstore.queue.dead import DeadLetters
from streamstore.queue.engine import Engine
from streamstore.queue.guard import Guard, place_of
from streamstore.queue.heart import Heart
from streamstore.queue.message import ACKED, Message
from streamstore.queue.settings import QueueSettings, count, microseconds, visibility_us
from streamstore.queue.turns import Turns

if TYPE_CHECKING:
    from streamstore.store import Store

_PUT_OPTIONS = ("delay", "key", "id")


class Queue:
    """A durable queue of messages. Context manager; any thread, any process; picklable; goes on after a fork.

    `Queue(path)` opens a store of its own and closes it with the queue; `store.queue(name)` is one of many in a store.
    """

    def __init__(self, path: str | os.PathLike[str], name: str = "queue", *, durability: str = "sync", **options: Any):
        """Open, or make, the queue `name` in the directory `path`; options as for `store.queue`."""
        codec = codec_of(options.get("codec") or "msgpack")
        attach.check(name, options)
        store = open_store(path, durability=durability)
        try:
            self._bind(store, name, codec, attach.own(store, name, options))
        except BaseException:
            store.close()
            raise
        self._owns_store = True

    @classmethod
    def of(cls, store: Store, name: str, codec: Any, engine: Engine) -> Queue:
        """A queue over an engine of the store."""
        made = cls.__new__(cls)
        made._bind(store, name, codec_of(codec or engine.settings.codec or "bytes"), engine)
        made._owns_store = False
        return made

    def _bind(self, store: Store, name: str, codec: Codec, engine: Engine) -> None:
        self.store = store
        self.name = name
        self.codec = codec
        self._takes_bytes = codec.name == "bytes"
        self.engine = engine
        self.stream = store.stream_by_id(engine.settings.stream_id)
        self.heart: Heart = engine.part("heart", lambda: Heart(engine))
        self._turns: Turns = engine.part("turns", Turns)
        self._guard: Guard | None = None
        if self.settings.guarded:
            self._guard = engine.part("guard", lambda: Guard(engine, self.stream))
        self._scatter = self.stream.info.lineage.next_index > 1
        self._direct = self._guard is None and not self._scatter
        self._closed = False

    @property
    def settings(self) -> QueueSettings:
        """What the queue was told when it was made, and by `configure` since."""
        return self.engine.settings

    def __enter__(self) -> Queue:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Callable[..., Queue], tuple[Any, ...]]:
        return _reopen, (self.store, self.name, self.codec if not self.codec.name else self.codec.name)

    def __repr__(self) -> str:
        return f"<Queue {self.name!r} of {self.store.path}{' (closed)' if self._closed else ''}>"

    def _closed_error(self) -> ClosedError:
        return ClosedError(f"the queue {self.name!r} is closed")

    def _check_open(self) -> None:
        if self._closed or self.store.closed:
            raise self._closed_error()

    # --- putting ----------------------------------------------------------------------------------------------------

    def put(
        self,
        body: Any,
        block: bool = True,
        timeout: float | None = None,
        *,
        delay: float = 0,
        key: str | None = None,
        id: str | None = None,
    ) -> PutResult:
        """Put one message; at return as durable as the stream. The result has its number.

        `delay` (seconds, to 43,200) keeps it back; `key` is what the key order goes by (and, with several shards, the
        shard); an `id` that was put within the dedup window gives the earlier message's result and puts nothing. Of a
        full queue (max_records, max_bytes) waits as `block` and `timeout` say, then raises queue.Full. Raises
        InvalidTypeError or InvalidArgumentError where the codec cannot take the body, RecordTooLargeError.
        """
        data = body if type(body) is bytes and self._takes_bytes else encode(self.codec, body)
        if self._closed:
            raise self._closed_error()
        if self._direct and not delay and id is None:
            try:
                return self.stream.put_record(data, key)
            except InvalidArgumentError:
                if not self._was_resharded():
                    raise
        if self._guard is not None:
            item = (data, key, self._attributes(delay, id), id)
            return self._guard.put([item], self._room_wait_us(block, timeout))[0]
        facts = self._facts(delay, id) or None
        try:
            return self.stream.put_record(data, key, explicit_hash_key=self._place(key, id), attributes=facts)
        except InvalidArgumentError:
            if not self._was_resharded():
                raise
        return self.stream.put_record(data, key, explicit_hash_key=self._place(key, id), attributes=facts)

    def _was_resharded(self) -> bool:
        """Has the stream several shards only since this handle looked, so that a message needs a place now?"""
        before, self._scatter = self._scatter, self.stream.check().lineage.next_index > 1
        self._direct = self._guard is None and not self._scatter
        return self._scatter and not before

    def _room_wait_us(self, block: bool, timeout: float | None) -> int:
        """How long a put waits for room; -1 for any time."""
        until_us = until(timeout)  # checked also where nothing is waited for
        if not block or self.settings.on_full != "block":
            return 0
        return -1 if until_us is None else max(0, until_us - clock.monotonic_us())

    def put_nowait(self, body: Any, **options: Any) -> PutResult:
        """As put(body, block=False)."""
        return self.put(body, False, **options)

    def put_many(
        self,
        bodies: Iterable[Any],
        block: bool = True,
        timeout: float | None = None,
        *,
        delay: float = 0,
        keys: Sequence[str | None] | None = None,
        ids: Sequence[str] | None = None,
    ) -> Sequence[PutResult]:
        """Put many in one call, in order: on one shard all or none (with limits or ids: one after the other)."""
        if self._closed:
            raise self._closed_error()
        encoded = encode_all(self.codec, bodies)
        for what, given in (("keys", keys), ("ids", ids)):
            if given is not None and len(given) != len(encoded):
                raise InvalidArgumentError(f"{len(given)} {what} for {len(encoded)} bodies")
        chosen = [None] * len(encoded) if keys is None else keys
        named = [None] * len(encoded) if ids is None else ids
        if self._guard is not None:
            items = [
                (data, key, self._attributes(delay, id), id)
                for data, key, id in zip(encoded, chosen, named, strict=True)
            ]
            return self._guard.put(items, self._room_wait_us(block, timeout))
        if not self._scatter and not delay and ids is None:
            try:
                return self.stream.put_records(list(zip(encoded, chosen, strict=True)))
            except InvalidArgumentError:
                if not self._was_resharded():
                    raise
        try:
            return self.stream.put_records(self._entries(encoded, chosen, named, delay))
        except InvalidArgumentError:
            if not self._was_resharded():
                raise
        return self.stream.put_records(self._entries(encoded, chosen, named, delay))

    def _entries(
        self, data: Iterable[bytes], keys: Iterable[str | None], ids: Iterable[str | None], delay: float
    ) -> list[dict[str, Any]]:
        return [
            {
                "data": item,
                "partition_key": key,
                "explicit_hash_key": self._place(key, id),
                "attributes": self._facts(delay, id),
            }
            for item, key, id in zip(data, keys, ids, strict=True)
        ]

    def _place(self, key: str | None, id: str | None) -> int | None:
        return place_of(id) if self._scatter and key is None else None

    @staticmethod
    def _facts(delay: float, id: str | None) -> dict[str, Any]:
        facts: dict[str, Any] = {}
        if delay:
            facts["delay_us"] = microseconds("delay", delay, 0, limits.QUEUE_VISIBILITY_MAX_S)
        if id is not None:
            if not isinstance(id, str):
                raise InvalidTypeError(f"an id is a str, not {type(id).__name__}")
            facts["id"] = id
        return facts

    def _attributes(self, delay: float, id: str | None) -> bytes | None:
        return blocks.encode(self._facts(delay, id)) if delay or id is not None else None

    # --- getting ----------------------------------------------------------------------------------------------------

    def get(self, block: bool = True, timeout: float | None = None, *, visibility: float | None = None) -> Message:
        """Receive one message; it comes again unless it is acknowledged within the visibility timeout.

        Waits as `block` and `timeout` say, then raises queue.Empty. First deliveries of a shard come in order; what was
        given back comes before what is new. A message whose process died comes back at once.
        """
        engine = self.engine
        if self._closed:
            raise self._closed_error()
        us = engine.settings.visibility_us if visibility is None else visibility_us(visibility)
        taken = engine.receive(1, us)
        if not taken:
            if not block:
                raise std.Empty
            taken = self._wait_for(1, us, timeout)
        return Message(self, taken[0])

    def get_nowait(self) -> Message:
        """As get(block=False)."""
        return self.get(False)

    def get_many(
        self, n: int, block: bool = True, timeout: float | None = None, *, visibility: float | None = None
    ) -> list[Message]:
        """Receive 1 to `n` messages: what is there, waiting only for the first. Raises queue.Empty as get does."""
        if self._closed:
            raise self._closed_error()
        count("n", n, 1, 10_000)
        engine = self.engine
        us = engine.settings.visibility_us if visibility is None else visibility_us(visibility)
        taken = engine.receive(n, us)
        if not taken:
            if not block:
                raise std.Empty
            taken = self._wait_for(n, us, timeout)
        return [Message(self, item) for item in taken]

    def _wait_for(self, n: int, us: int, timeout: float | None) -> list[Any]:
        """Wait for the turn, then on the store, until something is received."""
        until_us = until(timeout)
        if not self._turns.acquire(None if until_us is None else max(0.0, (until_us - clock.monotonic_us()) / 1e6)):
            raise std.Empty
        engine = self.engine
        try:
            while True:
                if self._closed:
                    raise self._closed_error()
                seen = engine.watch() if engine.on_store else 0
                if taken := engine.receive(n, us):
                    return taken
                left_us = -1 if until_us is None else until_us - clock.monotonic_us()
                if until_us is not None and left_us <= 0:
                    raise std.Empty
                engine.wait(seen, left_us)
        finally:
            self._turns.release()

    def __iter__(self) -> Iterator[Message]:
        """Messages for ever, waiting for each; acknowledges nothing. Ends when the queue is closed."""
        while True:
            try:
                yield self.get()
            except ClosedError:
                if self._closed:
                    return
                raise

    # --- settling ---------------------------------------------------------------------------------------------------

    def ack(self, *receipts: str | Message) -> None:
        """Acknowledge by message, or by receipt (`message.receipt`) in whatever process. Raises StaleReceiptError,
        InvalidArgumentError.
        """
        self.ack_many(receipts)

    def ack_many(self, messages: Iterable[Message | str]) -> None:
        """Acknowledge many with one event and one sync. Raises StaleReceiptError for the first that is stale, with none
        of them acknowledged (of several shards: none of that shard).
        """
        self._check_open()
        messages = list(messages)
        if not messages:
            return
        own = [item for item in messages if type(item) is Message]
        receipts = [(item.name, item.number) for item in own]
        receipts += [attach.parse_receipt(item) for item in messages if type(item) is not Message]
        self.engine.acknowledge(receipts)
        for message in own:
            message.settled_as = ACKED

    def nack_many(self, messages: Iterable[Message], delay: float = 0) -> None:
        """Give many back."""
        for message in messages:
            message.nack(delay)

    def give_back(self, message: Message, delay: float = 0) -> None:
        """What message.nack does."""
        delay_us = microseconds("delay", delay, 0, limits.QUEUE_VISIBILITY_MAX_S)
        receipts = ((message.name, message.number),)
        most = self.settings.max_receive_count
        if most and message.receive_count >= most:
            self.engine.kill(receipts, f"given back after {message.receive_count} receives")
        else:
            self.engine.nack(receipts, delay_us)

    def extend(self, message: Message | str, seconds: float) -> None:
        """What message.extend does, also by receipt."""
        self._check_open()
        us = visibility_us(seconds)
        receipt = (message.name, message.number) if isinstance(message, Message) else attach.parse_receipt(message)
        self.engine.extend((receipt,), us)

    @property
    def dead_letters(self) -> DeadLetters:
        """What was received `max_receive_count` times without an ack, or killed."""
        self._check_open()
        return DeadLetters(self)

    # --- looking ----------------------------------------------------------------------------------------------------

    def qsize(self) -> int:
        """Messages that wait to be received, delayed ones included; not those in flight, not dead letters."""
        facts = self.stats()
        return int(facts["fresh"] + facts["waiting"])

    def empty(self) -> bool:
        """Is qsize() 0?"""
        return self.qsize() == 0

    def full(self) -> bool:
        """Would a put wait, or raise queue.Full?"""
        self._check_open()
        return self._guard is not None and self._guard.room() <= 0

    def stats(self) -> dict[str, int]:
        """Messages `fresh` (never delivered), `waiting`, `in_flight`, `dead`, and totals since the queue was made."""
        self._check_open()
        engine = self.engine
        with engine.journal.lock:
            engine.state()
            engine.journal.refresh()
            engine.bring_back()
            engine.forget_expired()
            state = engine.journal.state
            state.due(clock.boot_us())
            waiting = state.waiting()
            return {
                "fresh": engine.source.fresh_count(state.cursors),
                "waiting": waiting,
                "in_flight": len(state.live) - waiting,
                "dead": len(state.dead),
                **{f"total_{name}": value for name, value in state.totals.items()},
            }

    def join(self, timeout: float | None = None) -> bool:
        """Wait until every message that was put is acknowledged or dead; False where `timeout` seconds passed first."""
        until_us = until(timeout)
        engine = self.engine
        while True:
            facts = self.stats()
            if not facts["fresh"] and not facts["waiting"] and not facts["in_flight"]:
                return True
            with engine.journal.lock:
                log, tail = engine.journal.open(), engine.journal.tail
            slice_us = limits.WAIT_SLICE_US
            if until_us is not None:
                slice_us = min(slice_us, until_us - clock.monotonic_us())
                if slice_us <= 0:
                    return False
            log.wait(tail, slice_us)

    # --- the whole --------------------------------------------------------------------------------------------------

    def purge(self) -> int:
        """Acknowledge everything there is, in flight or not, dead letters too; how many messages that were."""
        self._check_open()
        return attach.purge(self.engine)

    def configure(self, **options: Any) -> None:
        """Change settings for every process: visibility and max_receive_count for what is received from now on;
        max_records, max_bytes, on_full and dedup_window from its next opening of the queue on. Durable at return.
        """
        self._check_open()
        attach.configure(self.store, self.name, options)

    @property
    def closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        """End every wait and every later call of this object with ClosedError. What it has in flight comes back when
        the store is closed or its visibility ends. Safe to call twice.
        """
        self._closed = True
        if self.store.closed:
            return
        self.engine.wake()
        if self._owns_store:
            self.heart.stop()
            self.store.close()


def until(timeout: float | None) -> int | None:
    """When a wait of so many seconds from now ends, on the monotonic clock; None: never.

    Raises InvalidArgumentError, InvalidTypeError.
    """
    if timeout is None:
        return None
    try:
        us = clock.timeout_us(timeout)
    except TypeError as error:
        raise InvalidTypeError(str(error)) from None
    except ValueError as error:
        raise InvalidArgumentError(str(error)) from None
    return None if us < 0 else clock.monotonic_us() + us


def _reopen(store: Store, name: str, codec: Any) -> Queue:
    """A Queue out of a pickle."""
    return existing(store, name, codec)


def existing(store: Store, name: str, codec: Any = None) -> Queue:
    """What store.open_queue(name) gives."""
    return Queue.of(store, name, codec, attach.existing(store, name))


def own(store: Store, name: str, options: Mapping[str, Any]) -> Queue:
    """What store.queue(name) gives."""
    return Queue.of(store, name, options.get("codec"), attach.own(store, name, options))


def over(store: Store, name: str, stream: str, options: Mapping[str, Any]) -> Queue:
    """What store.create_queue(name, stream=...) gives."""
    return Queue.of(store, name, options.get("codec"), attach.over(store, name, stream, options))
