"""Amazon Kinesis Data Streams in a directory: an embedded, durable, log-structured store of streams."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from streamstore.archive import export_stream, import_stream
from streamstore.backup import repair, restore, verify
from streamstore.errors import (
    BackPressureError,
    ClosedError,
    CorruptRangeError,
    DurabilityUnknownError,
    ForeignFileError,
    ForkedError,
    FormatVersionError,
    InvalidArgumentError,
    InvalidTypeError,
    IteratorExpiredError,
    KeyUnavailableError,
    PartialPutError,
    ReadOnlyError,
    RecordTooLargeError,
    SettingsChangedError,
    ShardClosedError,
    StaleHandleError,
    StaleReceiptError,
    StorageError,
    StoreFullError,
    StoreNotFoundError,
    StreamExistsError,
    StreamFullError,
    StreamNotFoundError,
    StreamStoreError,
    TailMismatchError,
    TrimmedError,
    UserRecordFailedError,
)
from streamstore.keys import CallableKeyRing, EnvironmentKeyRing, FileKeyRing, KeyRing, KmsKeyRing
from streamstore.native import PutResult, PutResults, Record
from streamstore.opening import open, temporary
from streamstore.reader import Reader
from streamstore.shard import Batch, Shard
from streamstore.store import Store
from streamstore.stream import Stream
from streamstore.values import DataKey, Encryption, HashRange, PutEntry, SequenceRange

if TYPE_CHECKING:
    import streamstore.aio as aio
    from streamstore.capture import Capture
    from streamstore.kinesis.door import boto3_client
    from streamstore.producer import LogHandler, Producer, RecordWriter
    from streamstore.queue import Queue
    from streamstore.replay import Replay
    from streamstore.server.threads import serve_in_thread

__version__ = "0.1.0"

__all__ = [
    "KmsKeyRing",
    "KeyRing",
    "FileKeyRing",
    "EnvironmentKeyRing",
    "Encryption",
    "DataKey",
    "CallableKeyRing",
    "Capture",
    "BackPressureError",
    "Batch",
    "ClosedError",
    "CorruptRangeError",
    "DurabilityUnknownError",
    "ForeignFileError",
    "ForkedError",
    "FormatVersionError",
    "HashRange",
    "InvalidArgumentError",
    "InvalidTypeError",
    "IteratorExpiredError",
    "KeyUnavailableError",
    "PartialPutError",
    "LogHandler",
    "Producer",
    "PutEntry",
    "PutResult",
    "PutResults",
    "Queue",
    "ReadOnlyError",
    "Reader",
    "Record",
    "RecordTooLargeError",
    "RecordWriter",
    "Replay",
    "SequenceRange",
    "SettingsChangedError",
    "Shard",
    "ShardClosedError",
    "StaleHandleError",
    "StaleReceiptError",
    "StorageError",
    "Store",
    "StoreFullError",
    "StoreNotFoundError",
    "Stream",
    "StreamExistsError",
    "StreamFullError",
    "StreamNotFoundError",
    "StreamStoreError",
    "TailMismatchError",
    "TrimmedError",
    "UserRecordFailedError",
    "aio",
    "boto3_client",
    "export_stream",
    "import_stream",
    "serve_in_thread",
    "open",
    "repair",
    "restore",
    "temporary",
    "verify",
]


_LATE = {
    "Capture": "streamstore.capture:Capture",
    "aio": "streamstore.aio",
    "boto3_client": "streamstore.kinesis.door:boto3_client",
    "LogHandler": "streamstore.producer:LogHandler",
    "Producer": "streamstore.producer:Producer",
    "Queue": "streamstore.queue:Queue",
    "RecordWriter": "streamstore.producer:RecordWriter",
    "Replay": "streamstore.replay:Replay",
    "serve_in_thread": "streamstore.server.threads:serve_in_thread",
}


def __getattr__(name: str) -> Any:
    # What few programs use is imported for those that do.
    if name not in _LATE:
        raise AttributeError(f"module 'streamstore' has no attribute {name!r}")
    module, _, member = _LATE[name].partition(":")
    found = importlib.import_module(module)
    return getattr(found, member) if member else found
