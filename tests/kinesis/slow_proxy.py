"""A slow and bad network in front of a server: a TCP proxy that delays, stalls and cuts, by a fixed rhythm."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from urllib.parse import urlsplit

CHUNK_SIZE = 1 << 16
DELAY_MAX_S = 0.01
GIVE_UP_S = 30
LOST_EVERY, UNANSWERED_EVERY, LATE_EVERY = 5, 7, 13


class _Connection:
    """A client's connection, and the one to the server for it."""

    def __init__(self, network: SlowProxy, client: socket.socket, server: socket.socket) -> None:
        self._network = network
        self._client, self._server = client, server
        self._answered = threading.Event()
        self._is_cut = False  # once there is an answer, which goes nowhere
        self.threads = [threading.Thread(target=pump) for pump in (self._requests, self._answers)]
        for thread in self.threads:
            thread.start()

    def _requests(self) -> None:
        with contextlib.suppress(OSError):
            while piece := self._client.recv(CHUNK_SIZE):
                fate = self._network.fate()
                if fate == "lost":
                    break
                self._is_cut = self._is_cut or fate == "unanswered"
                if fate == "late":  # it arrives when whoever sent it has given up
                    while more := self._client.recv(CHUNK_SIZE):
                        piece += more
                self._answered.clear()
                self._server.sendall(piece)
                if fate == "late":
                    self._answered.wait(GIVE_UP_S)
        self.cut()

    def _answers(self) -> None:
        with contextlib.suppress(OSError):
            while piece := self._server.recv(CHUNK_SIZE):
                self._answered.set()
                if self._is_cut:
                    break
                self._client.sendall(piece)
        self._answered.set()
        self.cut()

    def cut(self) -> None:
        """End both."""
        for each in (self._client, self._server):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


class SlowProxy:
    """Forwards connections to a server: untouched while `calm`, then each piece of a request after a while. Every so
    often a request is `lost` with its connection, or its answer is (`unanswered`), or it arrives once its sender has
    closed the connection (`late`): how often is counted under these names.
    """

    def __init__(self, server_url: str) -> None:
        parts = urlsplit(server_url)
        self._server = (parts.hostname, parts.port)
        self._dice = random.Random(1)
        self._lock = threading.Lock()
        self._connections: list[_Connection] = []
        self._door = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._door.getsockname()[1]}"
        self.calm = True
        self._pieces = 0
        self.counts = {"": 0, "lost": 0, "unanswered": 0, "late": 0}
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def __enter__(self) -> SlowProxy:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # wakes whoever accepts
            self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        self._thread.join()
        for connection in self._connections:
            connection.cut()
        for connection in self._connections:
            for thread in connection.threads:
                thread.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._door.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._server)
            except OSError:
                client.close()
                continue
            self._connections.append(_Connection(self, client, server))

    def fate(self) -> str:
        """What becomes of the next piece of a request, after its delay."""
        if self.calm:
            return ""
        with self._lock:
            self._pieces += 1
            delay_s = self._dice.random() * DELAY_MAX_S
            fates = {LOST_EVERY: "lost", UNANSWERED_EVERY: "unanswered", LATE_EVERY: "late"}
            found = next((name for every, name in fates.items() if self._pieces % every == 0), "")
            self.counts[found] += 1
        time.sleep(delay_s)
        return found
