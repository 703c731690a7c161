"""One HTTP request in, one response out, by whatever door: routing, encodings, errors as the service shows them.

The order is the service's: is it for us at all, its operation, who asks, types, constraints, then the handler.
"""

from __future__ import annotations

import random
from binascii import b2a_base64
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from streamstore.kinesis import errors, validation
from streamstore.kinesis.errors import ServiceError
from streamstore.kinesis.json_codec import JsonCodec
from streamstore.kinesis.operations import Operation
from streamstore.kinesis.shortcuts import SHORTCUTS
from streamstore.kinesis.subscriptions import Subscription
from streamstore.kinesis.values import Caller
from streamstore.kinesis.waiting import Waiting

if TYPE_CHECKING:
    from streamstore.kinesis.cbor_codec import CborCodec
    from streamstore.kinesis.service import Service

TARGET_PREFIX = "Kinesis_20131202."
EVENT_STREAM = "application/vnd.amazon.eventstream"
JSON = JsonCodec()
_DENIED = (
    b"<AccessDeniedException>\n  <Message>Unable to determine service/operation name to be authorized</Message>\n"
    b"</AccessDeniedException>\n"
)
_UNKNOWN = b"<UnknownOperationException/>\n"


class HttpRequest(NamedTuple):
    """A request as a door has it; names of headers in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


class HttpResponse(NamedTuple):
    """A response; with a `subscription` the body is its events, as they come. With a `waiting` it is none yet: a door
    waits, and then asks `resume`.
    """

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    subscription: Subscription | None = None
    waiting: Waiting | None = None


Gate = Callable[[HttpRequest, Operation], Caller]
"""Who asks, or a ServiceError: called once the operation is known. What a caller may do with what is `allow`'s."""
Allow = Callable[[Caller, Operation, Mapping[str, Any]], None]
"""May this caller do that? Called with the checked request, before anything is looked up; a ServiceError if not."""
Codec = "JsonCodec | CborCodec"


def codec_for(content_type: str) -> JsonCodec | CborCodec | None:
    """The encoding of a content type; None for one that the service does not speak."""
    if content_type == JSON.content_type:
        return JSON
    kind = content_type.partition(";")[0].strip().lower()
    if kind in ("application/x-amz-json-1.1", "application/json"):
        return JSON
    if kind == "application/x-amz-cbor-1.1":
        from streamstore.kinesis.cbor_codec import shared

        return shared()
    return None


def answer(service: Service, request: HttpRequest, gate: Gate, allow: Allow | None = None) -> HttpResponse:
    """Answer a request, come what may: every failure is a response."""
    if request.method != "POST" or request.path != "/":
        return _xml(403, _DENIED)
    target = request.headers.get("x-amz-target", "")
    content_type = request.headers.get("content-type", "")
    codec = codec_for(content_type)
    if codec is None:
        return _xml(404, _UNKNOWN) if target else _xml(403, _DENIED)

    def respond() -> HttpResponse:
        prefix, _, name = target.rpartition(".")
        operation = service.operation(name) if f"{prefix}." == TARGET_PREFIX else None
        if operation is None:
            raise ServiceError("UnknownOperationException")
        caller = gate(request, operation)
        if not request.body:
            raise errors.serialization()
        checked = _check(operation, codec, codec.decode(request.body))
        if allow is not None:
            allow(caller, operation, checked)
        result = service.call(operation, checked, caller)
        if isinstance(result, Subscription):
            result.codec = codec
            return HttpResponse(200, _headers(EVENT_STREAM), b"", result)
        if isinstance(result, Waiting):
            result.codec = codec
            return _waited(result)
        return success(codec.content_type, b"" if result is None else codec.encode(result))

    return _guarded(service, codec, respond)


def resume(service: Service, waiting: Waiting) -> HttpResponse:
    """Ask again for an answer that was not there."""
    return _guarded(service, waiting.codec, lambda: _waited(waiting))


def _waited(waiting: Waiting) -> HttpResponse:
    result = waiting.poll()
    if result is None:
        return HttpResponse(0, [], b"", None, waiting)
    return success(waiting.codec.content_type, waiting.codec.encode(result))


def _guarded(service: Service, codec: JsonCodec | CborCodec, respond: Callable[[], HttpResponse]) -> HttpResponse:
    try:
        return respond()
    except ServiceError as error:
        return failure(error, codec)
    except Exception as error:
        service.log_failure(error)
        return failure(errors.internal(), codec)


def success(content_type: str, body: bytes) -> HttpResponse:
    """A response of 200."""
    return HttpResponse(200, _headers(content_type), body)


def _check(operation: Operation, codec: JsonCodec | CborCodec, value: Any) -> dict[str, Any]:
    shortcut = SHORTCUTS.get(operation.name) if codec is JSON else None
    checked = None if shortcut is None else shortcut(value)
    return validation.check(operation.shape, value, codec) if checked is None else checked


def failure(error: ServiceError, codec: JsonCodec | CborCodec = JSON) -> HttpResponse:
    """An error as a response."""
    body: dict[str, Any] = {"__type": error.type}
    if error.text:
        body["Message" if error.type == "SerializationException" else "message"] = error.text
    headers = [*_headers(codec.content_type), ("x-amzn-errortype", error.type)]
    return HttpResponse(error.status, headers, codec.encode(body))


def _xml(status: int, body: bytes) -> HttpResponse:
    return HttpResponse(status, _headers("application/xml"), body)


def _headers(content_type: str) -> list[tuple[str, str]]:
    text = f"{random.getrandbits(128):032x}"
    request_id = f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"
    return [
        ("x-amzn-requestid", request_id),
        ("x-amz-id-2", b2a_base64(random.randbytes(48), newline=False).decode()),
        ("content-type", content_type),
    ]
