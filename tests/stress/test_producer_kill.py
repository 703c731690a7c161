"""kill -9 of the server under a producer, again and again: every future that says stored is on disk where it says."""

from __future__ import annotations

import random
import socket
import threading
import time

import pytest
from producing import check_places, places_of
from serving import end, serve

import streamstore
from streamstore.producer import Producer

pytest.importorskip("boto3")
pytest.importorskip("granian")
pytestmark = pytest.mark.stress
TURNS = 8
OPTIONS = {"aws_access_key_id": "any", "aws_secret_access_key": "any", "region_name": "us-east-1"}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("ordered", [False, True])
def test_every_future_tells_the_truth(tmp_path, ordered):
    """Over kills at random moments and splits in between, on a `sync` stream: nothing that was put is lost, what is
    doubled is no more than the tries whose answer never came, and with preserve_order the last copies keep the order.
    """
    dice = random.Random(2)
    path = tmp_path / "d"
    with streamstore.open(path) as store:
        store.create_stream("s", shard_count=2)
    port = free_port()
    process, _ = serve(path, "--port", str(port))
    knobs = {"record_max_buffered_time": 10, "aggregation_max_size": 2_000, "connect_timeout": 1_000}
    futures = []
    stop = threading.Event()
    with Producer(
        f"http://127.0.0.1:{port}", "s", client_options=OPTIONS, request_timeout=5_000, preserve_order=ordered, **knobs
    ) as producer:

        def put():
            while not stop.is_set():
                number = len(futures)
                futures.append(producer.put_record(b"%d" % number, f"key-{number % 9}"))
                if number % 20 == 0:
                    time.sleep(0.002)

        thread = threading.Thread(target=put)
        thread.start()
        for turn in range(TURNS):
            time.sleep(dice.random())
            end(process, kill=True)
            if turn % 3 == 1:
                with streamstore.open(path) as store:
                    stream = store.stream("s")
                    stream.split_shard(next(shard.id for shard in stream.shards() if not shard.is_closed))
            process, _ = serve(path, "--port", str(port))
        time.sleep(0.5)
        stop.set()
        thread.join()
        producer.flush(timeout=60)
    end(process)
    with streamstore.open(path) as store:
        records = list(store.stream("s").read(deaggregate="strict"))
    check_places(futures, places_of(records))
    failed = [each.error_code for future in futures for each in future.attempts if each.error_code]
    unanswered = [code for code in failed if code not in ("Wrong Shard", "EndpointConnectionError")]
    print(f"{len(futures)} user records, {len(failed)} tries failed, {len(records) - len(futures)} copies too many")
    assert len(records) - len(futures) <= len(unanswered)
    assert failed
    if ordered:
        last = {int(record.data): place for place, record in enumerate(records)}
        for key in range(9):
            own = [last[number] for number in range(key, len(futures), 9)]
            assert own == sorted(own)
