"""Receives that wait, on a server: no thread each, a record for each, and nothing for whom has gone."""

from __future__ import annotations

import asyncio
import base64
import threading

import pytest

pytest.importorskip("granian")

from queue_calls import make_queue
from waiting_clients import ask, message, until

import streamstore
from streamstore.kinesis import handles, queue_lookup
from streamstore.kinesis.call import Call
from streamstore.kinesis.receiving import Receiving

LONG = {"WaitTimeSeconds": 20, "VisibilityTimeoutSeconds": 1000}


@pytest.fixture
def stream(store):
    return store.create_stream("s")


@pytest.fixture
def arn(store, stream):
    return make_queue(store.boto3_client(), start="LATEST")


@pytest.fixture
def server(store, arn):
    with streamstore.serve_in_thread(store) as running:
        yield running


def waiting(server, arn, count, **options):
    """That many receives that have found nothing yet."""
    request = {"QueueARN": arn, "Limit": 1, **LONG, **options}
    port = server.server.port
    return [asyncio.ensure_future(ask(port, "ReceiveQueueRecords", request)) for _ in range(count)]


def test_many_wait_and_each_gets_a_record(server, stream, arn):
    """Two hundred, with the threads that the server has anyway; none of them gets what another got."""

    async def run():
        found = waiting(server, arn, 200)
        await until(lambda: server.server.application.under_way == 200)
        threads = threading.active_count()
        stream.put_records([(b"%d" % number, "k") for number in range(200)])
        return threads, await asyncio.wait_for(asyncio.gather(*found), 60)

    threads, answers = asyncio.run(run())
    assert threads < 60
    got = [base64.b64decode(record["Data"]) for answer in answers for record in answer["QueueRecords"]]
    assert sorted(map(int, got)) == list(range(200))


def test_those_behind_the_one_that_watches_have_their_time_too(server, arn):
    """All answer with nothing once it is over, in turn or not."""

    async def run():
        return await asyncio.wait_for(asyncio.gather(*waiting(server, arn, 20, WaitTimeSeconds=1)), 20)

    assert asyncio.run(run()) == [{"QueueRecords": []}] * 20
    assert server.server.application.under_way == 0


def test_whoever_hangs_up_while_waiting_receives_nothing(server, stream, arn, store):
    """Neither the one that watches nor one behind it: the next gets the record, at its first receive."""

    async def run():
        request = message("ReceiveQueueRecords", {"QueueARN": arn, **LONG})
        writers = []
        for _ in range(3):
            _, writer = await asyncio.open_connection("127.0.0.1", server.server.port)
            writer.write(request)
            writers.append(writer)
        await until(lambda: server.server.application.under_way == 3)
        last = waiting(server, arn, 1)
        await until(lambda: server.server.application.under_way == 4)
        for writer in writers:
            writer.close()
        await until(lambda: server.server.application.under_way == 1)
        stream.put_record(b"x", "k")
        return (await asyncio.wait_for(last[0], 20))["QueueRecords"]

    (record,) = asyncio.run(run())
    assert record["ReceiveCount"] == 1
    assert store.open_queue("q").stats()["in_flight"] == 1


def test_what_was_received_for_one_that_is_gone_is_visible_again(service, stream):
    """Records and dead-letter records."""
    arn = make_queue(service.store.boto3_client())
    call = Call(service, service.store, service.caller, "ReceiveQueueRecords", service.now_us())
    found = queue_lookup.find(call, arn)
    stream.put_record(b"x", "k")
    queue = service.store.open_queue("q")
    for kind in (handles.LIVE, handles.DEAD):
        for _ in range(2):
            receiving = Receiving(call, found, kind, 10, 0, 1_000_000_000)
            assert len(receiving.poll()["QueueRecords"]) == 1
            assert not Receiving(call, found, kind, 10, 0, 0).poll()["QueueRecords"]
            receiving.give_back()
        if kind == handles.LIVE:
            queue.get().dead()


def test_a_server_that_stops_answers_those_who_wait(store, arn):
    """With an empty list, at once."""

    async def run():
        with streamstore.serve_in_thread(store) as server:
            found = waiting(server, arn, 5)
            await until(lambda: server.server.application.under_way == 5)
            server.server.stop()
            return await asyncio.wait_for(asyncio.gather(*found), 8)

    assert asyncio.run(run()) == [{"QueueRecords": []}] * 5


def test_a_queue_that_is_deleted_ends_its_waits(server, arn, store):
    """With the error that it is gone, in both doors."""
    client = store.boto3_client()
    failures = []

    def receive():
        try:
            client.receive_queue_records(QueueARN=arn, WaitTimeSeconds=20)
        except client.exceptions.ResourceNotFoundException as error:
            failures.append(error)

    async def run():
        found = waiting(server, arn, 3)
        await until(lambda: server.server.application.under_way == 3)
        store.delete_queue("q")
        return await asyncio.wait_for(asyncio.gather(*found), 15)

    thread = threading.Thread(target=receive)
    thread.start()
    answers = asyncio.run(run())
    thread.join(15)
    assert [answer["__type"] for answer in answers] == ["ResourceNotFoundException"] * 3
    assert len(failures) == 1


def test_threads_wait_in_turn_in_process(store, arn, stream):
    """Each gets a record of its own."""
    client, found = store.boto3_client(), []

    def receive():
        found.extend(client.receive_queue_records(QueueARN=arn, Limit=1, WaitTimeSeconds=20)["QueueRecords"])

    threads = [threading.Thread(target=receive) for _ in range(8)]
    for thread in threads:
        thread.start()
    stream.put_records([(b"%d" % number, "k") for number in range(8)])
    for thread in threads:
        thread.join(20)
    assert sorted(record["Data"] for record in found) == [b"%d" % number for number in range(8)]
