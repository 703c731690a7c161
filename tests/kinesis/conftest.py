"""The doors: every test that takes `kinesis` runs through each of them."""

from __future__ import annotations

import pytest
from boto_clients import OPEN, no_retries, remote

import streamstore
from streamstore.kinesis.door import client
from streamstore.kinesis.service import Service

pytest.importorskip("boto3")


@pytest.fixture(autouse=True)
def closing():
    """Leave no connection of a test behind."""
    yield
    while OPEN:
        OPEN.pop().close()


@pytest.fixture
def store(tmp_path):
    """A store whose streams are not synced, as the doors do not care."""
    with streamstore.open(tmp_path / "store", durability="process", key_ring=tmp_path / "keys") as opened:
        yield opened


@pytest.fixture
def service(store):
    """The service over that store."""
    return Service(store)


@pytest.fixture(params=["process", "http"])
def kinesis(service, request):
    """A boto3 client of that service, through either door."""
    if request.param == "process":
        yield client(service.store, service=service, config=no_retries())
        return
    pytest.importorskip("granian")
    from streamstore.server.serving import Listening, Server
    from streamstore.server.threads import ServerThread

    with ServerThread(Server(service.store, Listening(port=0), service=service), None) as server:
        yield remote(server.url)
