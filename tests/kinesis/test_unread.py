"""Large answers that nobody reads: bounded for all together, and nobody who reads pays for it."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from typing import ClassVar

import pytest
from boto_clients import remote
from test_at_once import HEADERS

import streamstore

pytest.importorskip("granian")
from streamstore.server import unread
from streamstore.server.unread import COUNTED_MIN, UNREAD_MAX, Unread

PART = UNREAD_MAX // 4


class Peer:
    """What a connection has taken, as a test says."""

    known: ClassVar[dict[str, Peer]] = {}

    def __init__(self, peer, descriptors):
        self.bytes, self.ended = 0, False
        self.known[peer] = self

    def taken(self):
        return self.bytes

    def end(self):
        self.ended = True


@pytest.fixture
def peers(monkeypatch):
    monkeypatch.setattr(unread, "Connection", Peer)
    monkeypatch.setattr(Peer, "known", {})
    return Peer.known


def test_what_is_on_its_way_is_what_was_given_and_not_taken(peers):
    """Heads and small answers count among what is taken, and buy nobody anything."""
    answers = Unread()
    answers.give("a:1", 100_000)
    assert answers.look() == 100_000
    peers["a:1"].bytes = 40_000
    assert answers.look() == 60_000
    answers.give("a:1", COUNTED_MIN - 1)
    assert answers.look() == 60_000
    peers["a:1"].bytes = 9_000_000
    assert answers.look() == 0
    answers.give("a:1", 100_000)
    answers.give("b:2", 200_000)
    assert answers.look() == 300_000
    peers["b:2"].taken = lambda: None  # gone, and what it was given with it
    assert answers.look() == 100_000
    assert list(answers._given) == ["a:1"]


def test_who_is_too_slow_is_cut_off_the_longest_first_and_only_while_there_is_too_much(peers):
    """One takes nothing, one takes a little all the time, one has only just begun."""
    now = [0.0]
    answers = Unread(lambda: now[0])
    answers.give("still:1", PART)
    answers.give("slow:1", PART)
    answers.give("still:2", PART)
    for _ in range(8):
        now[0] += 0.9
        peers["slow:1"].bytes += 1
        assert answers.look() <= UNREAD_MAX
    assert not any(peer.ended for peer in peers.values())
    answers.give("new:1", PART)
    answers.give("new:2", PART)
    assert answers.look() > UNREAD_MAX
    assert [name for name, peer in peers.items() if peer.ended] == ["still:1"]
    peers["still:1"].taken = lambda: None
    answers.give("new:2", 2 * PART)
    answers.look()
    assert [name for name, peer in peers.items() if peer.ended] == ["still:1", "slow:1", "still:2"]


def test_who_asks_for_more_waits_for_room(peers, monkeypatch):
    """And gets it when what is on its way was taken; a few are made at a time."""
    monkeypatch.setattr(unread, "PAUSE_S", 0.001)
    under_way = []

    async def answer():
        under_way.append(1)
        assert len(under_way) <= unread.LARGE_MADE_AT_ONCE
        await asyncio.sleep(0.001)
        under_way.pop()
        return "made"

    async def main():
        answers = Unread(lambda: 0.0)
        answers.give("a:1", UNREAD_MAX + 1)
        asked = [asyncio.ensure_future(answers.make(answer)) for _ in range(10)]
        await asyncio.sleep(0.05)
        assert not any(each.done() for each in asked)
        assert not under_way
        peers["a:1"].bytes = 1
        assert await asyncio.gather(*asked) == ["made"] * 10

    asyncio.run(asyncio.wait_for(main(), 30))


def test_few_are_made_at_a_time_where_they_were_large_of_late(peers):
    """And at first; a few hundred small ones later, as many as ever."""
    under_way, most = [], []

    async def answer():
        under_way.append(1)
        most.append(len(under_way))
        await asyncio.sleep(0.001)
        under_way.pop()

    async def main():
        answers = Unread()
        small = [1000] * 250
        for sizes, expected in (
            ([], unread.LARGE_MADE_AT_ONCE),  # of which nothing is known yet
            (small, unread.MADE_AT_ONCE),
            ([10 << 20], unread.LARGE_MADE_AT_ONCE),
            (small, unread.MADE_AT_ONCE),
        ):
            for size in sizes:
                answers.give("a:1", size)
            most.clear()
            await asyncio.gather(*(answers.make(answer) for _ in range(30)))
            assert max(most) == expected

    asyncio.run(asyncio.wait_for(main(), 30))


def silent(server, iterator):
    """A connection that has asked for records and does not read."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(30)
    connection.connect(("127.0.0.1", server.server.port))
    body = json.dumps({"ShardIterator": iterator}).encode()
    target = "Kinesis_20131202.GetRecords"
    lines = {"Host": "localhost", **HEADERS, "x-amz-target": target, "Content-Length": len(body)}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    connection.sendall(f"POST / HTTP/1.1\r\n{head}\r\n".encode() + body)
    return connection


def rest(connection):
    """How much it gives until it ends."""
    size = 0
    try:
        while part := connection.recv(1 << 20):
            size += len(part)
    except ConnectionResetError:
        pass
    return size


@pytest.mark.parametrize("pressed", [False, True])
def test_over_http_silent_clients_keep_their_answers_until_others_need_the_room(tmp_path, monkeypatch, pressed):
    """Whoever reads gets all of it either way."""
    if pressed:
        monkeypatch.setattr(unread, "UNREAD_MAX", 1 << 20)
        monkeypatch.setattr(unread, "STANDSTILL_S", 0.2)
    with streamstore.open(tmp_path / "d", durability="process") as store, streamstore.serve_in_thread(store) as server:
        store.create_stream("s", 1).put_records([(bytes([number]) * 1_000_000, "k") for number in range(9)])
        kinesis = remote(server.url)
        found = kinesis.get_shard_iterator(StreamName="s", ShardId="0", ShardIteratorType="TRIM_HORIZON")
        open_ones = [silent(server, found["ShardIterator"]) for _ in range(3)]
        until = time.monotonic() + 20
        while len(server.server.application._unread._given) < (1 if pressed else 3) and time.monotonic() < until:
            time.sleep(0.01)
        for _ in range(2):
            assert len(kinesis.get_records(ShardIterator=found["ShardIterator"])["Records"]) == 9
        if pressed:
            assert all(rest(connection) < 9_000_000 for connection in open_ones[:2])
        else:
            open_ones[0].sendall(b"GET /healthcheck HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert rest(open_ones[0]) > 12_000_000
        for connection in open_ones:
            connection.close()
