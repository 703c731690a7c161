"""Signature version 4 against the examples that AWS publishes with it: the signature is theirs, digit by digit."""

from __future__ import annotations

import pytest

from streamstore.kinesis.wire import HttpRequest
from streamstore.server import sigv4

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
SIGNED = {"host": "example.amazonaws.com", "x-amz-date": "20150830T123600Z"}
FORM = {"content-type": "application/x-www-form-urlencoded"}

VECTORS = {
    "get-vanilla": (
        HttpRequest("GET", "/", "", {}, b""),
        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    ),
    "post-vanilla": (
        HttpRequest("POST", "/", "", {}, b""),
        "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
    ),
    "get-vanilla-query-order-key-case": (
        HttpRequest("GET", "/", "Param2=value2&Param1=value1", {}, b""),
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    ),
    "get-header-value-trim": (
        HttpRequest("GET", "/", "", {"my-header1": " value1", "my-header2": ' "a   b   c"'}, b""),
        "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
    ),
    "post-x-www-form-urlencoded": (
        HttpRequest("POST", "/", "", FORM, b"Param1=value1"),
        "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
    ),
}


@pytest.mark.parametrize("name", VECTORS)
def test_a_published_signature_is_ours(name):
    """All headers of the request are signed, in order; one other byte in the body and it is another signature."""
    request, signature = VECTORS[name]
    headers = {**request.headers, **SIGNED}
    names = ";".join(sorted(headers))
    scope = "AKIDEXAMPLE/20150830/us-east-1/service/aws4_request"
    headers["authorization"] = f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders={names}, Signature={signature}"
    sent = request._replace(headers=headers)
    claimed = sigv4.claim(sent)
    assert sigv4.expected(claimed, sent, SECRET) == signature == claimed.signature
    assert sigv4.expected(claimed, sent._replace(body=sent.body + b"x"), SECRET) != signature
