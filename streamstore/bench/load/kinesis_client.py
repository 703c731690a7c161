"""The few calls of the Kinesis API that load consists of, over one kept connection, with as little work as can be.

boto3 spends more on a call than a near server does, and its retries hide what a benchmark is there to see.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
from typing import Any, cast
from urllib.parse import urlsplit

from streamstore.bench.load.signing import Credentials, Signer
from streamstore.errors import InvalidArgumentError, StorageError

_CONTENT_TYPE = "application/x-amz-json-1.1"
_TIMEOUT_S = 60.0


class CallError(StorageError):
    """The endpoint refused a call; `code` is its word for why."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(f"{code or status}: {text}"[:300])
        self.code = code


class KinesisClient:
    """One connection to an endpoint. One thread."""

    def __init__(self, url: str, region: str, credentials: Credentials) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidArgumentError(f"{url!r} is no URL of an endpoint: http://HOST:PORT")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        self._socket: socket.socket | None = None
        host = parts.netloc.rpartition("@")[2]
        self._signer = Signer(credentials, region, host)
        if parts.scheme == "https":
            context = ssl.create_default_context()
            self._connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                parts.hostname, port, timeout=_TIMEOUT_S, context=context
            )
        else:
            self._connection = http.client.HTTPConnection(parts.hostname, port, timeout=_TIMEOUT_S)

    def call(self, operation: str, document: dict[str, Any]) -> dict[str, Any]:
        """The answer to one call. Raises CallError, and OSError where there is no connection to be had."""
        answer = self.send(operation, document)
        body = answer.read()
        found: dict[str, Any] = json.loads(body) if body else {}
        return found

    def send(self, operation: str, document: dict[str, Any]) -> http.client.HTTPResponse:
        """An answer whose body was not read yet, which a subscription's never ends. Raises as `call` does."""
        body = json.dumps(document, separators=(",", ":")).encode()
        headers = self._signer.headers(f"Kinesis_20131202.{operation}", _CONTENT_TYPE, body)
        connection = self._connection
        if connection.sock is None:
            try:
                connection.connect()
            except OSError as error:
                raise OSError(
                    error.errno, error.strerror or str(error), f"{connection.host}:{connection.port}"
                ) from None
            self._socket = opened = cast(socket.socket, connection.sock)
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            connection.request("POST", "/", body, headers)
            answer = connection.getresponse()
        except (OSError, http.client.HTTPException):
            connection.close()  # the next call begins with a new one
            raise
        if answer.status != 200:
            raise _refused(answer.status, answer.read())
        return answer

    def interrupt(self) -> None:
        """End what a thread waits for; the connection is of no use then but to be closed."""
        if self._socket is not None:
            with contextlib.suppress(OSError):  # the other side may have closed it first
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _refused(status: int, body: bytes) -> CallError:
    try:
        found = json.loads(body)
        code = str(found.get("__type", "")).rpartition("#")[2]
        return CallError(status, code, str(found.get("message") or found.get("Message") or ""))
    except (ValueError, AttributeError):
        return CallError(status, "", body[:200].decode(errors="replace"))
