"""What a QueueARN names: the queue, the stream it is over, and what is kept of both.

Queues are imported when one is asked for: whoever asks for none starts sooner.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamstore import Store, Stream, StreamNotFoundError
from streamstore.events import StreamInfo
from streamstore.kinesis import arns, errors, handles

if TYPE_CHECKING:
    from streamstore.kinesis.call import Call
    from streamstore.kinesis.service import Service
    from streamstore.kinesis.values import Caller
    from streamstore.queue import QueueSettings
    from streamstore.queue.engine import Engine


@dataclass(frozen=True)
class Found:
    """A queue as the catalog has it now; `inner` is the stream of the store's own that keeps its deliveries."""

    name: str
    inner: Stream
    source: StreamInfo
    settings: QueueSettings

    @property
    def info(self) -> StreamInfo:
        return self.inner.info

    def arn(self, call: Call) -> str:
        """Its ARN in the caller's region."""
        return queue_arn(call, self.info)

    def engine(self, call: Call) -> Engine:
        """What decides about its deliveries in this process."""
        from streamstore.queue import attach

        return attach.of(call.store, self.info)


def queue_arn(call: Call, info: StreamInfo) -> str:
    """The ARN, in the caller's region, of the queue that the catalog described so."""
    return arns.queue_arn(call.caller.region, call.account, handles.queue_id(call.service.key, info.id))


def find(call: Call, arn: str) -> Found:
    """The queue of an ARN. InvalidArgumentException for what is none, ResourceNotFoundException."""
    return look_up(call.service, call.store, call.caller, arn)


def look_up(service: Service, store: Store, caller: Caller, arn: str) -> Found:
    """What `find` does, for whoever has no call yet."""
    parsed = arns.parse_queue(arn)
    if parsed is None:
        raise errors.invalid(f"Invalid QueueARN: {arn}")
    missing = errors.not_found(f"Queue {arn} under account {caller.account} not found.")
    if parsed.account != caller.account or (service.isolate and parsed.region != caller.region):
        raise missing
    number = handles.queue_number(service.key, parsed.id)
    if number is None:
        raise missing
    try:
        found = described(store, store.stream_by_id(number).check())
    except StreamNotFoundError:
        raise missing from None
    if found is None or (service.isolate and found.info.key[:2] != (caller.account, caller.region)):
        raise missing
    return found


def described(store: Store, info: StreamInfo) -> Found | None:
    """The queue that the catalog described so; None where it is no queue, or its stream is gone."""
    from streamstore.queue import QueueSettings, attach

    if not info.name.startswith(attach.PREFIX):
        return None
    kept = QueueSettings.from_map(info.extra[attach.SETTINGS])
    try:
        source = store.stream_by_id(kept.stream_id).info
        return Found(info.name[len(attach.PREFIX) :], store.stream_by_id(info.id), source, kept)
    except StreamNotFoundError:
        return None


def named(call: Call, name: str) -> Found:
    """The queue of that name; ResourceNotFoundException where it went in this moment."""
    from streamstore.queue import attach

    info = attach.kept_of(call.store).get(name)
    found = None if info is None else described(call.store, info)
    if found is None:
        raise errors.not_found(f"Queue {name} under account {call.account} not found.")
    return found


def of_stream(call: Call, stream: Stream) -> Mapping[str, StreamInfo]:
    """The queues over a stream, by name."""
    from streamstore.queue import attach

    return attach.kept_of(call.store, stream.info.id)


def advance(store: Store, us: int) -> None:
    """Have that time pass for what all queues of a store have in flight."""
    from streamstore.queue import attach, each

    for info in attach.kept_of(store).values():
        each.advance(attach.of(store, info), us)
