"""Where records are sent to, whoever sends them: stdout, files, streams, Kinesis endpoints, queues, callables."""

from __future__ import annotations

from streamstore.targets.addresses import as_target, open_target
from streamstore.targets.calls import CallableTarget, NullTarget
from streamstore.targets.endpoint import KinesisTarget
from streamstore.targets.files import JsonLinesTarget, ParquetTarget, RawTarget
from streamstore.targets.streams import QueueTarget, StreamTarget, source_of
from streamstore.targets.target import Item, Target

__all__ = [
    "CallableTarget",
    "Item",
    "JsonLinesTarget",
    "KinesisTarget",
    "NullTarget",
    "ParquetTarget",
    "QueueTarget",
    "RawTarget",
    "StreamTarget",
    "Target",
    "as_target",
    "open_target",
    "source_of",
]
