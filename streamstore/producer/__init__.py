"""The producer library: many small records into a stream, buffered, aggregated, retried, each told truthfully."""

from __future__ import annotations

from streamstore.producer.future import Attempt, UserRecordFuture, UserRecordResult
from streamstore.producer.knobs import Knobs
from streamstore.producer.metrics import Statistic
from streamstore.producer.producer import Producer
from streamstore.producer.sinks import LogHandler, RecordWriter

__all__ = [
    "Attempt",
    "Knobs",
    "LogHandler",
    "Producer",
    "RecordWriter",
    "Statistic",
    "UserRecordFuture",
    "UserRecordResult",
]
