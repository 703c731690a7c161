"""aws-kinesis-agg: aggregates in Python over protobuf."""

from __future__ import annotations


def pack(entries: list[tuple[bytes, str]], size: int) -> int:
    """Pack records into aggregates of at most that many bytes; how many there are."""
    from aws_kinesis_agg.aggregator import RecordAggregator

    aggregator = RecordAggregator(size)
    made = sum(1 for data, key in entries if aggregator.add_user_record(key, data) is not None)
    return made + (aggregator.clear_and_get() is not None)
