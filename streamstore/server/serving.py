"""A server around an open store: where it may listen, starting, stopping. Knows granian, and no operation."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from streamstore import InvalidArgumentError, StorageError, Store, StreamStoreError
from streamstore.kinesis.service import Service
from streamstore.server import credentials, loop
from streamstore.server.app import Application
from streamstore.server.gate import Gate

DRAIN_SECONDS = 10.0
BACKLOG = 1024
CONNECTIONS_MAX = 8192  # more wait to be accepted


@dataclass(frozen=True)
class Listening:
    """Where and how a server listens. Port 0 takes a free one."""

    host: str = "127.0.0.1"
    port: int = 4567
    certificate: str | None = None
    key: str | None = None
    credentials: str | None = None
    insecure: bool = False
    allowed_hosts: Sequence[str] = ()

    def check(self) -> None:
        """Raise InvalidArgumentError where it would be open to a network without authentication and TLS."""
        if (self.certificate is None) != (self.key is None):
            raise InvalidArgumentError("a certificate and its key go together")
        if not 0 <= self.port < 65536:
            raise InvalidArgumentError(f"a port is 0 to 65535, not {self.port}")
        if self.insecure or _is_loopback(self.host):
            return
        if self.credentials is None or self.certificate is None:
            raise InvalidArgumentError(
                f"{self.host} can be reached from other machines: give credentials and TLS, or say --insecure"
            )

    def check_files(self) -> None:
        """Raise InvalidArgumentError where a file that it names cannot be read, or has not the form."""
        if self.credentials is not None:
            credentials.load(self.credentials)
        for path in filter(None, (self.certificate, self.key)):
            try:
                open(path, "rb").close()
            except OSError as error:
                raise InvalidArgumentError(f"{path}: {error.strerror}") from None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Server:
    """A server over an open store; `run` serves in the present thread's new event loop until `stop`."""

    def __init__(self, store: Store, listening: Listening | None = None, *, service: Service | None = None) -> None:
        self.listening = listening or Listening()
        self.listening.check()
        _check_installed()
        keys = None if self.listening.credentials is None else credentials.load(self.listening.credentials)
        self.service = service or Service(store)
        self.application = Application(self.service, Gate(self.service, keys), self.listening.allowed_hosts)
        self.port = _free_port(self.listening.host, self.listening.port)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wanted_down = threading.Event()
        self._down: asyncio.Event | None = None

    @property
    def url(self) -> str:
        """Where clients find it."""
        scheme = "http" if self.listening.certificate is None else "https"
        host = self.listening.host
        if host in ("0.0.0.0", "::"):
            host = "127.0.0.1"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"

    def run(self, on_ready: Callable[[], None] = lambda: None) -> None:
        """Serve until `stop`; then answer what is under way, end subscriptions, and return.

        In the main thread SIGTERM and SIGINT stop it too. `on_ready` is called once it answers.
        """
        loop.run(self._serve(on_ready))

    def stop(self) -> None:
        """Have `run` return, from any thread or signal handler."""
        self._wanted_down.set()
        loop, down = self._loop, self._down
        if loop is not None and down is not None:
            try:
                loop.call_soon_threadsafe(down.set)
            except RuntimeError:
                return  # it has ended already

    def wait_ready(self, seconds: float = 10.0) -> None:
        """Return once it answers. Raises StorageError where it does not in time."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                with socket.create_connection((self._probed_host(), self.port), timeout=1):
                    return
            except OSError:
                time.sleep(0.005)
        raise StorageError(f"the server does not listen at {self.url}")

    def _probed_host(self) -> str:
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.listening.host, self.listening.host)

    async def _serve(self, on_ready: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._loop.add_signal_handler(number, self.stop)
        self._down = asyncio.Event()
        if self._wanted_down.is_set():
            return
        if isinstance(self._loop, loop.Loop):
            self.application.stand_at(self._loop)
        granian = _granian(self.application, self.listening, self.port)
        serving = asyncio.ensure_future(granian.serve())
        stopping = asyncio.ensure_future(self._down.wait())
        await asyncio.to_thread(self.wait_ready)
        on_ready()
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        await self.application.drain(DRAIN_SECONDS)
        granian.interrupt_signal = True
        granian.main_loop_interrupt.set()
        try:
            await serving
        finally:
            stopping.cancel()
            self.application.close()


def _check_installed() -> None:
    for name in ("granian", "orjson", "cbor2"):
        try:
            __import__(name)
        except ImportError:
            raise StreamStoreError(f"{name} is not installed: pip install 'streamstore-kinesis[server]'") from None


def _free_port(host: str, port: int) -> int:
    """The port, or a free one for 0. StorageError where somebody listens there: granian would share it in silence."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            failure = StorageError(f"cannot listen at {host} port {port}: {os.strerror(error.errno or 0)}")
            failure.errno = error.errno or 0
            raise failure from None
        return int(probe.getsockname()[1])


def _granian(application: Application, listening: Listening, port: int) -> Any:
    from pathlib import Path

    from granian.constants import HTTPModes, Interfaces, SSLProtocols
    from granian.http import HTTP1Settings, HTTP2Settings
    from granian.server.embed import Server as Granian

    tls: dict[str, Any] = {}
    if listening.certificate is not None and listening.key is not None:
        tls = {"ssl_cert": Path(listening.certificate), "ssl_key": Path(listening.key)}
        tls["ssl_protocol_min"] = SSLProtocols.tls12
    return Granian(
        application,
        address=listening.host,
        port=port,
        interface=Interfaces.RSGI,
        http=HTTPModes.auto,
        websockets=False,
        backlog=BACKLOG,
        backpressure=CONNECTIONS_MAX,
        http1_settings=HTTP1Settings(header_read_timeout=10_000),
        http2_settings=HTTP2Settings(
            max_concurrent_streams=2000, max_headers_size=64 << 10, keep_alive_interval=60_000, keep_alive_timeout=30
        ),
        log_enabled=False,
        **tls,
    )
