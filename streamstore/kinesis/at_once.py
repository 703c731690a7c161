"""PutRecord answered at once, in a thread that all requests come through: only where nothing has to be waited for.

Whatever is unusual, refused, or would wait for a disk, a lock or another process is not answered here, and leaves
nothing behind: `wire.answer` does it all again, in a thread.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from streamstore import Stream, StreamStoreError
from streamstore.kinesis.errors import ServiceError, internal
from streamstore.kinesis.operations import OPERATIONS
from streamstore.kinesis.shortcuts import put_record
from streamstore.kinesis.wire import JSON, TARGET_PREFIX, Gate, HttpRequest, HttpResponse, failure, success

if TYPE_CHECKING:
    from streamstore.kinesis.service import Service

BODY_SIZE_MAX = 64 << 10  # reading more would hold up other requests
TARGET = f"{TARGET_PREFIX}PutRecord"
_OPERATION = OPERATIONS["PutRecord"]
_KNOWN_MAX = 10_000


class _Known(NamedTuple):
    """A stream as the catalog had it when it ended at `as_of`; no record is small enough for one that makes us wait."""

    stream: Stream
    record_size_max: int
    as_of: int


class AtOnce:
    """Answers of one service to whoever the gate lets in. Any thread."""

    def __init__(self, service: Service, gate: Gate) -> None:
        self._service = service
        self._gate = gate
        self._known: dict[str, _Known] = {}
        self._unknown: set[str] = set()
        self._failed = failure(internal())  # made while there is memory

    def answer(self, request: HttpRequest) -> HttpResponse | None:
        """The answer to a PutRecord that is done now, or None where it has to be asked in a thread."""
        service = self._service
        if service.throttle is not None or service.faults is not None or service.delays is not None or service.isolate:
            return None
        if request.path != "/" or request.method != "POST" or len(request.body) > BODY_SIZE_MAX:
            return None
        if request.headers.get("content-type") != JSON.content_type:
            return None
        try:
            self._gate(request, _OPERATION)
            checked = put_record(JSON.decode(request.body))
            if checked is None:
                return None
            return self._put(checked["StreamName"], checked["Data"], checked["PartitionKey"])
        except (ServiceError, StreamStoreError):
            return None

    def _put(self, name: str, data: bytes, key: str) -> HttpResponse | None:
        known = self._known.get(name)
        if known is None or known.as_of != self._service.store.catalog.end():
            self._unknown.add(name)
            return None
        if len(data) + len(key) > known.record_size_max:
            return None
        try:
            result = known.stream.try_put_record(data, key)
            if result is None:
                return None
            body = f'{{"ShardId":"{result.shard_id}","SequenceNumber":"{result.sequence_number}"}}'
            return success(JSON.content_type, body.encode())
        except StreamStoreError:
            raise
        except Exception as error:  # the record may be in: asked again in a thread it would be put twice
            self._service.log_failure(error)
            return self._failed

    def learn(self) -> None:
        """Look up what `answer` did not know. Where the catalog moves on meanwhile, nobody uses what was found."""
        while self._unknown:
            with suppress(KeyError, StreamStoreError):
                self._learn(self._unknown.pop())

    def _learn(self, name: str) -> None:
        store = self._service.store
        as_of = store.catalog.end()
        stream = store.stream(name)
        settings = self._service.settings(stream)
        waits = stream.durability == "sync" or settings.distribution == "AUTO" or settings.key_id
        if len(self._known) > _KNOWN_MAX:
            self._known.clear()
        self._known[name] = _Known(stream, -1 if waits else settings.record_size_max(stream), as_of)
