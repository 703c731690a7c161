"""The border to C: the only package that imports `_core` and `_hot`, where statuses become exceptions.

An Attachment is one process's hold on one directory, opened at first use and again after a fork; a Log is one shard (or
the catalog) seen through it. Types are relaxed here and nowhere else. Nothing here knows streams by name.
"""

from __future__ import annotations

from streamstore._core import lib
from streamstore._hot import (
    PutResult,
    PutResults,
    Record,
    Target,
    data_size,
    make_put_result,
    make_record,
    merge_records,
    open_record,
    record_times,
    sealed_parts,
    sequence_number,
)
from streamstore.native.aggregates import (
    ANY_ITEMS,
    RECORD_SIZE_MAX,
    Bundle,
    Bundler,
    Intake,
    UserPut,
    UserRecord,
    deaggregate,
    settle,
    user_records,
)
from streamstore.native.attachment import Attachment
from streamstore.native.border import CORRUPT, TRIMMED, decode_frame, error_for, parse_sequence_number, raise_for
from streamstore.native.columns import Columns
from streamstore.native.entries import frame_size_max, make_target, whole_results
from streamstore.native.fork import watch_fork
from streamstore.native.hold import Hold
from streamstore.native.log import Log, Taker
from streamstore.native.packing import Block, Packing, Seal, SegmentsGoneError, expand_block
from streamstore.native.seeding import seed
from streamstore.native.unsealing import Unsealer

FIRST_POSITION: int = lib.SS_FIRST_POSITION

__all__ = [
    "ANY_ITEMS",
    "RECORD_SIZE_MAX",
    "Bundle",
    "Bundler",
    "Intake",
    "UserPut",
    "settle",
    "UserRecord",
    "deaggregate",
    "user_records",
    "Attachment",
    "Block",
    "Columns",
    "Hold",
    "Log",
    "Packing",
    "Seal",
    "SegmentsGoneError",
    "Taker",
    "Unsealer",
    "CORRUPT",
    "FIRST_POSITION",
    "TRIMMED",
    "PutResult",
    "PutResults",
    "Record",
    "Target",
    "data_size",
    "decode_frame",
    "error_for",
    "expand_block",
    "frame_size_max",
    "make_put_result",
    "make_record",
    "make_target",
    "merge_records",
    "open_record",
    "parse_sequence_number",
    "raise_for",
    "record_times",
    "sealed_parts",
    "seed",
    "sequence_number",
    "watch_fork",
    "whole_results",
]
