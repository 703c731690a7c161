"""boto3 clients for tests: without retries, without botocore's own checks, and closed at the end of their test."""

from __future__ import annotations

from typing import Any

OPEN: list[Any] = []


def no_retries() -> Any:
    """A configuration that lets the service itself refuse what is wrong, once."""
    from botocore.config import Config

    return Config(retries={"max_attempts": 0, "mode": "standard"}, parameter_validation=False)


def remote(url: str, **options: Any) -> Any:
    """A boto3 client of the server at that address."""
    import boto3

    credentials = {"aws_access_key_id": "any", "aws_secret_access_key": "any", "region_name": "us-east-1"}
    made = boto3.client("kinesis", endpoint_url=url, config=no_retries(), **{**credentials, **options})
    OPEN.append(made)
    return made
