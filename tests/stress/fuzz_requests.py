"""Fuzzed requests against the service and its gate: prints what was sent and what came back, and fails for a 5xx or for
a request that got past the gate without a right signature, or without the right to do what it asks.

    python fuzz_requests.py --requests 1000000 --seed 1 [--figures]
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import random
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from odd_requests import Maker

import streamstore
from streamstore.kinesis import wire
from streamstore.kinesis.operations import OPERATIONS
from streamstore.kinesis.service import Service
from streamstore.kinesis.wire import HttpRequest
from streamstore.server import credentials
from streamstore.server.gate import Gate

ROUND = 20_000  # requests to one store, which fuzzed splits make slower
SECRET = "a+secret/with=characters"
RIGHTS = {"root": {"read", "write", "admin"}, "reader": {"read"}, "writer": {"write"}}
STREAMS = {"root": "*", "reader": "*", "writer": "clicks"}


class Watched(Service):
    """Notes what got as far as being carried out."""

    reached = ""

    def call(self, operation: Any, request: Any, caller: Any) -> Any:
        """Note the operation, and carry it out."""
        self.reached = operation.name
        return super().call(operation, request, caller)


def key_file(directory: Path) -> str:
    """The keys of this run."""
    path = directory / "keys.json"
    path.touch(0o600)
    keys = [
        {
            "access_key_id": name,
            "secret_access_key": SECRET + name,
            "rights": sorted(rights),
            "streams": [STREAMS[name]],
        }
        for name, rights in RIGHTS.items()
    ]
    path.write_text(json.dumps({"keys": keys}), encoding="utf-8")
    return str(path)


def signed(request: HttpRequest, key: str, secret: str | None = None, service: str = "kinesis") -> HttpRequest:
    """The request as botocore signs it."""
    address = f"http://localhost{request.path}" + (f"?{request.query}" if request.query else "")
    asked = AWSRequest(request.method, address, headers=dict(request.headers), data=request.body)
    SigV4Auth(Credentials(key, SECRET + key if secret is None else secret), service, "us-east-1").add_auth(asked)
    return request._replace(headers={name.lower(): str(value) for name, value in asked.headers.items()})


def tampered(request: HttpRequest, dice: random.Random) -> HttpRequest:
    """The signed request with one thing changed that is signed, or the signature itself."""
    headers = dict(request.headers)
    kind = dice.randrange(7)
    if kind == 0:
        return request._replace(body=request.body + b" ")
    if kind == 1:
        return request._replace(query=request.query + "&z=1")
    if kind == 2:
        others = {f"Kinesis_20131202.{name}" for name in OPERATIONS} - {headers["x-amz-target"]}
        headers["x-amz-target"] = dice.choice(sorted(others))
    elif kind == 3:
        headers["x-amz-date"] = f"{int(headers['x-amz-date'][:8]) + 1}{headers['x-amz-date'][8:]}"
    elif kind == 4:
        last = headers["authorization"][-1]
        headers["authorization"] = headers["authorization"][:-1] + ("0" if last != "0" else "1")
    elif kind == 5:
        who = "writer" if "Credential=root" in headers["authorization"] else "root"
        before, _, rest = headers["authorization"].partition("Credential=")
        headers["authorization"] = f"{before}Credential={who}/{rest.partition('/')[2]}"
    else:
        headers["x-amz-extra"] = "unsigned"
    return request._replace(headers=headers)


class Run:
    """One run's figures."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.maker = Maker(self.dice)
        self.statuses: collections.Counter[str] = collections.Counter()
        self.failures: list[str] = []
        self.bypasses: list[str] = []

    def round(self, directory: Path, count: int) -> None:
        """So many requests to a new store, by turns through the open gate and the one that verifies."""
        options: dict[str, Any] = {"durability": "process", "key_ring": directory / "keys"}
        with streamstore.open(directory / "store", **options) as store:
            service = Watched(store)
            for name in ("s", "clicks"):
                store.create_stream(name, 2)
                store.stream(name).put_records([(b"%d" % number, f"k{number}") for number in range(20)])
            gates = Gate(service, None), Gate(service, credentials.load(key_file(directory)))
            for number in range(count):
                if number % 500 == 0:
                    self._fill(store, service)
                if number % 3:
                    self._open(service, gates[0])
                else:
                    self._verified(service, gates[1])

    def _fill(self, store: Any, service: Service) -> None:
        pool = self.maker.pool
        pool.clear()
        kinesis = store.boto3_client()
        for name in store.list_streams()[:5]:
            stream = store.stream(name)
            pool.setdefault("StreamARN", []).append(stream.arn)
            pool.setdefault("ResourceARN", []).append(stream.arn)
            for shard in stream.shards()[-4:]:
                pool.setdefault("ShardId", []).append(shard.id)
                found = kinesis.get_shard_iterator(StreamName=name, ShardId=shard.id, ShardIteratorType="TRIM_HORIZON")
                pool.setdefault("ShardIterator", []).append(found["ShardIterator"])
            pool.setdefault("SequenceNumber", []).extend(record.sequence_number for record in stream.last(2))
            if len(kinesis.list_stream_consumers(StreamARN=stream.arn)["Consumers"]) == 0:
                kinesis.register_stream_consumer(StreamARN=stream.arn, ConsumerName="c")
            for consumer in kinesis.list_stream_consumers(StreamARN=stream.arn)["Consumers"]:
                pool.setdefault("ConsumerARN", []).append(consumer["ConsumerARN"])
        if not kinesis.list_queues()["QueueSummaries"] and "StreamARN" in pool:
            kinesis.create_queue(QueueName="q", StreamConfigurationList=[{"StreamARN": pool["StreamARN"][0]}])
        for queue in kinesis.list_queues()["QueueSummaries"]:
            arn = queue["QueueARN"]
            pool.setdefault("QueueARN", []).append(arn)
            pool.setdefault("ResourceARN", []).append(arn)
            kinesis.put_record(StreamARN=pool["StreamARN"][0], Data=b"for the queue", PartitionKey="k")
            records = kinesis.receive_queue_records(QueueARN=arn, WaitTimeSeconds=1).get("QueueRecords", [])
            pool.setdefault("ReceiptHandle", []).extend(record["ReceiptHandle"] for record in records)
        page = kinesis.list_streams(Limit=1)
        pool["NextToken"] = [page[name] for name in ("NextToken",) if name in page] or ["token"]
        pool["HashKey"] = [str(self.dice.getrandbits(128)) for _ in range(3)]

    def _ask(self, service: Watched, gate: Gate, request: HttpRequest) -> tuple[int, str]:
        service.reached = ""
        answer = wire.answer(service, request, gate.who, gate.allow)
        kind = dict(answer.headers).get("x-amzn-errortype", "")
        if answer.subscription is not None:
            answer.subscription.poll()
            answer.subscription.close()
        self.statuses[f"{answer.status} {kind}".strip()] += 1
        if answer.status >= 500:
            self.failures.append(f"{answer.status} {kind}: {shown(request)}")
        return answer.status, service.reached

    def _open(self, service: Watched, gate: Gate) -> None:
        request = self.maker.request()
        chance = self.dice.random()
        if chance < 0.95:
            authorization = (
                "AWS4-HMAC-SHA256 Credential=any/20261121/us-east-1/kinesis/aws4_request, "
                f"SignedHeaders=host;x-amz-date, Signature={'0' * 64}"
            )
            claims = {"authorization": authorization, "x-amz-date": "20261121T000000Z"}
            request.headers.update(claims)  # type: ignore[attr-defined]
            if chance < 0.02:
                cut = self.dice.randrange(len(authorization))
                request.headers["authorization"] = authorization[:cut]  # type: ignore[index]
        self._ask(service, gate, request)

    def _verified(self, service: Watched, gate: Gate) -> None:
        request, dice = self.maker.request(), self.dice
        if request.method not in ("POST", "PUT") or not request.path.startswith("/") or not _can_be_signed(request):
            self._hold(service, gate, request, None)
            return
        kind = dice.randrange(6)
        if kind < 3:
            key = dice.choice(list(RIGHTS))
            self._hold(service, gate, signed(request, key), key)
        elif kind == 3:
            self._hold(service, gate, tampered(signed(request, dice.choice(list(RIGHTS))), dice), None)
        elif kind == 4:
            key, secret = dice.choice([("root", "wrong"), ("nobody", None), ("root", ""), ("ROOT", SECRET + "root")])
            self._hold(service, gate, signed(request, key, secret), None)
        else:
            other = signed(request, "root", service="dynamodb")
            other.headers.pop(dice.choice(["authorization", "x-amz-date", "none"]), None)  # type: ignore[attr-defined]
            self._hold(service, gate, other, None)

    def _hold(self, service: Watched, gate: Gate, request: HttpRequest, key: str | None) -> None:
        """Ask, and see that what was carried out is what this key may do; no key may do nothing."""
        status, reached = self._ask(service, gate, request)
        operation = service.operation(reached) if reached else None
        allowed = key is not None and (operation is None or operation.right in RIGHTS[key])
        if (reached or status == 200) and not allowed:
            self.bypasses.append(f"{reached} by {key}: {shown(request)}")


