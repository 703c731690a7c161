"""A thousand subscribers and a thousand long waits on one server, which goes on answering others: prints what it took.

What others put meanwhile is held to a history (history.py) once the server has ended.

python serve_many.py DIRECTORY --each 1000
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any

import streamstore

sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from history import Found, History, check

PER_STREAM = 20
MARK = b"bWFyaw=="  # in base64
SHARD = "shardId-000000000000"
AUTHORIZATION = (
    "AWS4-HMAC-SHA256 Credential=any/20261121/us-east-1/kinesis/aws4_request, SignedHeaders=host;x-amz-date, "
    "Signature=" + "0" * 64
)


def request(operation: str, body: dict[str, Any]) -> bytes:
    """The request's bytes."""
    data = json.dumps(body).encode()
    head = {
        "Host": "localhost",
        "Content-Type": "application/x-amz-json-1.1",
        "X-Amz-Target": f"Kinesis_20131202.{operation}",
        "X-Amz-Date": "20261121T000000Z",
        "Authorization": AUTHORIZATION,
        "Content-Length": str(len(data)),
    }
    return (
        "POST / HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in head.items()) + "\r\n"
    ).encode() + data


class Client:
    """A kept connection that asks one thing after another."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def begin(self, operation: str, body: dict[str, Any]) -> asyncio.StreamReader:
        """Ask; the connection at the answer's head."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        self._streams[1].write(request(operation, body))
        return self._streams[0]

    async def ask(self, operation: str, body: dict[str, Any]) -> Any:
        """Ask; what is answered, which must be 200."""
        reader = await self.begin(operation, body)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(line.split(":")[1] for line in head.split("\r\n") if line.lower().startswith("content-length"))
        data = await reader.readexactly(int(length))
        assert head.startswith("HTTP/1.1 200"), (head, data)
        return json.loads(data) if data else None

    async def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            self._streams[1].close()
            with contextlib.suppress(ConnectionError):
                await self._streams[1].wait_closed()


async def until(reader: asyncio.StreamReader, mark: bytes) -> None:
    """Read on to the mark, however much comes before it."""
    seen = b""
    while mark not in seen:
        part = await reader.read(1 << 16)
        assert part, "the server hung up"
        seen = seen[-len(mark) :] + part


class Crowd:
    """Those who wait, and when each of them got its record."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.clients: list[Client] = []
        self.ready = 0
        self.got: list[float] = []
        self.tasks: list[asyncio.Task[None]] = []

    def client(self) -> Client:
        """One more connection."""
        self.clients.append(Client(self.port))
        return self.clients[-1]

    def add(self, waiting: Any) -> None:
        """One more that waits."""
        self.tasks.append(asyncio.ensure_future(waiting))

    async def subscribe(self, arn: str) -> None:
        """Hold a subscription until a record with the mark comes."""
        position = {"ConsumerARN": arn, "ShardId": SHARD, "StartingPosition": {"Type": "LATEST"}}
        reader = await self.client().begin("SubscribeToShard", position)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        await reader.readuntil(b"initial-response")
        self.ready += 1
        await until(reader, MARK)
        self.got.append(time.monotonic())

    async def receive(self, arn: str) -> None:
        """Ask for a message until there is one."""
        client = self.client()
        self.ready += 1
        while not (await client.ask("ReceiveQueueRecords", {"QueueARN": arn, "WaitTimeSeconds": 20, "Limit": 1}))[
            "QueueRecords"
        ]:
            pass
        self.got.append(time.monotonic())

    async def all_ready(self, count: int) -> None:
        """Until all hold on to something."""
        while self.ready < count:
            await asyncio.sleep(0.05)
            for task in self.tasks:
                if task.done():
                    task.result()

    async def close(self) -> None:
        """Let all go."""
        for client in self.clients:
            await client.close()


class Server:
    """`streamstore serve`, what it takes, and what was put to it beside those who wait."""

    def __init__(self, directory: str) -> None:
        command = [sys.executable, "-m", "streamstore", "serve", directory, "--port", "0", "--durability", "process"]
        self.history = History()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline().rsplit(":", 1)[1])

    def facts(self) -> tuple[float, int, float]:
        """Private memory in MiB, threads, and processor seconds so far."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as lines:
            status = dict(line.split(":", 1) for line in lines)
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as file:
            fields = file.read().rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])
        return int(status["RssAnon"].split()[0]) / 1024, int(status["Threads"]), ticks / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        """End it as an operator does; it must end with 0."""
        self.process.terminate()
        assert self.process.wait(60) == 0
        assert self.process.stdout is not None
        self.process.stdout.close()


async def pings(client: Client, count: int, history: History) -> list[float]:
    """How long a put of another client takes."""
    times = []
    for n in range(len(history.puts), len(history.puts) + count):
        data = base64.b64encode(b"%d" % n).decode()
        history.invoke(0, n, n + 1, time.monotonic_ns())
        began = time.perf_counter()
        put = await client.ask("PutRecord", {"StreamName": "beside", "Data": data, "PartitionKey": "k"})
        times.append(time.perf_counter() - began)
        history.ok(0, n, put["ShardId"], int(put["SequenceNumber"]), time.monotonic_ns())
    return times


def hold(directory: str, history: History) -> None:
    """Hold what stands now against what was put."""
    with streamstore.open(directory) as store:
        found = [Found(int(record.sequence_number), (0, int(record.data))) for record in store.stream("beside").read()]
    wrong = check(history, {SHARD: found}, by_key=True)
    assert not wrong, wrong[:3]


