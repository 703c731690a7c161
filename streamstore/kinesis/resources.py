"""What an ARN names: a stream, a consumer of one, or a queue; where its tags and its policy are kept."""

from __future__ import annotations

from dataclasses import dataclass

from streamstore import Stream
from streamstore.kinesis import arns, errors, queue_lookup
from streamstore.kinesis.call import Call
from streamstore.kinesis.settings import Settings


@dataclass(frozen=True)
class Resource:
    """A stream, or with a `consumer` name, a consumer of it; or a `queue`, and the stream that keeps its deliveries."""

    stream: Stream
    consumer: str = ""
    queue: str = ""

    @property
    def what(self) -> str:
        if self.queue:
            return f"queue {self.queue}"
        return f"consumer {self.consumer}" if self.consumer else f"stream {self.stream.name}"

    def tags(self, kept: Settings) -> dict[str, str]:
        return dict(kept.consumers[self.consumer].get("tags", {})) if self.consumer else kept.tags

    def set_tags(self, kept: Settings, tags: dict[str, str]) -> None:
        if self.consumer:
            kept.consumers[self.consumer] = {**kept.consumers[self.consumer], "tags": tags}
        else:
            kept.tags = tags

    def policy(self, kept: Settings) -> str:
        return str(kept.consumers[self.consumer].get("policy", "")) if self.consumer else kept.policy

    def set_policy(self, kept: Settings, policy: str) -> None:
        if self.consumer:
            kept.consumers[self.consumer] = {**kept.consumers[self.consumer], "policy": policy}
        else:
            kept.policy = policy


def find(call: Call, arn: str) -> Resource:
    """The resource of an ARN; ResourceNotFoundException where there is none (channels never are)."""
    if (consumer := arns.parse_consumer(arn)) is not None:
        stream = call.stream_of(call.parse_stream_arn(consumer.stream))
        kept = call.settings(stream).consumers.get(consumer.name)
        if kept is None or kept["created_ms"] // 1000 != consumer.created_s:
            raise errors.not_found(f"Consumer {consumer.name}, account {call.account} not found.")
        return Resource(stream, consumer.name)
    if arns.parse_stream(arn) is not None:
        return Resource(call.stream_of(call.parse_stream_arn(arn)))
    if arns.parse_queue(arn) is not None:
        queue = queue_lookup.find(call, arn)
        return Resource(queue.inner, queue=queue.name)
    raise errors.not_found(f"Resource {arn} not found.")
