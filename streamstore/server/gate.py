"""The one gate in front of every operation: who asks, and may they. Default deny.

Without credentials any well-formed signature passes, as the emulators do; with them every signature is computed.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from streamstore import StreamStoreError
from streamstore.kinesis import arns, handles, policies, queue_lookup, tokens
from streamstore.kinesis.errors import ServiceError, denied
from streamstore.kinesis.operations import ADMIN, Operation
from streamstore.kinesis.queue_lookup import Found
from streamstore.kinesis.service import Service
from streamstore.kinesis.values import Caller
from streamstore.kinesis.wire import HttpRequest
from streamstore.server import sigv4
from streamstore.server.credentials import Credential

SKEW_S = 300
HOST_NAMES = frozenset(("host", ":authority"))


class Gate:
    """The gate of one server. Any thread."""

    def __init__(self, service: Service, credentials: Mapping[str, Credential] | None) -> None:
        self._service = service
        self._credentials = credentials
        # In the place of an unknown key's secret, so that it takes as long as a wrong signature.
        self._nobody = Credential("", secrets.token_hex(32))

    @property
    def verifies(self) -> bool:
        """Are signatures computed, and rights looked at?"""
        return self._credentials is not None

    def who(self, request: HttpRequest, operation: Operation) -> Caller:
        """The caller of a request. Raises the service's authentication errors."""
        claimed = sigv4.claim(request)
        credential = None
        if self._credentials is not None:
            credential = self._verify(self._credentials, claimed, request)
        account = self._service.store.account
        if self._service.isolate and re.fullmatch(r"\d{12}", claimed.key_id):
            account = claimed.key_id
        return Caller(account, claimed.region, "" if credential is None else credential.key_id)

    def _verify(self, credentials: Mapping[str, Credential], claimed: sigv4.Claim, request: HttpRequest) -> Credential:
        found = credentials.get(claimed.key_id, self._nobody)
        right = hmac.compare_digest(sigv4.expected(claimed, request, found.secret), claimed.signature)
        if not right or found is self._nobody:
            raise _mismatch()
        if claimed.service != "kinesis" or not claimed.time.startswith(claimed.date):
            raise _mismatch()
        signed = set(claimed.signed)
        needed = set() if claimed.presigned else {name for name in request.headers if name.startswith("x-amz-")}
        if not needed <= signed or signed.isdisjoint(HOST_NAMES):
            raise _mismatch()
        self._check_time(claimed)
        payload = request.headers.get("x-amz-content-sha256")
        if payload is not None and not _is_payload(payload, request.body):
            raise _mismatch()
        return found

    def _check_time(self, claimed: sigv4.Claim) -> None:
        signed = datetime.strptime(claimed.time, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc).timestamp()
        now = self._service.now_us() / 1_000_000
        late = claimed.expires_s if claimed.presigned else SKEW_S
        if signed - now > SKEW_S:
            raise ServiceError("InvalidSignatureException", f"Signature not yet current: {claimed.time}")
        if now - signed > late:
            raise ServiceError("InvalidSignatureException", f"Signature expired: {claimed.time} is too long ago")

    def allow(self, caller: Caller, operation: Operation, request: Mapping[str, Any]) -> None:
        """Raise AccessDeniedException unless the caller's rights, or a policy, let it do this."""
        if self._credentials is None:
            return
        credential = self._credentials[caller.key_id]
        queue = self._queue(credential, caller, request)
        names = [*_names(self._service, request), *([] if queue is None else [queue.source.name])]
        judged = [self._policy(credential, operation, name, caller, queue) for name in names]
        if "Deny" in judged:
            raise _refusal(credential, operation)
        # What is about no stream is about all: changing it takes a key for all streams.
        reaches = names or operation.right != ADMIN or credential.covers("*")
        if reaches and operation.right in credential.rights and all(credential.covers(name) for name in names):
            return
        if names and all(verdict == "Allow" for verdict in judged):
            return
        raise _refusal(credential, operation)

    def _queue(self, credential: Credential, caller: Caller, request: Mapping[str, Any]) -> Found | None:
        """The queue that a request is about, if any. That one is not there is told to keys for all streams alone."""
        arn = request.get("QueueARN") or request.get("ResourceARN", "")
        if arns.parse_queue(arn) is None:
            return None
        store = self._service.view(Caller(caller.account, caller.region))
        try:
            return queue_lookup.look_up(self._service, store, caller, arn)
        except ServiceError:
            if credential.covers("*"):
                return None
            raise denied("The resource cannot be told.") from None

    def _policy(
        self, credential: Credential, operation: Operation, name: str, caller: Caller, queue: Found | None
    ) -> str:
        store = self._service.view(Caller(caller.account, caller.region))
        try:
            kept = self._service.settings(store.stream(name) if queue is None else queue.inner)
        except StreamStoreError:
            return ""
        arn = arns.stream_arn(caller.region, caller.account, name)
        if queue is not None:
            number = handles.queue_id(self._service.key, queue.info.id)
            arn = arns.queue_arn(caller.region, caller.account, number)
        principal = credential.principal or credential.key_id
        return policies.verdict(kept.policy, principal, operation.name, arn)


def _is_payload(claimed: str, body: bytes) -> bool:
    return hmac.compare_digest(claimed.encode(), hashlib.sha256(body).hexdigest().encode())


def _mismatch() -> ServiceError:
    return ServiceError(
        "InvalidSignatureException",
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access "
        "Key and signing method. Consult the service documentation for details.",
    )


def _refusal(credential: Credential, operation: Operation) -> ServiceError:
    who = credential.principal or credential.key_id
    return denied(f"User: {who} is not authorized to perform: kinesis:{operation.name}")


def _names(service: Service, request: Mapping[str, Any]) -> list[str]:
    """The names of all streams that a request is about."""
    names = [request["StreamName"]] if "StreamName" in request else []
    named = [request.get(member) for member in ("StreamARN", "ConsumerARN", "ResourceARN")]
    for member in ("StreamConfigurationList", "StreamFilter"):
        named += [item["StreamARN"] for item in request.get(member, ())]
    for arn in named:
        if arn is not None and arns.parse_queue(arn) is None:
            consumer = arns.parse_consumer(arn)
            parsed = arns.parse_stream(arn if consumer is None else consumer.stream)
            if parsed is None:
                raise denied("The resource cannot be told.")
            names.append(parsed.name)
    stream_ids = []
    if (iterator := request.get("ShardIterator")) is not None:
        cursor = tokens.decode(service.key, iterator)
        if cursor is not None:
            stream_ids.append(cursor.stream_id)
    if (token := request.get("NextToken")) is not None:
        for what in ("ListShards", "ListStreamConsumers"):
            values = tokens.decode_page(service.key, what, token)
            if values is not None:
                stream_ids.append(values["stream"])
    for stream_id in stream_ids:
        try:
            names.append(service.store.stream_by_id(stream_id).name)
        except StreamStoreError:
            continue  # the handler says that it is gone
    return names
