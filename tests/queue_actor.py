"""One opening of a store with a queue, and what the model test has it do: in this process, or in a child that can be
killed at any moment. Commands and answers are plain values; messages are named by their receipts.
"""

from __future__ import annotations

import os
import queue as std
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from multiprocessing.connection import Client, Connection
from typing import Any

import streamstore
from streamstore import clock, limits
from streamstore.errors import StaleReceiptError, StreamStoreError
from streamstore.queue import engine

STREAM = "clicks"
Options = dict[str, Any]


class Actor:
    """A handle, and the messages that it received."""

    def __init__(self, path: str, over: bool, options: Options) -> None:
        self.store = streamstore.open(path, durability="process", maintenance=False)
        self.queue = self._queue(over, options)
        self.messages: dict[str, Any] = {}

    def _queue(self, over: bool, options: Options) -> Any:
        if not over:
            return self.store.queue("jobs", **options)
        self.store.create_stream(STREAM, exist_ok=True, shard_count=1)
        if "jobs" not in self.store.list_queues():
            return self.store.create_queue("jobs", STREAM, start="TRIM_HORIZON", codec="msgpack", **options)
        return self.store.open_queue("jobs")

    def put(self, bodies: list[int], key: str | None, delay: float, ids: list[str] | None) -> list[tuple[str, str]]:
        """(shard, number) of each, put together or one by one."""
        if len(bodies) == 1:
            done = [self.queue.put(bodies[0], key=key, delay=delay, id=ids[0] if ids else None)]
        else:
            done = self.queue.put_many(bodies, delay=delay, keys=[key] * len(bodies), ids=ids)
        return [(result.shard_id, result.sequence_number) for result in done]

    def get(self, count: int, visibility: float | None) -> list[tuple[int, str, str, int, str | None]]:
        """(body, receipt, number, receives, key) of each message received; none where there is none."""
        try:
            if count == 1:
                found = [self.queue.get(block=False, visibility=visibility)]
            else:
                found = self.queue.get_many(count, block=False, visibility=visibility)
        except std.Empty:
            return []
        self.messages.update((message.receipt, message) for message in found)
        return [(item.body, item.receipt, item.id, item.receive_count, item.key) for item in found]

    def settle(self, receipt: str, act: str) -> None:
        """One of ack, nack, dead by the message that was received here; ack and extend by its receipt elsewhere."""
        message = self.messages.get(receipt)
        if act == "extend":
            self.queue.extend(receipt, 200)
        elif act == "give up":
            self.queue.extend(receipt, 0)
        elif message is None or message.settled:
            self.queue.ack(receipt)
        elif act == "slow nack":
            message.nack(50)
        else:
            getattr(message, act)()

    def is_open(self, receipt: str) -> bool:
        """Was that message received here and not settled?"""
        return receipt in self.messages and not self.messages[receipt].settled

    def is_open_then_ack(self, receipt: str) -> str:
        """Acknowledge, where that was not done yet: "acked" where it is, "" where nothing was done."""
        if not self.is_open(receipt):
            return ""
        try:
            self.messages[receipt].ack()
        except StaleReceiptError:
            return ""
        return "acked"

    def restore(self) -> int:
        return int(self.queue.dead_letters.restore())

    def bury(self) -> int:
        return int(self.queue.dead_letters.purge())

    def purge(self) -> int:
        return int(self.queue.purge())

    def dead(self) -> list[int]:
        """The bodies of all dead letters, in their order."""
        return [letter.body for letter in self.queue.dead_letters]

    def dead_count(self) -> int:
        return len(self.queue.dead_letters)

    def maintain(self) -> list[str]:
        return list(self.store.maintain().problems)

    def roll(self) -> None:
        """Cut the delivery log now."""
        journal = self.queue.engine.journal
        with journal.lock:
            self.queue.engine.state()
            journal.roll()

    def stats(self) -> dict[str, int]:
        return dict(self.queue.stats())

    def receives(self) -> dict[int, int]:
        """How often each message in flight or waiting was received, by its number in the engine."""
        journal = self.queue.engine.journal
        with journal.lock:
            self.queue.engine.state()
            journal.refresh()
            return {name: delivery.receives for name, delivery in journal.state.live.items()}

    def clear(self) -> None:
        """Let the stream forget every record, as retention does."""
        self.queue.stream.clear()

    def reshard(self, count: int) -> None:
        self.queue.stream.update_shard_count(count)

    def lineage(self) -> dict[str, list[str]]:
        """The parents of each shard."""
        return {shard.id: [item for item in shard.parents if item] for shard in self.queue.stream.shards()}

    def close(self) -> None:
        self.store.close()