def _can_be_signed(request: HttpRequest) -> bool:
    return all(value.isascii() and value.isprintable() for value in request.headers.values()) and request.query == ""


def shown(request: HttpRequest) -> str:
    """A request in a line."""
    return f"{request.method} {request.path}?{request.query} {dict(request.headers)} {request.body[:500]!r}"


def main() -> None:
    """Run, print, and end with 1 where something was wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--figures", action="store_true", help="leave them in build/proof/requests.json")
    options = parser.parse_args()
    run, left, begun = Run(options.seed), options.requests, time.monotonic()
    with contextlib.suppress(KeyboardInterrupt):  # its figures are those of what it came to
        while left > 0:
            with tempfile.TemporaryDirectory() as directory:
                run.round(Path(directory), min(left, ROUND))
            left -= ROUND
    asked = sum(run.statuses.values())
    for status, count in run.statuses.most_common():
        print(f"{count:9} {status}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{asked} requests, seed {options.seed}: {len(run.failures)} of 5xx, {len(run.bypasses)} bypasses, "
        f"peak {peak:.0f} MiB"
    )
    if options.figures:
        from figures import Figures  # of the directory above, which make has in the path

        took = time.monotonic() - begun
        statuses = sum(count for status, count in run.statuses.items() if status.startswith("200"))
        note = f"{len(run.failures)} of 5xx, {len(run.bypasses)} past the gate, {statuses} answered with 200"
        Figures("requests", str(options.seed), asked, 0, 0, 0, 0, 0, took, note).write(tempfile.gettempdir())
    for line in (run.failures + run.bypasses)[:20]:
        print(line)
    sys.exit(1 if run.failures or run.bypasses else 0)


if __name__ == "__main__":
    main()
