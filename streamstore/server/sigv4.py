"""AWS signature version 4, the verifying side: what a request claims, and what its signature would have to be. Pure."""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, unquote

from streamstore.kinesis.errors import ServiceError
from streamstore.kinesis.wire import HttpRequest

ALGORITHM = "AWS4-HMAC-SHA256"
EMPTY_HASH = hashlib.sha256(b"").hexdigest()
_SCOPE = re.compile(r"([\w.-]{1,128})/(\d{8})/([a-z0-9-]{1,64})/([a-z0-9-]{1,64})/aws4_request", re.ASCII)
_SIGNATURE = re.compile(r"[0-9a-f]{64}", re.ASCII)
_NAMES = r":?[a-z0-9._-]+(?:;:?[a-z0-9._-]+)*"
_HEADERS = re.compile(_NAMES, re.ASCII)  # over HTTP/2 some sign `:authority`
_USUAL = re.compile(
    rf"{ALGORITHM} Credential={_SCOPE.pattern}, ?SignedHeaders=({_NAMES}), ?Signature=({_SIGNATURE.pattern})", re.ASCII
)
"""The header as most clients write it; all else is taken apart piece by piece, which also finds what is wrong."""
_TIME = re.compile(r"\d{8}T\d{6}Z", re.ASCII)
_PARAMETERS = ("Credential", "Signature", "SignedHeaders")


class Claim(NamedTuple):
    """What a request says about itself; `presigned` ones say it in the query."""

    key_id: str
    date: str
    region: str
    service: str
    signed: tuple[str, ...]
    signature: str
    time: str
    presigned: bool
    expires_s: int


def claim(request: HttpRequest) -> Claim:
    """The claim of a request. Raises the service's errors for none, two, or half of one."""
    header = request.headers.get("authorization", "")
    in_query = "X-Amz-Algorithm=" in request.query
    if header and in_query:
        raise ServiceError(
            "InvalidSignatureException",
            "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header.",
        )
    if in_query:
        return _from_query(request)
    if not header:
        raise ServiceError("MissingAuthenticationTokenException", "Missing Authentication Token")
    return _from_header(request, header)


def _from_header(request: HttpRequest, header: str) -> Claim:
    time = request.headers.get("x-amz-date", "")
    usual = _USUAL.fullmatch(header)
    if usual is not None and _TIME.fullmatch(time):
        key_id, date, region, service, names, signature = usual.groups()
        return Claim(key_id, date, region, service, tuple(names.split(";")), signature, time, False, 0)
    algorithm, _, rest = header.partition(" ")
    parts = dict(_pair(part) for part in rest.split(","))  # some clients write no space behind the comma
    missing = [name for name in _PARAMETERS if not parts.get(name)]
    if algorithm != ALGORITHM or missing or not time:
        wanted = [f"Authorization header requires '{name}' parameter." for name in missing]
        if not time:
            wanted.append("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
        raise ServiceError("IncompleteSignatureException", " ".join([*wanted, f"Authorization={header[:1024]}"]))
    return _checked(parts["Credential"], parts["SignedHeaders"], parts["Signature"], time, False, 0)


def _pair(part: str) -> tuple[str, str]:
    name, _, value = part.strip().partition("=")
    return name, value


def _from_query(request: HttpRequest) -> Claim:
    values = dict(parse_qsl(request.query, keep_blank_values=True))
    names = ("X-Amz-Credential", "X-Amz-SignedHeaders", "X-Amz-Signature", "X-Amz-Date")
    found = [values.get(name, "") for name in names]
    missing = [name for name, value in zip(names, found, strict=True) if not value]
    expires = values.get("X-Amz-Expires", "300")
    if values.get("X-Amz-Algorithm") != ALGORITHM or missing or not (expires.isascii() and expires.isdigit()):
        wanted = " ".join(f"AWS query-string parameters must include '{name}'." for name in missing or names)
        raise ServiceError("IncompleteSignatureException", wanted)
    credential, signed, signature, time = found
    return _checked(credential, signed, signature, time, True, int(expires[:6]))


def _checked(credential: str, signed: str, signature: str, time: str, presigned: bool, expires_s: int) -> Claim:
    scope = _SCOPE.fullmatch(credential)
    if (
        scope is None
        or not _HEADERS.fullmatch(signed)
        or not _SIGNATURE.fullmatch(signature)
        or not _TIME.fullmatch(time)
    ):
        raise ServiceError("IncompleteSignatureException", "The credential, headers, signature or date have no form.")
    key_id, date, region, service = scope.groups()
    names = tuple(signed.split(";"))
    return Claim(key_id, date, region, service, names, signature, time, presigned, expires_s)


def expected(claimed: Claim, request: HttpRequest, secret: str) -> str:
    """The signature that this request has under that secret."""
    canonical = "\n".join(
        (
            request.method,
            quote(unquote(request.path), safe="/-_.~") or "/",
            _canonical_query(request.query),
            *(f"{name}:{' '.join(request.headers.get(name, '').split())}" for name in claimed.signed),
            "",
            ";".join(claimed.signed),
            hashlib.sha256(request.body).hexdigest(),
        )
    )
    scope = f"{claimed.date}/{claimed.region}/{claimed.service}/aws4_request"
    text = "\n".join((ALGORITHM, claimed.time, scope, hashlib.sha256(canonical.encode()).hexdigest()))
    key = f"AWS4{secret}".encode()
    for part in (claimed.date, claimed.region, claimed.service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _canonical_query(query: str) -> str:
    pairs = [pair for pair in parse_qsl(query, keep_blank_values=True) if pair[0] != "X-Amz-Signature"]
    return "&".join(sorted(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in pairs))
