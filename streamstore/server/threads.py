"""`serve_in_thread`: a server beside the program that wants it, for tests and notebooks."""

from __future__ import annotations

import os
import threading
from types import TracebackType
from typing import Any

from streamstore import Store, opening
from streamstore.kinesis.encryption import default_ring
from streamstore.kinesis.service import Service, check_limits
from streamstore.server.serving import Listening, Server


class ServerThread:
    """A server in a thread of its own. Context manager; `url` is where it answers."""

    def __init__(self, server: Server, own_store: Store | None) -> None:
        self.server = server
        self.url = server.url
        self.service = server.service
        self._own_store = own_store
        self._thread = threading.Thread(target=server.run, name="streamstore-server", daemon=True)
        self._thread.start()
        try:
            server.wait_ready()
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> ServerThread:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Answer what is under way, end the thread, close the store where it was opened here. Safe to call twice."""
        self.server.stop()
        self._thread.join()
        if self._own_store is not None:
            self._own_store.close()


def serve_in_thread(
    store: Store | str | os.PathLike[str],
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    limits: str = "none",
    isolate: bool = False,
    delays_s: float = 0.0,
    **listening: Any,
) -> ServerThread:
    """Serve an open store, or the one in a directory, over HTTP from a thread of this process; ready at return.

    Port 0 takes a free one. `certificate`, `key`, `credentials` (paths), `insecure` and `allowed_hosts` are those of
    `streamstore serve`; limits, isolate and delays_s those of `Store.boto3_client`. Needs the extra `server`. Raises
    InvalidArgumentError (a network address without authentication and TLS), StorageError (the port is taken).
    """
    wanted = Listening(host, port, **listening)
    wanted.check()
    wanted.check_files()
    check_limits(limits)
    own = None if isinstance(store, Store) else opening.open(store, key_ring=default_ring(store))
    served = own if own is not None else store
    assert isinstance(served, Store)
    try:
        service = Service(served, limits=limits, isolate=isolate, delays_s=delays_s)
        return ServerThread(Server(served, wanted, service=service), own)
    except BaseException:
        if own is not None:
            own.close()
        raise
