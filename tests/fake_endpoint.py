"""A Kinesis endpoint that keeps nothing: it answers after delays of our choosing and notes how long each call took."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class FakeEndpoint:
    """Serves on a port of its own; `delay(n)` says for how many seconds the n-th put is held; below 0 it is refused."""

    def __init__(self, delay: Callable[[int], float] = lambda number: 0.0) -> None:
        self.delay = delay
        self.puts: list[dict[str, Any]] = []
        self.took: list[float] = []
        self.headers: list[dict[str, str]] = []
        self._lock = threading.Lock()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def parse_request(self) -> bool:
                self.began = time.monotonic()  # its first line is there
                return super().parse_request()

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                operation = self.headers["x-amz-target"].partition(".")[2]
                status, answer = endpoint.answer(operation, body, dict(self.headers))
                packed = json.dumps(answer).encode()
                head = f"HTTP/1.1 {status} -\r\ncontent-length: {len(packed)}\r\n\r\n".encode()
                self.wfile.write(head + packed)
                if operation.startswith("PutRecord"):
                    with endpoint._lock:
                        endpoint.took.append(time.monotonic() - self.began)

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # a client that goes away while it is answered

        self._server = Server(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}/made-up"

    def answer(self, operation: str, body: dict[str, Any], headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """What it says to a call."""
        if operation == "CreateStream":
            return 400, {"__type": "com.amazonaws#ResourceInUseException", "message": "it is there"}
        if operation == "DescribeStream":
            return 200, {"StreamDescription": {"StreamStatus": "ACTIVE"}}
        with self._lock:
            number = len(self.puts)
            self.puts.append(body)
            self.headers.append(headers)
        held = self.delay(number)
        if held < 0:
            return 400, {"__type": "ProvisionedThroughputExceededException", "message": "slow down"}
        time.sleep(held)
        if operation == "PutRecord":
            return 200, {"ShardId": "shardId-000000000000", "SequenceNumber": str(number)}
        return 200, {"FailedRecordCount": 1, "Records": []}

    def __enter__(self) -> FakeEndpoint:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
