"""The producer over a network that delays, stalls and cuts: nothing lost, and what is doubled is counted."""

from __future__ import annotations

import pytest
from producing import check_places, places_of
from slow_proxy import SlowProxy

import streamstore
from streamstore.producer import Producer

pytest.importorskip("boto3")
pytest.importorskip("granian")
OPTIONS = {"region_name": "us-east-1", "aws_access_key_id": "a", "aws_secret_access_key": "b"}
KNOBS = {"record_max_buffered_time": 5, "aggregation_max_size": 500, "connect_timeout": 5_000, "record_ttl": 300_000}
ROUNDS, EACH = 15, 40


@pytest.mark.parametrize("aggregated", [True, False])
def test_a_slow_network_loses_nothing(store, aggregated):
    """Each future says where its record stands. One stands twice only where a try of it had no answer in time, and its
    attempts count those.
    """
    store.create_stream("s", shard_count=2)
    with streamstore.serve_in_thread(store) as server, SlowProxy(server.url) as network:
        options = {"client_options": OPTIONS, "request_timeout": 1_500, "aggregation_enabled": aggregated}
        with Producer(network.url, "s", **KNOBS, **options) as producer:
            network.calm = False
            futures = []
            for _ in range(ROUNDS):
                for number in range(EACH):
                    futures.append(producer.put_record(b"%d" % len(futures), f"key-{number}"))
                producer.flush(timeout=120)
        found = places_of(store.stream("s").read(deaggregate="strict"))
    check_places(futures, found)
    copies = dict.fromkeys(range(ROUNDS * EACH), 0)
    for data in found.values():
        copies[int(data)] += 1
    unsure = [sum(each.error_code is not None for each in future.attempts) for future in futures]
    assert all(1 <= copies[number] <= 1 + tries for number, tries in enumerate(unsure))
    codes = {each.error_code for future in futures for each in future.attempts} - {None}
    assert codes <= {"ConnectionClosedError", "EndpointConnectionError", "ReadTimeoutError", "ConnectTimeoutError"}
    assert "ReadTimeoutError" in codes
    assert "ConnectionClosedError" in codes
    assert min(network.counts.values()) > 0
    assert len(found) > len(futures)  # some did come twice: the network was as bad as it was to be
    assert sum(each.sum for each in producer.metrics()["AllErrors"]) == sum(unsure)
