"""What is not here answers with a typed 400 that says so: channels."""

from __future__ import annotations

from typing import Any, NoReturn

from streamstore.kinesis import errors
from streamstore.kinesis.call import Call, Request


def channel(call: Call, request: Request) -> NoReturn:
    raise errors.invalid(f"{call.operation} is not supported by streamstore: it has no channels. Nothing was done.")


def list_channels(call: Call, request: Request) -> dict[str, Any]:
    return {"ChannelSummaries": []}
