"""The service: one store, answered for by the table of operations. Both doors, in process and HTTP, come in here."""

from __future__ import annotations

import importlib
import logging
import os
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from streamstore import InvalidArgumentError, ReadOnlyError, Store, Stream, StreamStoreError, clock
from streamstore.kinesis import errors, queue_lookup
from streamstore.kinesis.call import Call
from streamstore.kinesis.delays import Delays
from streamstore.kinesis.operations import OPERATIONS, Operation
from streamstore.kinesis.settings import NAME, Settings
from streamstore.kinesis.throttle import Throttle
from streamstore.kinesis.values import Caller
from streamstore.kinesis.waiting import Waiting

if TYPE_CHECKING:
    from streamstore.kinesis.faults import Faults
    from streamstore.kinesis.subscriptions import Subscriptions

Handler = Callable[[Call, Mapping[str, Any]], Any]
_log = logging.getLogger("streamstore.kinesis")
_KEY_NAME = "kinesis.token_key"
_KEY_SIZE = 32


def check_limits(limits: str) -> None:
    """Raise InvalidArgumentError unless `limits` says which limits are to hold."""
    if limits not in ("none", "aws"):
        raise InvalidArgumentError(f"limits is 'none' or 'aws', not {limits!r}")


class Service:
    """The Kinesis API over one open store. Any thread.

    `limits="aws"` enforces the service's throughput, call rates and quotas; `isolate` keeps accounts and regions apart;
    `delays_s` is how long streams and consumers stay CREATING, UPDATING or DELETING. Raises InvalidArgumentError.
    """

    def __init__(self, store: Store, *, limits: str = "none", isolate: bool = False, delays_s: float = 0.0) -> None:
        check_limits(limits)
        self.store = store
        self.isolate = isolate
        self.throttle = Throttle() if limits == "aws" else None
        self.delays = Delays(round(delays_s * 1_000_000)) if delays_s else None
        self.clock_offset_us = 0
        self.faults: Faults | None = None  # a test's
        self._lock = threading.Lock()
        self._handlers: dict[str, Handler] = {}
        self._views: dict[tuple[str, str], Store] = {}
        self._key: bytes | None = None
        self._settings: dict[int, tuple[Any, Settings]] = {}
        self._subscriptions: Subscriptions | None = None

    @property
    def caller(self) -> Caller:
        """The caller where none is named: the store's own account and region."""
        return Caller(self.store.account, self.store.region)

    def advance(self, us: int) -> None:
        """Have the service's time run ahead: iterators expire, subscriptions end, visibility timeouts too."""
        self.clock_offset_us += us
        queue_lookup.advance(self.store, us)
        if self._subscriptions is not None:
            self._subscriptions.wake_all()

    def now_us(self) -> int:
        """The time as this service has it, in microseconds."""
        return clock.now_us() + self.clock_offset_us

    @property
    def key(self) -> bytes:
        """The key of the MACs on iterators and tokens: one for the store, made at first need and kept in it."""
        if self._key is None:
            kept = self.store.annotation(_KEY_NAME)
            if kept is None:
                try:
                    kept = self.store.annotate(_KEY_NAME, lambda found: found or os.urandom(_KEY_SIZE))
                except ReadOnlyError:  # nobody served this store before: a key of this process alone
                    kept = os.urandom(_KEY_SIZE)
            self._key = bytes(kept)
        return self._key

    @property
    def subscriptions(self) -> Subscriptions:
        """The fan-out subscriptions under way."""
        from streamstore.kinesis.subscriptions import Subscriptions

        with self._lock:
            if self._subscriptions is None:
                self._subscriptions = Subscriptions()
            return self._subscriptions

    def settings(self, stream: Stream) -> Settings:
        """What the API keeps of a stream, made anew only when it was changed; to be read only."""
        kept = stream.annotation(NAME)
        found = self._settings.get(stream.info.id)
        if found is None or found[0] is not kept:
            found = self._settings[stream.info.id] = (kept, Settings.from_map(kept))
        return found[1]

    def operation(self, name: str) -> Operation | None:
        """The row of that name."""
        return OPERATIONS.get(name)

    def call(self, operation: Operation, request: Mapping[str, Any], caller: Caller) -> Any:
        """Answer a request that was checked: a map, None for those that say nothing, a Subscription or a Waiting.

        Raises ServiceError and nothing else that a client could cause.
        """
        call = Call(self, self.view(caller), self._shown(caller), operation.name, self.now_us())
        try:
            if self.throttle is not None:
                self.throttle.control(operation, call)
            if self.faults is not None:
                self.faults.before(call, request)
            result = self._handler(operation)(call, request)
            if self.faults is not None and not isinstance(result, Waiting):
                self.faults.after(call)
            return result
        except StreamStoreError as error:
            raise errors.from_store(error, operation.errors) from error

    def _shown(self, caller: Caller) -> Caller:
        return caller if self.isolate else Caller(self.store.account, caller.region)

    def view(self, caller: Caller) -> Store:
        """The store as a caller sees it: the whole, or with `isolate` its own account and region."""
        key = (caller.account, caller.region)
        if not self.isolate or key == (self.store.account, self.store.region):
            return self.store
        with self._lock:
            if key not in self._views:
                self._views[key] = self.store.view(*key)
            return self._views[key]

    def log_failure(self, error: Exception) -> None:
        """Write what a client sees as an InternalFailure to the log `streamstore.kinesis`, with its traceback."""
        _log.error("a request failed", exc_info=error)

    def _handler(self, operation: Operation) -> Handler:
        found = self._handlers.get(operation.name)
        if found is None:
            module, name = operation.handler.split(":")
            found = getattr(importlib.import_module(f"streamstore.kinesis.{module}"), name)
            self._handlers[operation.name] = found
        return found
