"""boto3 in process: a real client whose requests are answered here, through botocore's before-send hook.

Fails closed: no credentials, profile, region or endpoint of the environment is looked at, the endpoint's name can never
resolve, and nothing is left that could open a connection.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from streamstore import InvalidArgumentError, Store, StreamStoreError, opening
from streamstore.kinesis import wire
from streamstore.kinesis.encryption import default_ring
from streamstore.kinesis.operations import Operation
from streamstore.kinesis.service import Service, check_limits
from streamstore.kinesis.values import Caller
from streamstore.kinesis.wire import HttpRequest, HttpResponse

ENDPOINT = "http://kinesis.streamstore.invalid"
_SCOPE = re.compile(r"Credential=([^/,\s]+)/\d{8}/([a-z0-9-]+)/kinesis/aws4_request", re.ASCII)
_REFUSED = ("endpoint_url", "verify", "use_ssl", "api_version")


class _NoNetwork:
    """In the place of botocore's HTTP session; closes the store that was opened for its client."""

    def __init__(self, store: Store | None = None) -> None:
        self._store = store

    def send(self, request: Any) -> NoReturn:
        raise StreamStoreError("an in-process client opens no connection")

    def close(self) -> None:
        """Close the store, where it is the client's own."""
        if self._store is not None:
            self._store.close()


class _Body:
    """A response's body in the place of urllib3's."""

    def __init__(self, chunks: Iterator[bytes], close: Any) -> None:
        self._chunks = chunks
        self.close = close

    def stream(self, amount: int | None = None, decode_content: bool | None = None) -> Iterator[bytes]:
        """The body, piece by piece as it comes."""
        return self._chunks


def client(
    store: Store,
    *,
    limits: str = "none",
    isolate: bool = False,
    delays_s: float = 0.0,
    service: Service | None = None,
    **kwargs: Any,
) -> Any:
    """A boto3 client that an open store answers; `service` where several clients share one. Closing it is free."""
    made = _unconnected(store.region, kwargs)
    _connect(made, service or Service(store, limits=limits, isolate=isolate, delays_s=delays_s), None)
    return made


def _unconnected(region: str, kwargs: dict[str, Any]) -> Any:
    """A client that nobody answers yet."""
    for name in _REFUSED:
        if name in kwargs:
            raise InvalidArgumentError(f"{name} means nothing to an in-process client: no request leaves the process")
    region = kwargs.pop("region_name", None) or region
    for name in ("aws_access_key_id", "aws_secret_access_key"):
        kwargs[name] = kwargs.get(name) or "in-process"
    return _session().client("kinesis", region_name=region, endpoint_url=ENDPOINT, **kwargs)


def _connect(made: Any, service: Service, own: Store | None) -> None:
    """Have the service answer a client, and its close() close a store of its own."""
    made._endpoint.http_session = _NoNetwork(own)
    made.meta.events.register_first("before-send.kinesis", lambda request, **_: _answer(service, request))


def boto3_client(
    path: str | os.PathLike[str],
    *,
    create: bool = True,
    durability: str = "sync",
    limits: str = "none",
    isolate: bool = False,
    delays_s: float = 0.0,
    **kwargs: Any,
) -> Any:
    """A real boto3 client for Kinesis that the store in this directory answers, with no server and no network.

    `create` and `durability` are those of `streamstore.open`, the rest those of `Store.boto3_client`. The store stays
    open until the client's `close()`. Raises what both raise.
    """
    made = _unconnected("us-east-1", kwargs)  # before the store: what it does not take must not leave one behind
    check_limits(limits)
    store = opening.open(path, create=create, durability=durability, key_ring=default_ring(path))
    try:
        _connect(made, Service(store, limits=limits, isolate=isolate, delays_s=delays_s), store)
    except BaseException:
        store.close()
        raise
    return made


def _session() -> Any:
    """A boto3 session that knows nothing of the environment."""
    try:
        import boto3
        import botocore.session
    except ImportError:
        raise StreamStoreError(
            "boto3 is not installed: pip install 'streamstore-kinesis[boto3]', or serve the directory over HTTP"
        ) from None
    defaults = botocore.session.Session.SESSION_VARIABLES
    # Every variable keeps its default and its conversion, and is read from no file and no environment.
    deaf = {name: (None, None, default, cast) for name, (_, _, default, cast) in defaults.items()}
    for name in ("config_file", "credentials_file"):
        deaf[name] = (None, None, os.devnull, None)
    deaf["defaults_mode"] = (None, None, "legacy", None)
    return boto3.session.Session(botocore_session=botocore.session.Session(session_vars=deaf))


def _gate(service: Service) -> wire.Gate:
    def who(request: HttpRequest, operation: Operation) -> Caller:
        match = _SCOPE.search(request.headers.get("authorization", ""))
        if match is None:
            return service.caller
        key, region = match.groups()
        account = key if service.isolate and re.fullmatch(r"\d{12}", key) else service.store.account
        return Caller(account, region)

    return who


def _answer(service: Service, request: Any) -> Any:
    from botocore.awsrequest import AWSResponse

    body = request.body
    if isinstance(body, str):
        body = body.encode()
    headers = {
        name.lower(): value.decode() if isinstance(value, bytes) else value for name, value in request.headers.items()
    }
    asked = HttpRequest(request.method, "/", "", headers, bytes(body or b""))
    response = _waited(service, wire.answer(service, asked, _gate(service)))
    answered = AWSResponse(request.url, response.status, dict(response.headers), _raw(response))
    if response.subscription is None:
        answered._content = response.body
    return answered


def _waited(service: Service, response: HttpResponse) -> HttpResponse:
    """An answer that takes time, once there is one: waits in this thread."""
    waiting = response.waiting
    if waiting is None:
        return response
    with waiting.turn():
        while response.waiting is not None:
            seen = waiting.watch()
            response = wire.resume(service, waiting)
            if response.waiting is not None:
                waiting.block(seen)
    return response


def _raw(response: HttpResponse) -> _Body:
    subscription = response.subscription
    if subscription is None:
        return _Body(iter([response.body]), lambda: None)
    return _Body(subscription.frames(), subscription.close)