def shown(times: list[float]) -> str:
    """Median and longest."""
    return f"p50 {statistics.median(times) * 1000:.1f} ms, longest {max(times) * 1000:.0f} ms"


async def subscribers(server: Server, count: int) -> None:
    """So many subscriptions, each of a consumer of its own; then one record to every stream."""
    crowd, client = Crowd(server.port), Client(server.port)
    names = [f"s{number}" for number in range(-(-count // PER_STREAM))]
    for name in names:
        await client.ask("CreateStream", {"StreamName": name, "ShardCount": 1})
        arn = f"arn:aws:kinesis:us-east-1:000000000000:stream/{name}"
        for number in range(min(PER_STREAM, count - len(crowd.tasks))):
            made = await client.ask("RegisterStreamConsumer", {"StreamARN": arn, "ConsumerName": f"c{number}"})
            crowd.add(crowd.subscribe(made["Consumer"]["ConsumerARN"]))
    await crowd.all_ready(count)
    await told(server, crowd, client, names, f"{count} subscribers")


async def receivers(server: Server, count: int) -> None:
    """So many long waits of queues; then as many messages as there are waits."""
    crowd, client = Crowd(server.port), Client(server.port)
    names = [f"q{number}" for number in range(-(-count // PER_STREAM))]
    for name in names:
        await client.ask("CreateStream", {"StreamName": name, "ShardCount": 1})
        streams = [{"StreamARN": f"arn:aws:kinesis:us-east-1:000000000000:stream/{name}"}]
        made = await client.ask("CreateQueue", {"QueueName": name, "StreamConfigurationList": streams})
        for _ in range(min(PER_STREAM, count - len(crowd.tasks))):
            crowd.add(crowd.receive(made["QueueDescription"]["QueueARN"]))
    await crowd.all_ready(count)
    await told(server, crowd, client, names, f"{count} long waits", per_stream=PER_STREAM)


async def told(server: Server, crowd: Crowd, client: Client, names: list[str], what: str, per_stream: int = 1) -> None:
    """What it takes to have them wait, then to serve them all."""
    await asyncio.sleep(1)
    before, began = server.facts()[2], time.monotonic()
    await asyncio.sleep(len(crowd.tasks) / 200)
    memory, threads, after = server.facts()
    idle = (after - before) / (time.monotonic() - began)
    beside = await pings(client, 50, server.history)
    began = time.monotonic()
    for name in names:
        entries = [{"Data": MARK.decode(), "PartitionKey": str(number)} for number in range(per_stream)]
        await client.ask("PutRecords", {"StreamName": name, "Records": entries})
    await asyncio.wait_for(asyncio.gather(*crowd.tasks), 120)
    took = max(crowd.got) - began
    print(
        f"{what}: {threads} threads, {memory:.0f} MiB, {idle * 100:.1f} % of a core while they wait; puts of another "
        f"client {shown(beside)}; all served within {took:.2f} s"
    )
    await crowd.close()
    await client.close()


async def slow_reader(server: Server, count: int) -> None:
    """A subscriber that never reads, while batches of 3 MiB go to its shard and another one reads them all."""
    client, crowd = Client(server.port), Crowd(server.port)
    await client.ask("CreateStream", {"StreamName": "large", "ShardCount": 1})
    arns = []
    for name in ("slow", "quick"):
        arn = "arn:aws:kinesis:us-east-1:000000000000:stream/large"
        made = await client.ask("RegisterStreamConsumer", {"StreamARN": arn, "ConsumerName": name})
        arns.append(made["Consumer"]["ConsumerARN"])
    position = {"ConsumerARN": arns[0], "ShardId": SHARD, "StartingPosition": {"Type": "LATEST"}}
    await crowd.client().begin("SubscribeToShard", position)
    crowd.add(crowd.subscribe(arns[1]))
    await crowd.all_ready(1)
    entries = [{"Data": "A" * (1 << 19), "PartitionKey": "k"} for _ in range(8)]
    times = []
    for _ in range(count):
        began = time.perf_counter()
        await client.ask("PutRecords", {"StreamName": "large", "Records": entries})
        times.append(time.perf_counter() - began)
    await client.ask("PutRecord", {"StreamName": "large", "Data": MARK.decode(), "PartitionKey": "k"})
    began = time.monotonic()
    await asyncio.wait_for(asyncio.gather(*crowd.tasks), 120)
    print(
        f"beside a subscriber that does not read: puts of 3 MiB {shown(times)}, the other one is through "
        f"{time.monotonic() - began:.2f} s after the last, {server.facts()[0]:.0f} MiB"
    )
    await crowd.close()
    await client.close()


async def everything(server: Server, each: int) -> None:
    """All of it, against one server."""
    client = Client(server.port)
    await client.ask("CreateStream", {"StreamName": "beside", "ShardCount": 1})
    times = await pings(client, 50, server.history)
    print(f"nobody waits: {server.facts()[1]} threads, {server.facts()[0]:.0f} MiB; puts {shown(times)}")
    await client.close()
    await subscribers(server, each)
    await receivers(server, each)
    await slow_reader(server, each // 20)


def main() -> None:
    """Serve, and have them wait."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directory")
    parser.add_argument("--each", type=int, default=1000)
    options = parser.parse_args()
    streamstore.open(options.directory).close()
    server = Server(options.directory)
    try:
        asyncio.run(everything(server, options.each))
    except BaseException:
        server.process.kill()
        raise
    server.stop()
    hold(options.directory, server.history)
    print("all were served")


if __name__ == "__main__":
    main()
