"""One request under way: what a handler may ask, and how streams and shards are addressed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from streamstore import InvalidArgumentError, Shard, Store, Stream, StreamNotFoundError
from streamstore.events import StreamInfo
from streamstore.kinesis import arns, errors
from streamstore.kinesis.settings import Settings
from streamstore.kinesis.values import Caller
from streamstore.lineage import Lineage

if TYPE_CHECKING:
    from streamstore.kinesis.service import Service

_SHARD_INDEX = re.compile(r"(?:[^-]*-)?(\d{1,12})", re.ASCII)
Request = Mapping[str, Any]


class Call:
    """What a handler knows besides its request: the service, the store as this caller sees it, the time."""

    __slots__ = ("caller", "now_us", "operation", "service", "store")

    def __init__(self, service: Service, store: Store, caller: Caller, operation: str, now_us: int) -> None:
        self.service = service
        self.store = store
        self.caller = caller
        self.operation = operation
        self.now_us = now_us

    @property
    def now_ms(self) -> int:
        return self.now_us // 1000

    @property
    def account(self) -> str:
        return self.caller.account

    def arn(self, name: str) -> str:
        """A stream's ARN in the caller's region."""
        return arns.stream_arn(self.caller.region, self.account, name)

    # --- streams ----------------------------------------------------------------------------------------------------

    def name(self, request: Request) -> str:
        """The name of the stream that a request addresses by StreamName or StreamARN."""
        name, arn = request.get("StreamName"), request.get("StreamARN")
        if arn is None:
            if name is None:
                raise errors.invalid("Either StreamName or StreamARN should be provided.")
            return str(name)
        parsed = self.parse_stream_arn(arn)
        if name is not None and name != parsed:
            raise errors.invalid(f"StreamName {name} does not match the stream of StreamARN {arn}.")
        return parsed

    def parse_stream_arn(self, arn: str) -> str:
        """The name in a stream's ARN; errors for what is none, and for another account's."""
        parsed = arns.parse_stream(arn)
        if parsed is None:
            raise errors.invalid(f"Invalid StreamARN: {arn}")
        if parsed.account != self.account or (self.service.isolate and parsed.region != self.caller.region):
            raise errors.no_stream(parsed.name, parsed.account)
        return parsed.name

    def stream(self, request: Request) -> Stream:
        """The stream that a request addresses; ResourceNotFoundException where there is none."""
        return self.stream_of(self.name(request))

    def stream_of(self, name: str) -> Stream:
        """The stream of that name; ResourceNotFoundException where there is none, or it is CREATING."""
        try:
            stream = self.store.stream(name)
        except (StreamNotFoundError, InvalidArgumentError):
            raise errors.no_stream(name, self.account) from None
        return stream

    def active(self, request: Request) -> Stream:
        """The stream that a request addresses; ResourceInUseException unless it is ACTIVE."""
        stream = self.stream(request)
        status = self.status(stream)
        if status != "ACTIVE":
            raise errors.in_use(
                f"Stream {stream.name} under account {self.account} not ACTIVE, instead in state {status}"
            )
        return stream

    def readable(self, request: Request) -> Stream:
        """The stream that a request puts to or reads; not there while it is CREATING."""
        stream = self.stream(request)
        if self.service.delays and self.status(stream) == "CREATING":
            raise errors.no_stream(stream.name, self.account)
        return stream

    def status(self, stream: Stream) -> str:
        """CREATING, ACTIVE, UPDATING or DELETING, as the settable delays have it."""
        return self.service.delays.status(stream, self.now_us) if self.service.delays else "ACTIVE"

    def stream_by_id(self, stream_id: int) -> Stream:
        """The stream of that number, as a token of ours names it; ResourceNotFoundException where it is gone."""
        try:
            stream = self.store.stream_by_id(stream_id)
        except StreamNotFoundError:
            raise errors.not_found(f"The stream of this token does not exist under account {self.account}.") from None
        if self.service.isolate and stream.info.key[:2] != (self.account, self.caller.region):
            raise errors.not_found(f"The stream of this token does not exist under account {self.account}.")
        return stream

    def changed(self, stream: Stream) -> None:
        """Say that the stream was changed: with delays it shows as UPDATING for a while."""
        if self.service.delays:
            self.service.delays.changed(stream, self.now_us)

    def settings(self, stream: Stream) -> Settings:
        """What the API knows about a stream and the store does not; to be read only."""
        return self.service.settings(stream)

    def info(self, stream: Stream) -> StreamInfo:
        """What the catalog says about the stream now."""
        return self.store.catalog.find(stream.info.key)

    def lineage(self, stream: Stream) -> Lineage:
        """The stream's shards as the catalog has them now."""
        return self.info(stream).lineage

    # --- shards -----------------------------------------------------------------------------------------------------

    def shard(self, stream: Stream, shard_id: str) -> Shard:
        """The shard of that id, also in the short forms that the service takes; ResourceNotFoundException."""
        match = _SHARD_INDEX.fullmatch(shard_id)
        if match is None:
            raise errors.not_found(
                f"Could not find shard {shard_id} in stream {stream.name} under account {self.account}."
            )
        whole = f"shardId-{int(match[1]):012d}"
        try:
            return stream.shard(whole)
        except InvalidArgumentError:
            raise errors.no_shard(whole, stream.name, self.account) from None
