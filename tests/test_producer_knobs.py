"""The producer's knobs and metrics, held against the KPL's names and docs/producer.md."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

import streamstore
from streamstore import errors
from streamstore.producer import Knobs, Producer
from streamstore.producer.knobs import ELSEWHERE

LONG = 60_000  # longer than any test: what happens meanwhile happens for another reason


@pytest.fixture
def store(tmp_path):
    with streamstore.open(tmp_path / "s", durability="process") as made:
        yield made


def test_the_knobs_have_the_kpls_defaults():
    """Names and defaults are those of the KPL's configuration; what it does not have is named in the documentation."""
    knobs = Knobs()
    assert (knobs.aggregation_enabled, knobs.aggregation_max_count, knobs.aggregation_max_size) == (
        True, 4_294_967_295, 51_200,
    )  # fmt: skip
    assert (knobs.collection_max_count, knobs.collection_max_size) == (500, 5 << 20)
    assert (knobs.record_max_buffered_time, knobs.record_ttl) == (100, 30_000)
    assert (knobs.request_timeout, knobs.connect_timeout, knobs.max_connections) == (6_000, 6_000, 24)
    assert knobs.fail_if_throttled is False


# Every setting that the KPL's own configuration class has (version 1.0), in snake_case.
KPL_SETTINGS = """
aggregation_enabled aggregation_max_count aggregation_max_size ca_cert_file ca_cert_path cloudwatch_endpoint
cloudwatch_port collection_max_count collection_max_size connect_timeout credentials_provider credentials_refresh_delay
enable_core_dumps enable_oldest_future_tracker fail_if_throttled glue_schema_registry_configuration
glue_schema_registry_credentials_provider glue_schema_registry_properties_file_path kinesis_endpoint kinesis_port
log_level max_connections metrics_credentials_provider metrics_granularity metrics_level metrics_namespace
metrics_upload_delay min_connections native_executable proxy_host proxy_password proxy_port proxy_user_name rate_limit
record_max_buffered_time record_ttl region request_timeout sts_endpoint sts_port temp_directory thread_pool_size
threading_model user_record_timeout_in_millis verify_certificate
""".split()


def documented():
    """What the table of docs/producer.md says is the default of each setting."""
    page = (Path(__file__).parent.parent / "docs" / "producer.md").read_text(encoding="utf-8")
    found = {}
    for line in page.partition("## Tuning")[2].partition("\n- Latency")[0].splitlines():
        if line.startswith("| `"):
            names, default = (cell.strip() for cell in line.split("|")[1:3])
            names = re.findall("`([a-z_]+)`", names)
            defaults = default.split(", ") if len(names) == 2 and default.count(", ") else [default] * len(names)
            found.update(zip(names, defaults, strict=True))
    return found


def test_every_setting_of_the_kpl_is_a_knob_or_says_why_not(store):
    """The documented table has all, with our defaults; one that is no knob is refused with what to do instead."""
    table, knobs = documented(), {each.name: each.default for each in dataclasses.fields(Knobs)}
    ours = {"preserve_order", "max_outstanding_records", "max_outstanding_bytes"}
    assert table.keys() == {*KPL_SETTINGS, *ours} == knobs.keys() | ELSEWHERE.keys()
    stream = store.create_stream("s")
    for name, default in table.items():
        if name in ELSEWHERE:
            assert default == "no knob"
            with pytest.raises(
                errors.InvalidTypeError, match=f"^{name} is a setting of the KPL that is no knob here: ."
            ):
                Producer(stream, **{name: "1"})
        elif name == "rate_limit":
            assert (default, knobs[name]) == ("150, embedded: 0", None)
        else:
            assert default.strip('`"').replace(",", "") == str(knobs[name])


@pytest.mark.parametrize("granularity", ["global", "stream", "shard"])
@pytest.mark.parametrize("level", ["none", "summary", "detailed"])
def test_metrics_by_level_and_granularity(store, level, granularity):
    """The level says which metrics there are, as in the KPL; shards have their own figures where that is asked for."""
    stream = store.create_stream("s", shard_count=2)
    with Producer(stream, metrics_level=level, metrics_granularity=granularity) as producer:
        for number in range(50):
            producer.put_record(b"12345", str(number))
        producer.flush()
        store.delete_stream("s")
        assert producer.put_record(b"", "k").exception(timeout=30)
        found = producer.metrics()
        assert producer.metrics(seconds=60).keys() == found.keys()
    summary = {"UserRecordsPut", "KinesisRecordsPut", "ErrorsByCode", "AllErrors", "BufferingTime"}
    if level == "detailed":
        assert {*summary, "UserRecordsReceived", "UserRecordsPending", "RequestTime"} < found.keys()
    else:
        assert found.keys() == (summary if level == "summary" else set())
    if level != "none":
        shards = {shard for name in ("UserRecordsPut", "KinesisRecordsPut") for _, shard, *_ in found[name]} - {""}
        assert len(shards) == (2 if granularity == "shard" else 0)
        assert found["UserRecordsPut"][0].sum == 50
        assert found["ErrorsByCode"][0].dimension == "StreamNotFoundError"


def test_metrics_have_the_kpls_names(store):
    """Counts add up, per shard too, and a window of seconds shows what happened in it."""
    stream = store.create_stream("s", shard_count=2)
    with Producer(stream, record_max_buffered_time=LONG) as producer:
        for number in range(50):
            producer.put_record(b"12345", str(number))
        assert producer.metrics()["UserRecordsReceived"][0].sum == 50
        assert producer.metrics()["UserRecordsPending"][0].sum == 50
        producer.flush()
        for found in (producer.metrics(), producer.metrics(seconds=60)):
            total, *shards = found["UserRecordsPut"]
            assert (total.dimension, total.sum) == ("", 50)
            assert sum(each.sum for each in shards) == 50
            assert {each.dimension for each in shards} == {shard.id for shard in stream.shards()}
            assert found["UserRecordsDataPut"][0].sum == 250
            assert found["KinesisRecordsPut"][0].sum == 2
            assert found["KinesisRecordsDataPut"][0].sum > 250
            assert found["UserRecordsPerKinesisRecord"][0].mean == 25
            assert found["RetriesPerRecord"][0].sum == 0
            assert found["BufferingTime"][0].samples == 50
            assert {"RequestTime", "KinesisRecordsPerPutRecordsRequest", "UserRecordsPerPutRecordsRequest"} <= set(
                found
            )
        for bad in (0, 61, 1.5):
            with pytest.raises(errors.InvalidArgumentError, match="seconds"):
                producer.metrics(seconds=bad)
