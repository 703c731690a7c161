"""Facts for `stat`, as plain values in bytes and microseconds: what a stream and its logs look like now."""

from __future__ import annotations

from typing import Any

from streamstore import native
from streamstore.stream import Stream


def of_stream(stream: Stream) -> dict[str, Any]:
    """Facts on one stream and on each of its shards that was ever written."""
    info = stream.check()
    written = set(stream.written())
    shards = [_log_stats(stream.log(index)) for index in info.lineage.indexes() if index in written]
    return {
        "name": info.name,
        "id": info.id,
        "arn": stream.arn,
        "durability": info.durability,
        "retention_hours": info.retention_hours,
        "horizon_us": stream.horizon(),
        "kept_bytes": stream.kept_bytes(),
        "max_bytes": info.max_bytes or None,
        "on_full": info.on_full,
        "shard_count": len(info.lineage.open),
        "max_record_size": info.max_record_size,
        "created_us": info.created_us,
        "record_count": sum(item["record_count"] - item["start_record_count"] for item in shards),
        "encrypted": bool(info.key_id),
        "data_keys": len(info.keys),
        "compact_after_us": info.compact_after_us,
        "compaction_ratio": _ratio(shards),
        "shards": shards,
    }


def _ratio(shards: list[dict[str, Any]]) -> float | None:
    """How many bytes of the log a byte of its compacted files holds; None where none is compacted."""
    file_bytes = sum(item["compacted_file_bytes"] for item in shards)
    return round(sum(item["compacted_bytes"] for item in shards) / file_bytes, 2) if file_bytes else None


def _log_stats(log: native.Log) -> dict[str, Any]:
    state = log.state()
    segments = [segment for segment in log.segments() if segment.live]
    return {
        "shard_id": log.shard_id,
        **state._asdict(),
        **log.live(),
        "bytes": state.tail - state.start,
        "dirty_bytes": state.tail - state.durable,
        "segment_count": len(segments),
        "disk_bytes": sum(segment.disk_bytes for segment in segments),
        "compacted_segments": sum(segment.packed for segment in segments),
        "compacted_bytes": sum(segment.end - segment.base for segment in segments if segment.packed),
        "compacted_file_bytes": sum(segment.file_size for segment in segments if segment.packed),
    }
