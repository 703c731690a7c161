"""The Producer: user records in, futures out; what happens in between is the sender's."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from time import monotonic
from types import TracebackType
from typing import Any

from streamstore import (
    InvalidArgumentError,
    InvalidTypeError,
    RecordTooLargeError,
    Stream,
    limits,
    native,
)
from streamstore.producer.embedded import EmbeddedTarget
from streamstore.producer.future import UserRecordFuture
from streamstore.producer.inbox import Inbox
from streamstore.producer.knobs import Knobs, knobs_of
from streamstore.producer.metrics import WINDOW_MAX_S, Metrics, Statistic
from streamstore.producer.parcel import Target
from streamstore.producer.sender import Sender
from streamstore.producer.service import ServiceTarget, connect
from streamstore.producer.settling import Settling

_SERVICE_RECORD_MAX = 10 * limits.MIB


class Producer:
    """Puts user records as the KPL does: buffered, aggregated per shard, retried until their time is over, each told.

    `target` is a Stream, a boto3 Kinesis client, or an endpoint's URL (extra `boto3`; options of `boto3.client` go
    into `client_options`); with the last two `stream` is its name or ARN. The knobs are the KPL's (streamstore.producer
    .Knobs), times in milliseconds. Any thread; a context manager that closes. A forked child makes its own. Raises
    StreamNotFoundError, InvalidArgumentError (a knob out of its range; aggregation on a stream that places records
    itself), InvalidTypeError, and what listing the shards raises.
    """

    def __init__(
        self,
        target: Stream | str | Any,
        stream: str | None = None,
        *,
        client_options: dict[str, Any] | None = None,
        **knobs: Any,
    ) -> None:
        self.knobs = knobs_of(knobs)
        self._target = _target(target, stream, self.knobs, client_options)
        try:
            shards = self._target.look()
            if shards.is_auto and self.knobs.aggregation_enabled:
                raise InvalidArgumentError(
                    f"{self._target.name} places records itself (AUTO), and readers of it drop aggregates: "
                    "pass aggregation_enabled=False"
                )
        except BaseException:
            self._target.close()
            raise
        self._size_max = min(shards.record_size_max, limits.RECORD_SIZE_MAX)
        self._metrics = Metrics(self.knobs.metrics_level, self.knobs.metrics_granularity)
        bounds = (self.knobs.max_outstanding_records, self.knobs.max_outstanding_bytes)
        self._inbox = inbox = Inbox(UserRecordFuture, *bounds, self._size_max)
        self._put = inbox.intake.put
        sender = Sender(self._target, shards, self.knobs, inbox, Settling(inbox, self._metrics))
        self._sender = sender
        # A producer that is forgotten takes no more, and its sender ends once it is done; nobody waits for that here,
        # because any thread may be the one that collects it, the sender's own too.
        self._forgotten = weakref.finalize(self, inbox.close)
        self._forgotten.atexit = False  # at the end of the program the sender is waited for
        native.watch_fork(self)

    def __repr__(self) -> str:
        return f"<Producer of {self._target.name!r}, {self.outstanding_records} outstanding>"

    def _after_fork(self) -> None:
        self._inbox.make_locks()
        self._inbox.forked = self._inbox.intake.closed = True
        self._forgotten.detach()

    # --- putting ----------------------------------------------------------------------------------------------------

    def put_record(
        self,
        data: bytes,
        partition_key: str,
        explicit_hash_key: int | None = None,
        *,
        timeout: float | None = None,
    ) -> UserRecordFuture:
        """Take one user record and return its future at once.

        Waits where max_outstanding_records or max_outstanding_bytes are outstanding, at most `timeout` seconds, then
        raises BackPressureError. Data: bytes, bytearray or memoryview; key: 1 to 256 characters; hash key: 0 to
        2**128 - 1. Raises InvalidTypeError, InvalidArgumentError, RecordTooLargeError, ClosedError, ForkedError; of
        such a record nothing is kept.
        """
        future: UserRecordFuture | None = self._put(data, partition_key, explicit_hash_key)
        return self._put_slowly(data, partition_key, explicit_hash_key, timeout) if future is None else future

    def _put_slowly(
        self, data: Any, partition_key: Any, explicit_hash_key: Any, timeout: float | None
    ) -> UserRecordFuture:
        """The way of what is unusual, wrong, or has to wait."""
        data = _as_bytes(data)
        _check_key(partition_key)
        if explicit_hash_key is not None:
            _check_hash_key(explicit_hash_key)
        self._check_size(data, partition_key)
        while True:
            with self._inbox.lock:
                self._inbox.make_room(timeout)
            future: UserRecordFuture | None = self._inbox.intake.put_checked(data, partition_key, explicit_hash_key)
            if future is not None:  # else somebody else was faster
                return future

    def put_records(self, entries: Iterable[Any], *, timeout: float | None = None) -> list[UserRecordFuture]:
        """Take many: tuples (data, partition_key[, explicit_hash_key]). A future for each, in order.

        Raises as put_record does; those before the one that was refused are taken, and their futures are in the
        error's `futures`.
        """
        if isinstance(entries, (str, bytes, bytearray, memoryview, dict)):
            raise InvalidTypeError(f"entries is a sequence of entries, not {type(entries).__name__}")
        put = self.put_record
        futures: list[UserRecordFuture] = []
        for entry in entries:
            if not isinstance(entry, (tuple, list)) or not 2 <= len(entry) <= 3:
                raise InvalidTypeError(
                    f"entry {len(futures)}: (data, partition_key[, explicit_hash_key]) is wanted, not {entry!r:.80}"
                )
            futures.append(put(*entry, timeout=timeout))
        return futures

    def _check_size(self, data: bytes, partition_key: str) -> None:
        size = len(data) + len(partition_key.encode())
        if size > self._size_max:
            raise RecordTooLargeError(
                f"a record of {size} bytes (data and partition key) is over the limit of {self._size_max} bytes"
            )

    # --- the end ----------------------------------------------------------------------------------------------------

    def flush(self, timeout: float | None = None) -> None:
        """Send everything now, and wait until each user record that was put before is stored or given up.

        Raises TimeoutError after `timeout` seconds; what is outstanding then goes on.
        """
        if self._inbox.forked:
            self._inbox.make_room(0)
        if not self._inbox.wait_for_flush(monotonic(), timeout):
            raise TimeoutError(f"{self.outstanding_records} user records are still outstanding after {timeout} s")

    def close(self) -> None:
        """Take no more, send what is there, and return once every future is settled: record_ttl and a request bound it.

        Safe to call twice.
        """
        self._inbox.close()
        self._sender.join()

    def __enter__(self) -> Producer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- facts ------------------------------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Was `close` called?"""
        return self._inbox.intake.closed

    @property
    def outstanding_records(self) -> int:
        """User records that were put and are neither stored nor given up."""
        return self._inbox.intake.records_out

    @property
    def outstanding_bytes(self) -> int:
        """Their data, in bytes."""
        return self._inbox.intake.bytes_out

    def metrics(self, seconds: int | None = None) -> dict[str, list[Statistic]]:
        """The KPL's metrics by their names; of the last `seconds` (1 to 60), or of the producer's life.

        Each has a Statistic with dimension "", and where it applies one a shard or one an error code. Times are in
        milliseconds. UserRecordsReceived and UserRecordsPending are always of now. What metrics_level and
        metrics_granularity leave out is not there.
        """
        if seconds is not None and (type(seconds) is not int or not 1 <= seconds <= WINDOW_MAX_S):
            raise InvalidArgumentError(f"seconds is an int from 1 to {WINDOW_MAX_S}, or None, not {seconds!r}")
        found = self._metrics.read(seconds)
        for name, value in (
            ("UserRecordsReceived", self._inbox.intake.received),
            ("UserRecordsPending", self.outstanding_records),
        ):
            if self._metrics.counts(name):
                found[name] = [Statistic(name, "", 1, value, value, value)]
        return found


