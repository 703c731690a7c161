"""Numbers that bound what callers may ask for. Data only; who enforces a limit is said beside it."""

from __future__ import annotations

import re

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

# What a segment's header has room for.
DESCRIPTION_SIZE_MAX = 3840

# Streams (checked by `catalog`).
STREAM_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,128}\Z")
ACCOUNT = re.compile(r"[0-9]{12}\Z")
REGION = re.compile(r"[a-z0-9-]{1,64}\Z")
SHARD_COUNT_MAX = 65_536
RETENTION_HOURS_MIN = 24
RETENTION_HOURS_MAX = 8_760
DURABILITIES = ("sync", "interval", "process")
ON_FULL = ("error", "drop_oldest", "block")
STREAM_SIZE_MIN = 1 * MIB
STREAM_SIZE_MAX = 1 << 60
SEGMENT_SIZE_UNIT = 64 * KIB
SEGMENT_SIZE_MIN = 128 * KIB
SEGMENT_SIZE_MAX = 3 * GIB

# Records (checked in C before a byte moves; attributes in `attributes`).
RECORD_SIZE_DEFAULT = 1 * MIB
RECORD_SIZE_MAX = 1 * GIB
PARTITION_KEY_CHARACTERS_MAX = 256
ATTRIBUTES_SIZE_MAX = 4 * KIB
HASH_KEY_END = 1 << 128

# Aggregates (checked by `aggregation`): the Kinesis record that carries one, and in `csrc/aggregate.h` what is taken
# for one.
AGGREGATE_SIZE_MIN = 64
AGGREGATE_SIZE_MAX = 10 * MIB

# Reading: one chunk is what a single call into C copies and verifies.
READ_CHUNK_SIZE = 256 * KIB
READ_CHUNK_RECORDS = 10_000
READ_BATCH_RECORDS = 10_000
READ_BATCH_SIZE = 10 * MIB
ARROW_RECORDS_MAX = 10_000_000
ARROW_BUFFER_SIZE = 256 * MIB
MERGE_BUFFER_SIZE = 32 * MIB

# The catalog is snapshotted once its active segment is larger than this.
CATALOG_ROLL_SIZE = 1 * MIB
# Kept allocated behind its last event, for the events that free space (at most half the smallest segment).
CATALOG_RESERVE_SIZE = 64 * KIB
CATALOG_RECORD_SIZE_MAX = 256 * MIB

# Compaction: how many bytes of a log it takes in a second unless told otherwise, so that writers do not feel it.
COMPACTION_RATE = 32 * MIB
COMPACTION_BLOCK_SIZE = 64 * KIB
COMPACT_AFTER_US = 3_600_000_000
COMPACT_NEVER = -1
SEGMENT_SIZE_DEFAULT = 128 * MIB
COMPACTED_RECORDS_MAX = (1 << 24) - 2

# A wait is cut into slices of at most this, to see a deleted stream or a lost wake-up.
WAIT_SLICE_US = 500_000

# A clock beyond this (the year 2100) is not believed when epochs are made.
EPOCH_CLOCK_END_US = 4_102_444_800_000_000

MICROSECONDS = 1_000_000

# A journal is snapshotted once its active segment is larger than this.
JOURNAL_ROLL_SIZE = 1 * MIB
JOURNAL_RESERVE_SIZE = 16 * KIB
DISK_LEFT_MIN = 4 * MIB
JOURNAL_RECORD_SIZE_MAX = 256 * MIB

# Queues (checked by `queue`).
QUEUE_VISIBILITY_MAX_S = 43_200
QUEUE_RECEIVES_MAX = 1_000
QUEUE_SEGMENT_SIZE = 16 * MIB
QUEUE_HELD_MAX = 10_000
QUEUE_REASON_CHARACTERS_MAX = 500

# Bytes of the lock file that stand for locks of the whole store; below them are those of the core.
HOLD_MAINTENANCE = (1 << 21) + 16
HOLD_GRANTS = (1 << 21) + 17
HOLD_COMPACTION = (1 << 21) + 18

# Maintenance goes through once a minute, more often only where records are kept for less than a quarter of an hour.
MAINTENANCE_EVERY_US = 60_000_000
MAINTENANCE_FIRST_AFTER_US = 5_000_000
# Shards that one round in the background sees for the first time: each may have to be recovered.
MAINTENANCE_LOOKS = 200
MAINTENANCE_LOOK_PAUSE_US = 1_000_000
# A background round compacts for so long, then looks at retention again; what is left goes on after a short pause.
MAINTENANCE_COMPACTION_S = 5.0
MAINTENANCE_PAUSE_US = 10_000
# A purge that nobody finished within this is finished by whoever maintains the store.
PURGE_AFTER_US = 60_000_000
# Positions in one trim event: it must fit into what the catalog keeps in reserve.
TRIM_EVENT_SHARDS = 1_000
