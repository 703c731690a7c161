"""A program that kills workers of one queue, half of them in Python and half over HTTP, and the server between them.

Everybody notes what was done, line by line, as in `kill_workers`; a receive over HTTP with the time at which it began,
as its answer may come late. Ends with status 0 and a line of figures, or with a line that says what was broken.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import kill_workers
import msgpack
import proof
from kill_workers import POISON_EVERY

VISIBILITY_S = 3
"""Of what is received over HTTP: only time takes it from a worker that was killed."""
_SIGNATURE = (
    "AWS4-HMAC-SHA256 Credential=any/20260101/us-east-1/kinesis/aws4_request, SignedHeaders=host, Signature=" + "0" * 64
)


class Api:
    """The Kinesis API at a port, by plain HTTP; connects again, and asks again, for as long as there is no answer."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connection: http.client.HTTPConnection | None = None

    def call(self, operation: str, **request: Any) -> Any:
        """The answer to a request, which may have been carried out more than once."""
        headers = {
            "content-type": "application/x-amz-json-1.1",
            "x-amz-target": f"Kinesis_20131202.{operation}",
            "x-amz-date": "20260101T000000Z",
            "authorization": _SIGNATURE,
        }
        while True:
            try:
                if self._connection is None:
                    self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
                self._connection.request("POST", "/", json.dumps(request), headers)
                answer = self._connection.getresponse()
                body = answer.read()
            except (OSError, http.client.HTTPException):
                self._connection = None
                time.sleep(0.02)
                continue
            if answer.status == 200:
                return json.loads(body)
            if answer.status != 503:  # the server is stopping
                raise proof.Failure(f"{operation} answered {answer.status}: {body[:500]!r}")


def work_over_http(port: int, seed: int, notes: int) -> None:
    """Receive, note it, and acknowledge; what is poison is made visible again at once."""
    chance = random.Random(seed)
    api = Api(port)
    arn = api.call("ListQueues")["QueueSummaries"][0]["QueueARN"]
    while True:
        began = time.monotonic_ns()
        options = {"WaitTimeSeconds": 1, "VisibilityTimeoutSeconds": VISIBILITY_S, "Limit": chance.choice((1, 3, 10))}
        records = api.call("ReceiveQueueRecords", QueueARN=arn, **options)["QueueRecords"]
        numbers = {item["ReceiptHandle"]: msgpack.unpackb(base64.b64decode(item["Data"]))[0] for item in records}
        now, until = time.monotonic_ns(), began + VISIBILITY_S * 1_000_000_000
        os.write(notes, b"".join(b"R %d %d %d %d 0\n" % (number, began, now, until) for number in numbers.values()))
        good = [{"ReceiptHandle": handle} for handle, number in numbers.items() if number % POISON_EVERY]
        bad = [
            {"ReceiptHandle": handle, "VisibilityTimeoutSeconds": 0}
            for handle, number in numbers.items()
            if not number % POISON_EVERY
        ]
        if bad:
            now = time.monotonic_ns()
            given = [numbers[item["ReceiptHandle"]] for item in bad]
            os.write(notes, b"".join(b"G %d %d\n" % (number, now) for number in given))
            api.call("UpdateQueueRecordsVisibility", QueueARN=arn, Entries=bad)
        if good:
            answer = api.call("AcknowledgeQueueRecords", QueueARN=arn, Entries=good)
            now = time.monotonic_ns()
            done = [numbers[item["ReceiptHandle"]] for item in answer["Successful"]]
            os.write(notes, b"".join(b"K %d %d\n" % (number, now) for number in done))


def work_in_python(path: Path, seed: int, notes: int) -> None:
    """As the worker of `kill_workers`, with a pause between two receives, so as to leave something to the others."""
    chance = random.Random(seed)
    kill_workers.work(path, seed, notes, lambda: time.sleep(chance.random() * 0.1))


class Driver(kill_workers.Driver):
    """Beside producers and workers, the parent of a server, which is killed like any worker."""

    acked_once = False  # over HTTP acknowledging again is no failure, so the first one counts

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(options)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.server: subprocess.Popen[str] | None = None
        self.server_kills = 0
        self.server_until = 0.0

    def start_server(self) -> None:
        command = [sys.executable, "-m", "streamstore", "serve", str(self.path), "--port", str(self.port)]
        self.server = subprocess.Popen(command, stdout=subprocess.PIPE, preexec_fn=proof.die_with_parent, text=True)
        assert self.server.stdout is not None
        with self.server.stdout as said:  # it says no more than that it listens
            if not said.readline():
                raise proof.Failure("the server did not start")
        self.server_until = time.monotonic() + 1 + 2 * self.chance.random()

    def start_worker(self) -> None:
        """Every other one works over HTTP."""
        if self.server is None:
            self.start_server()
        seed = self.chance.randrange(1 << 30)
        if self.started % 2:
            self.add_worker("", lambda notes: work_in_python(self.path, seed, notes))
        else:
            self.add_worker(".http", lambda notes: work_over_http(self.port, seed, notes))

    def finished(self, producers: list[int]) -> bool:
        assert self.server is not None
        if self.server.poll() is not None:
            raise proof.Failure(f"the server ended with {self.server.returncode}")
        # Not before it has answered for a while: half of the work is to be done over HTTP.
        if self.server_kills < self.options.server_kills and time.monotonic() > self.server_until:
            self.stop_server()
            self.server_kills += 1
            self.start_server()
        return super().finished(producers)

    def stop_server(self) -> None:
        assert self.server is not None
        self.server.send_signal(signal.SIGKILL)
        self.server.wait()

    def check(self) -> str:
        self.stop_server()
        done = super().check()
        share = sum(file.read_text().count("K") for file in self.notes.glob("*.http"))
        if not share:
            raise proof.Failure("nobody acknowledged anything over HTTP")
        return f"{done}, {self.server_kills} kills of the server, {share} acknowledgements over HTTP"


if __name__ == "__main__":
    kill_workers.main(Driver, messages=50_000, kills=100, server_kills=10)