def _target(target: Any, stream: str | None, knobs: Knobs, options: dict[str, Any] | None) -> Target:
    if isinstance(target, Stream):
        if stream is not None or options:
            raise InvalidArgumentError("with a Stream there is no other stream to name, and no client to make")
        return EmbeddedTarget(target)
    if not isinstance(stream, str) or not stream:
        raise InvalidTypeError("stream is the name or ARN of a stream, with a client or a URL as the target")
    if isinstance(target, str):
        if not target.startswith(("http://", "https://")):
            raise InvalidArgumentError(f"{target!r} is no endpoint: it begins with http:// or https://")
        return ServiceTarget(connect(target, knobs, options or {}), stream, own=True)
    if not hasattr(target, "put_records") or not hasattr(target, "list_shards"):
        raise InvalidTypeError(f"target is a Stream, a boto3 client or a URL, not {type(target).__name__}")
    if options:
        raise InvalidArgumentError("client_options are for a client that is made here")
    return ServiceTarget(target, stream, own=False)


def _as_bytes(data: Any) -> bytes:
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    raise InvalidTypeError(f"data must be bytes, bytearray or memoryview, not {type(data).__name__}")


def _check_key(key: Any) -> None:
    if not isinstance(key, str):
        raise InvalidTypeError(f"partition_key must be str, not {type(key).__name__}")
    if not 0 < len(key) <= limits.PARTITION_KEY_CHARACTERS_MAX:
        raise InvalidArgumentError(f"partition_key has {len(key)} characters; 1 to 256 are allowed")
    try:
        key.encode()
    except UnicodeEncodeError:
        raise InvalidArgumentError("partition_key has a lone surrogate and cannot be written as UTF-8") from None


def _check_hash_key(value: Any) -> None:
    if type(value) is not int:
        raise InvalidTypeError(f"explicit_hash_key must be an int or None, not {type(value).__name__}")
    if not 0 <= value < limits.HASH_KEY_END:
        raise InvalidArgumentError("explicit_hash_key must be 0 to 2**128 - 1")
