"""GetShardIterator and GetRecords: positions are bound when an iterator is made, and every call hands out a new one."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from streamstore import Batch, Shard, Stream, TrimmedError, iterators
from streamstore.kinesis import errors, sequence, tokens
from streamstore.kinesis.call import Call, Request
from streamstore.kinesis.shards import child_shards
from streamstore.kinesis.tokens import Cursor
from streamstore.kinesis.values import RecordList

ITERATOR_LIFE_MS = 300_000
RECORDS_MAX = 10_000
_NUMBERED = {"AT_SEQUENCE_NUMBER": tokens.AT, "AFTER_SEQUENCE_NUMBER": tokens.AFTER}


def get_shard_iterator(call: Call, request: Request) -> dict[str, Any]:
    stream = call.readable(request)
    shard = call.shard(stream, request["ShardId"])
    cursor = start(
        call,
        stream,
        shard,
        request["ShardIteratorType"],
        request.get("StartingSequenceNumber"),
        request.get("Timestamp"),
        "StartingSequenceNumber",
    )
    if request.get("DryRun"):
        raise errors.dry_run()
    return {"ShardIterator": tokens.encode(call.service.key, cursor)}


def start(
    call: Call, stream: Stream, shard: Shard, kind: str, number: str | None, time_ms: int | None, named: str
) -> Cursor:
    """The place that a starting position means, bound now. `named` is what the request calls its sequence number."""
    if kind in _NUMBERED:
        if number is None:
            raise _wrong_combination(kind, f"no {named}")
        return _numbered(call, stream, shard, kind, number)
    if number is not None:
        raise _wrong_combination(kind, f"{named}: {number}")
    if kind == "AT_TIMESTAMP":
        return _cursor(call, stream, shard, _at_time(call, shard, time_ms))
    if kind == "LATEST":
        return _cursor(call, stream, shard, shard.tail if shard.is_closed else _visible_end(stream, shard))
    return _cursor(call, stream, shard, shard.seek_time(0))


def _wrong_combination(kind: str, what: str) -> errors.ServiceError:
    return errors.invalid(
        "Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and StartingSequenceNumber or "
        f"(2) TRIM_HORIZON or LATEST and no StartingSequenceNumber. Request specified {kind} and {what}."
    )


def _numbered(call: Call, stream: Stream, shard: Shard, kind: str, text: str) -> Cursor:
    number = sequence.parse(text)
    if number is None:
        raise errors.invalid(
            f"StartingSequenceNumber {text} used in GetShardIterator on shard {shard.id} in stream {stream.name} under "
            f"account {call.account} is invalid."
        )
    if number.shard_index != shard.index:
        raise errors.invalid(
            f"Invalid StartingSequenceNumber. It encodes shardId-{number.shard_index:012d}, while it was used in a "
            f"call to a shard with {shard.id}"
        )
    return Cursor(stream.info.id, shard.index, _NUMBERED[kind], number.position, number.epoch, call.now_ms)


def _at_time(call: Call, shard: Shard, time_ms: int | None) -> dict[str, Any]:
    if time_ms is None:
        raise errors.invalid("Must specify timestampInMillis for iterator type AT_TIMESTAMP.")
    if time_ms > call.now_ms:
        raise errors.invalid(
            "The timestampInMillis parameter cannot be greater than the currentTimestampInMillis. "
            f"timestampInMillis: {time_ms}, currentTimestampInMillis: {call.now_ms}"
        )
    return shard.seek_time(max(time_ms, 0) / 1000)


def _visible_end(stream: Stream, shard: Shard) -> dict[str, Any]:
    state = stream.log(shard.index).state()
    return iterators.make_position(stream.token, {shard.id: iterators.Place(state.visible, state.epoch)})


def _cursor(call: Call, stream: Stream, shard: Shard, position: dict[str, Any]) -> Cursor:
    place, epoch = position["shards"][shard.id]
    return Cursor(stream.info.id, shard.index, tokens.POSITION, place, epoch, call.now_ms)


# --- GetRecords ---------------------------------------------------------------------------------------------------


def get_records(call: Call, request: Request) -> dict[str, Any]:
    cursor = tokens.decode(call.service.key, request["ShardIterator"])
    if cursor is None:
        raise errors.invalid("Invalid ShardIterator.")
    stream = call.stream_by_id(cursor.stream_id)
    shard = call.shard(stream, str(cursor.shard_index))
    if (arn := request.get("StreamARN")) is not None and call.parse_stream_arn(arn) != stream.name:
        raise errors.invalid("Invalid ShardIterator.")
    if call.now_ms - cursor.made_ms > ITERATOR_LIFE_MS:
        raise errors.ServiceError(
            "ExpiredIteratorException",
            f"Iterator expired. The iterator was created at time {_date(cursor.made_ms)} while right now it is "
            f"{_date(call.now_ms)} which is further in the future than the tolerated delay of {ITERATOR_LIFE_MS} "
            "milliseconds.",
        )
    if request.get("DryRun"):
        raise errors.dry_run()
    throttle = call.service.throttle
    if throttle is not None and not throttle.read(stream.info.id, shard.index, call.now_us):
        raise errors.throttled(shard.id, stream.name, call.account)
    if call.service.faults is not None:
        call.service.faults.check_shard(call, stream, shard.index)
    batch = read(stream, shard, cursor, request.get("Limit", RECORDS_MAX))
    if throttle is not None:
        size = sum(record.size for record in batch)
        throttle.was_read(stream.info.id, shard.index, size, call.now_us)
    encrypted = bool(call.settings(stream).key_id)
    answer: dict[str, Any] = {"Records": RecordList(batch, encrypted=encrypted)}
    answer["MillisBehindLatest"] = behind_ms(call, shard, batch)
    if batch.end_of_shard:
        answer["ChildShards"] = child_shards(call, stream, shard.index)
    else:
        answer["NextShardIterator"] = tokens.encode(call.service.key, _cursor(call, stream, shard, batch.next_position))
    return answer


def read(stream: Stream, shard: Shard, cursor: Cursor, limit: int) -> Batch:
    """A batch from a cursor; from the trim horizon where retention has passed it."""
    try:
        if cursor.kind == tokens.POSITION:
            place = iterators.Place(cursor.position, cursor.epoch)
            return shard.read(iterators.make_position(stream.token, {shard.id: place}), limit=limit)
        number = sequence.text(cursor)
        if cursor.kind == tokens.AFTER:
            # Numbers compare by epoch first: the frame at this position may be another, later record's.
            found = shard.read(at=number, limit=1)
            if len(found) and found[0].sequence_number == number:
                return shard.read(found.next_position, limit=limit)
        return shard.read(at=number, limit=limit)
    except TrimmedError:
        return shard.read("TRIM_HORIZON", limit=limit)


def behind_ms(call: Call, shard: Shard, batch: Batch) -> int:
    """How long ago the first record that is still unread arrived; 0 where all were read."""
    if not batch.millis_behind_latest and not (len(batch) and batch.end_of_shard is False):
        return 0
    if batch.end_of_shard:
        return 0
    unread = shard.read(batch.next_position, limit=1)
    return max(0, (call.now_us - unread[0].arrival_us) // 1000) if len(unread) else 0


def _date(ms: int) -> str:
    when = datetime.fromtimestamp(ms // 1000, timezone.utc)
    return when.strftime("%a %b %d %H:%M:%S UTC %Y")
