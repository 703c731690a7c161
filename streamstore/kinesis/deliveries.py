"""The seven operations on a queue's records: receive, acknowledge, visibility, and the same and restore for dead-letter
records. One entry that fails stops no other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from streamstore import limits
from streamstore.kinesis import errors, handles, queue_lookup
from streamstore.kinesis.call import Call, Request
from streamstore.kinesis.queue_lookup import Found
from streamstore.kinesis.receiving import Receiving
from streamstore.queue import each
from streamstore.queue.each import Refusal
from streamstore.queue.engine import Engine, Receipt
from streamstore.queue.state import name_of

LIMIT, WAIT_SECONDS = 10, 9
_Settle = Callable[[Engine, Sequence[Receipt], Sequence[int]], list["Refusal | None"]]
_FOREIGN = "The receipt handle is not one that this queue issued for this operation."
_CUT = Refusal(False, "The receipt handle was issued before a restart of the machine.")


def receive(call: Call, request: Request) -> Receiving:
    return _receiving(call, request, handles.LIVE)


def receive_dead(call: Call, request: Request) -> Receiving:
    return _receiving(call, request, handles.DEAD)


def _receiving(call: Call, request: Request, kind: int) -> Receiving:
    found = _ready(call, request)
    seconds = request.get("VisibilityTimeoutSeconds")
    visibility_us = None if seconds is None else seconds * limits.MICROSECONDS
    wait_s = request.get("WaitTimeSeconds", WAIT_SECONDS)
    return Receiving(call, found, kind, request.get("Limit", LIMIT), wait_s, visibility_us)


def _ready(call: Call, request: Request) -> Found:
    """The queue of a request, unless it is CREATING: then it is not there yet."""
    found = queue_lookup.find(call, request["QueueARN"])
    if call.status(found.inner) == "CREATING":
        raise errors.not_found(f"Queue {found.name} under account {call.account} is in state CREATING.")
    return found


def acknowledge(call: Call, request: Request) -> dict[str, Any]:
    return _settled(call, request, handles.LIVE, lambda engine, receipts, _: each.acknowledge(engine, receipts))


def update_visibility(call: Call, request: Request) -> dict[str, Any]:
    return _settled(call, request, handles.LIVE, each.extend)


def acknowledge_dead(call: Call, request: Request) -> dict[str, Any]:
    return _settled(call, request, handles.DEAD, lambda engine, receipts, _: each.bury(engine, receipts))


def restore_dead(call: Call, request: Request) -> dict[str, Any]:
    return _settled(call, request, handles.DEAD, lambda engine, receipts, _: each.restore(engine, receipts))


def update_dead_visibility(call: Call, request: Request) -> dict[str, Any]:
    return _settled(call, request, handles.DEAD, each.extend_dead)


def _settled(call: Call, request: Request, kind: int, settle: _Settle) -> dict[str, Any]:
    found = _ready(call, request)
    engine = found.engine(call)
    texts = [entry["ReceiptHandle"] for entry in request["Entries"]]
    outcomes: list[Refusal | None] = []
    receipts, seconds, places = [], [], []
    for entry in request["Entries"]:
        receipt = _receipt(call, found, engine, kind, entry["ReceiptHandle"])
        if isinstance(receipt, Refusal):
            outcomes.append(receipt)
            continue
        places.append(len(outcomes))
        outcomes.append(None)
        receipts.append(receipt)
        seconds.append(entry.get("VisibilityTimeoutSeconds", 0) * limits.MICROSECONDS)
    if receipts:
        for place, outcome in zip(places, settle(engine, receipts, seconds), strict=True):
            outcomes[place] = outcome
    judged = list(zip(texts, outcomes, strict=True))
    return {
        "Successful": [{"ReceiptHandle": text} for text, refusal in judged if refusal is None],
        "Failed": [_failed(text, refusal) for text, refusal in judged if refusal is not None],
    }


def _failed(text: str, refusal: Refusal) -> dict[str, str]:
    code = "ResourceNotFoundException" if refusal.gone else "InvalidArgumentException"
    return {"ReceiptHandle": text, "ErrorCode": code, "ErrorMessage": refusal.text}


def _receipt(call: Call, found: Found, engine: Engine, kind: int, text: str) -> Receipt | Refusal:
    handle = handles.decode(call.service.key, text)
    if handle is None or (handle.kind, handle.queue) != (kind, found.info.id):
        return Refusal(False, _FOREIGN)
    if not engine.syncs and handle.boot != _boot(engine):
        # A power cut may have taken the delivery back, or the record: what the handle names can be another by now.
        return _CUT
    return name_of(handle.shard, handle.position), handle.number


def _boot(engine: Engine) -> int:
    with engine.journal.lock:
        return handles.boot_tag(engine.state().boot)
