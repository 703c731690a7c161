"""AWS signature version 4, the signing side, with the key of the day kept: some ten microseconds a request."""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import NamedTuple


class Credentials(NamedTuple):
    """What requests are signed with."""

    key_id: str
    secret: str
    token: str | None = None


class Signer:
    """Signs POST requests to / of one host."""

    def __init__(self, credentials: Credentials, region: str, host: str) -> None:
        self._credentials = credentials
        self._region = region
        self._host = host
        self._day = ""
        self._key = b""

    def headers(self, target: str, content_type: str, body: bytes) -> dict[str, str]:
        """All headers of a request, the signature among them."""
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        signed = {"content-type": content_type, "host": self._host, "x-amz-date": now}
        if self._credentials.token is not None:
            signed["x-amz-security-token"] = self._credentials.token
        signed["x-amz-target"] = target
        names = ";".join(signed)
        lines = "".join([f"{name}:{value}\n" for name, value in signed.items()])
        canonical = f"POST\n/\n\n{lines}\n{names}\n{hashlib.sha256(body).hexdigest()}"
        scope = f"{now[:8]}/{self._region}/kinesis/aws4_request"
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{digest}"
        signature = hmac.new(self._key_of(now[:8]), text.encode(), hashlib.sha256).hexdigest()
        credential = f"{self._credentials.key_id}/{scope}"
        signed["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}"
        )
        return signed

    def _key_of(self, day: str) -> bytes:
        if day != self._day:
            key = f"AWS4{self._credentials.secret}".encode()
            for part in (day, self._region, "kinesis", "aws4_request"):
                key = hmac.new(key, part.encode(), hashlib.sha256).digest()
            self._day, self._key = day, key
        return self._key
