"""Many clients that wait for a queue's records at once: plain HTTP/1.1, as boto3 takes a thread for each."""

from __future__ import annotations

import asyncio
import json
from typing import Any

_SIGNATURE = (
    "AWS4-HMAC-SHA256 Credential=any/20260101/us-east-1/kinesis/aws4_request, SignedHeaders=host, Signature=" + "0" * 64
)


def message(operation: str, request: dict[str, Any]) -> bytes:
    """A request as bytes, to a server that verifies no signatures."""
    body = json.dumps(request).encode()
    head = (
        "POST / HTTP/1.1",
        "host: 127.0.0.1",
        "content-type: application/x-amz-json-1.1",
        f"x-amz-target: Kinesis_20131202.{operation}",
        "x-amz-date: 20260101T000000Z",
        f"authorization: {_SIGNATURE}",
        f"content-length: {len(body)}",
    )
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


async def ask(port: int, operation: str, request: dict[str, Any]) -> Any:
    """The answer to one request, on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(message(operation, request))
        head = await reader.readuntil(b"\r\n\r\n")
        sizes = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        return json.loads(await reader.readexactly(int(sizes[0].partition(b":")[2])))
    finally:
        writer.close()


async def until(ready: Any, seconds: float = 30) -> None:
    """Return once `ready()` is true."""
    for _ in range(round(seconds / 0.01)):
        if ready():
            return
        await asyncio.sleep(0.01)
    raise TimeoutError("it never was")
