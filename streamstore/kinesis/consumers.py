"""Registered consumers of enhanced fan-out: kept with their stream, so they go when it goes."""

from __future__ import annotations

from typing import Any

from streamstore import Stream
from streamstore.kinesis import account, arns, errors, settings, tags, tokens
from streamstore.kinesis.call import Call, Request
from streamstore.kinesis.settings import Settings
from streamstore.kinesis.values import Moment

CREATING_MAX = 5
PAGE_MAX = 100
TOKEN_LIFE_MS = 300_000
_TOKEN = "ListStreamConsumers"


def register(call: Call, request: Request) -> dict[str, Any]:
    stream = call.stream_of(call.parse_stream_arn(request["StreamARN"]))
    name = request["ConsumerName"]
    given: dict[str, str] = {}
    if request.get("Tags"):
        tags.merge(given, request["Tags"], f"consumer {name}", call.account)

    def edit(kept: Settings) -> None:
        if name in kept.consumers:
            raise errors.in_use(
                f"Consumer {name} under stream {stream.name} already exists for account {call.account}."
            )
        if call.service.throttle is not None:
            account.check_consumers(call, stream, kept)
            _check_creating(call, kept)
        made: dict[str, Any] = {"created_ms": call.now_ms}
        kept.consumers[name] = {**made, "tags": given} if given else made

    kept = settings.change(stream, edit)
    return {"Consumer": {**_shown(call, stream, kept, name), "ConsumerStatus": "CREATING"}}


def _check_creating(call: Call, kept: Settings) -> None:
    creating = sum(_status(call, consumer) == "CREATING" for consumer in kept.consumers.values())
    if creating >= CREATING_MAX:
        raise errors.limit_exceeded(f"At most {CREATING_MAX} consumers may be in the CREATING state at the same time.")


def _status(call: Call, consumer: dict[str, Any]) -> str:
    delays = call.service.delays
    young = delays is not None and call.now_ms - consumer["created_ms"] < delays.delay_us // 1000
    return "CREATING" if young else "ACTIVE"


def _shown(call: Call, stream: Stream, kept: Settings, name: str) -> dict[str, Any]:
    consumer = kept.consumers[name]
    created_ms = consumer["created_ms"]
    return {
        "ConsumerName": name,
        "ConsumerARN": arns.consumer_arn(call.arn(stream.name), name, created_ms // 1000),
        "ConsumerStatus": _status(call, consumer),
        "ConsumerCreationTimestamp": Moment(created_ms // 1000 * 1000),
    }


def find(call: Call, request: Request) -> tuple[Stream, str]:
    """The stream and the name of the consumer that a request addresses; ResourceNotFoundException."""
    arn, stream_arn, name = (request.get(each) for each in ("ConsumerARN", "StreamARN", "ConsumerName"))
    if arn is None and (stream_arn is None or name is None):
        raise errors.invalid("Either ConsumerARN or both StreamARN and ConsumerName should be provided.")
    created_s = None
    if arn is not None:
        parsed = arns.parse_consumer(arn)
        if parsed is None:
            raise errors.invalid(f"Invalid ConsumerARN: {arn}")
        if (stream_arn is not None and stream_arn != parsed.stream) or (name is not None and name != parsed.name):
            raise errors.invalid("ConsumerARN does not match the given StreamARN and ConsumerName.")
        stream_arn, name, created_s = parsed.stream, parsed.name, parsed.created_s
    assert stream_arn is not None
    assert name is not None
    stream = call.stream_of(call.parse_stream_arn(stream_arn))
    consumer = call.settings(stream).consumers.get(name)
    if consumer is None or (created_s is not None and consumer["created_ms"] // 1000 != created_s):
        raise errors.not_found(f"Consumer {name}, account {call.account} not found.")
    return stream, name


def describe(call: Call, request: Request) -> dict[str, Any]:
    stream, name = find(call, request)
    shown = _shown(call, stream, call.settings(stream), name)
    return {"ConsumerDescription": {**shown, "StreamARN": call.arn(stream.name)}}


def deregister(call: Call, request: Request) -> None:
    stream, name = find(call, request)
    settings.change(stream, lambda kept: kept.consumers.pop(name, None))
    call.service.subscriptions.end_consumer(stream.info.id, name)


def list_consumers(call: Call, request: Request) -> dict[str, Any]:
    stream = call.stream_of(call.parse_stream_arn(request["StreamARN"]))
    created_ms = request.get("StreamCreationTimestamp")
    if created_ms is not None and created_ms // 1000 != stream.info.created_us // 1_000_000:
        raise errors.no_stream(stream.name, call.account)
    limit = min(request.get("MaxResults", PAGE_MAX), PAGE_MAX)
    after = ""
    if (token := request.get("NextToken")) is not None:
        values = tokens.decode_page(call.service.key, _TOKEN, token)
        if values is None or values["stream"] != stream.info.id:
            raise errors.invalid("Invalid NextToken.")
        if call.now_ms - values["ms"] > TOKEN_LIFE_MS:
            raise errors.expired_token()
        after = values["after"]
    kept = call.settings(stream)
    names = [name for name in sorted(kept.consumers) if name > after]
    answer: dict[str, Any] = {"Consumers": [_shown(call, stream, kept, name) for name in names[:limit]]}
    if len(names) > limit:
        values = {"stream": stream.info.id, "after": names[limit - 1], "ms": call.now_ms}
        answer["NextToken"] = tokens.encode_page(call.service.key, _TOKEN, values)
    return answer
