"""A pytest plugin (installed with the package): a Kinesis to test against, its clock, and faults on request.

    def test_mine(kinesis, streamstore_clock):          # a boto3 client on a temporary store, and its clock
        kinesis.create_stream(StreamName="s", ShardCount=1)
        streamstore_clock.advance(hours=25)             # iterators expire, records age past retention

Fixtures of one test share one store: `kinesis` (boto3, in process), `kinesis_server` (an endpoint URL),
`streamstore_clock`, `streamstore_faults`, `kinesis_service` (the service itself).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from streamstore.kinesis.faults import Faults
    from streamstore.kinesis.service import Service


def pytest_addoption(parser: pytest.Parser) -> None:
    """The seed of `streamstore_faults`."""
    group = parser.getgroup("streamstore")
    group.addoption(
        "--streamstore-seed", type=int, default=0, help="Seed of the faults that tests ask streamstore for."
    )


class Clock:
    """The clock of the test's service: runs with the wall, and ahead of it by what was advanced."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def advance(self, *, hours: float = 0, minutes: float = 0, seconds: float = 0) -> None:
        """Move on: iterators expire, records age past retention, subscriptions and visibility timeouts end."""
        self._service.advance(round(((hours * 60 + minutes) * 60 + seconds) * 1_000_000))

    @property
    def now(self) -> float:
        """Seconds since 1970, by this clock."""
        return self._service.now_us() / 1_000_000


@pytest.fixture
def kinesis_service(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Service]:
    """The service behind the other fixtures, over a store of its own that goes with the test."""
    import streamstore
    from streamstore.kinesis.faults import Faults
    from streamstore.kinesis.service import Service
    from streamstore.retention import TrustedClock

    ring = str(tmp_path / "streamstore.keys")
    with streamstore.open(tmp_path / "streamstore", durability="process", maintenance=False, key_ring=ring) as store:
        service = Service(store)
        service.faults = Faults(request.config.getoption("--streamstore-seed"))
        store.clock = TrustedClock(lambda: 0, service.now_us)
        yield service


@pytest.fixture
def kinesis(kinesis_service: Service) -> Any:
    """A real boto3 client for Kinesis, answered in this process."""
    from streamstore.kinesis.door import client

    return client(kinesis_service.store, service=kinesis_service)


@pytest.fixture
def kinesis_server(kinesis_service: Service) -> Iterator[str]:
    """The endpoint URL of a server over the same store."""
    from streamstore.server.serving import Listening, Server
    from streamstore.server.threads import ServerThread

    server = Server(kinesis_service.store, Listening(port=0), service=kinesis_service)
    with ServerThread(server, None) as running:
        yield running.url


@pytest.fixture
def streamstore_clock(kinesis_service: Service) -> Clock:
    """Moves the service's time on."""
    return Clock(kinesis_service)


@pytest.fixture
def streamstore_faults(kinesis_service: Service) -> Faults:
    """Faults by rule, the same at every run: throttle(), fail_every(), fail_some(), drop_answers()."""
    assert kinesis_service.faults is not None
    return kinesis_service.faults