class Nursery:
    """A process that has everything imported and forks children at once, each with a connection of its own."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="queue-nursery-")
        self.address = os.path.join(self._directory.name, "door")
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = subprocess.Popen(
            [sys.executable, __file__, self.address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    def close(self) -> None:
        """End it; its children live as long as they are talked to."""
        self._process.communicate()
        self._directory.cleanup()


class ChildActor:
    """An Actor in a process of its own: the same calls; an error comes as its name."""

    def __init__(self, nursery: Nursery, path: str, over: bool, options: Options, now_us: int) -> None:
        self._pipe: Any = Client(nursery.address)
        self._pipe.send((path, over, options, now_us))
        self._process = os.pidfd_open(self._pipe.recv())

    def ask(self, name: str, *arguments: Any) -> Any:
        """The answer of a call, or (error name, text) where it raised."""
        self._pipe.send((name, arguments))
        return self._pipe.recv()

    def kill(self, name: str = "", *arguments: Any, after_s: float = 0) -> Any:
        """Kill it, right after it was told to do something where `name` is given; its answer if it still came."""
        if self._pipe.closed:
            return None
        answered = False
        if name:
            self._pipe.send((name, arguments))
            answered = self._pipe.poll(after_s)
        signal.pidfd_send_signal(self._process, signal.SIGKILL)
        select.select([self._process], [], [])
        os.close(self._process)
        answer = self._pipe.recv() if answered else None
        self._pipe.close()
        return answer


class LocalActor:
    """An Actor here, behind the calls of ChildActor."""

    def __init__(self, path: str, over: bool, options: Options, kind: type[Actor] = Actor) -> None:
        self.actor = kind(path, over, options)

    def ask(self, name: str, *arguments: Any) -> Any:
        return _answer(self.actor, name, arguments)

    def kill(self) -> None:
        """Close it: as good as dead to the others."""
        self.actor.close()


def _answer(actor: Actor, name: str, arguments: tuple[Any, ...]) -> Any:
    try:
        return getattr(actor, name)(*arguments)
    except StreamStoreError as error:
        return type(error).__name__, str(error)


def moved_wall_us(now_us: int) -> int:
    """What the wall clock shows when the boot clock shows that: time passes for both."""
    return now_us + (time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)) // 1000


def freeze(now_us: int) -> None:
    """Stop the boot clock of this process there, and the wall clock with it."""
    clock.boot_ns, clock.now_us = lambda: now_us * 1000, lambda: moved_wall_us(now_us)


def shorten() -> None:
    """Cut logs often, and look for the dead at every receive."""
    limits.JOURNAL_ROLL_SIZE = 8 * limits.KIB
    engine.LOOK_US = 0


def _serve(pipe: Any) -> None:
    path, over, options, now_us = pipe.recv()
    shorten()
    freeze(now_us)
    actor = Actor(path, over, options)
    pipe.send(os.getpid())
    while True:
        name, arguments = pipe.recv()
        if name == "freeze":
            freeze(*arguments)
            pipe.send(None)
        else:
            pipe.send(_answer(actor, name, arguments))


def _nurse(address: str) -> None:
    """Fork a child for whoever comes, until nobody is at the other end."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(address)
        door.listen()
        os.write(1, b"ready\n")
        while True:
            coming, _, _ = select.select([door, 0], [], [])
            if 0 in coming:
                return
            visitor, _ = door.accept()
            if not os.fork():
                with suppress(EOFError, ConnectionError):
                    _serve(Connection(visitor.detach()))
                os._exit(0)
            visitor.close()


if __name__ == "__main__":
    _nurse(sys.argv[1])
