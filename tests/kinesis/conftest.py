"""The doors: every test that takes `kinesis` runs through each of them."""

from __future__ import annotations

import pytest

import streamstore
from streamstore.kinesis.door import client
from streamstore.kinesis.service import Service

pytest.importorskip("boto3")


@pytest.fixture
def store(tmp_path):
    """A store whose streams are not synced, as the doors do not care."""
    with streamstore.open(tmp_path / "store", durability="process") as opened:
        yield opened


@pytest.fixture
def service(store):
    """The service over that store."""
    return Service(store)


@pytest.fixture
def kinesis(service):
    """A boto3 client of that service."""
    return client(service.store, service=service, config=_no_retries())


def _no_retries():
    from botocore.config import Config

    return Config(retries={"max_attempts": 0, "mode": "standard"}, parameter_validation=False)
